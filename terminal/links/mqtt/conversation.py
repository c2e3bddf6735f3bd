"""Floor 4: the conversation over one MQTT connection: frames in and out, as over any other link.

It begins when the broker has accepted the connection, and does no I/O. It handles the differences between MQTT and the
JSON dialect: `hello` is CONNECT; a joined channel is subscribed to; missing entries come from history; an entry that a
person has seen is acknowledged to the broker and to the server.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from wire.errors import PeerError, Refused
from wire.frames import (
    Answer,
    Bye,
    Closing,
    Entry,
    Error,
    Frame,
    Gap,
    Hello,
    Help,
    HelpText,
    History,
    Joined,
    Left,
    Members,
    Ok,
    Page,
    Ping,
    Pong,
    Presence,
    Request,
    Seen,
    Welcome,
    Who,
)
from wire.limits import Limits
from wire.names import fold
from wire.text import help_lines
from wire.topics import Here, ServerState, Topics, UserPresence

from ...state.cursors import log_key
from .entries import OrderedLogs
from .events import Message, PacketSender
from .requests import PendingRequest, PendingRequests

_WELCOME = 10.0  # seconds for the welcome, as a broker may have no server behind it


class MqttConversation:
    """The conversation of one connection. `finished` is true after our `bye`."""

    def __init__(
        self, broker: PacketSender, topics: Topics, hello: Hello, reply: str, numbers: Iterator[int], now: float
    ) -> None:
        """`reply` is the last level of the response topic; `numbers` numbers the correlation data."""
        self.welcomed = False
        self.finished = False
        self._broker = broker
        self._topics = topics
        self._hello = hello
        self._me = hello.name
        self._reply = topics.response_topic(self._me, reply)
        self._pending = PendingRequests(topics, self._me, self._reply, numbers)
        self._unsent: deque[PendingRequest] = deque()
        self._logs = OrderedLogs(self._me)
        self._before_welcome: list[Message] = []  # messages that came before the welcome, which tells us our logs
        self._subscribing: dict[int, list[str]] = {}  # channels of unacknowledged SUBSCRIBEs, by packet identifier
        self._near: set[str] = set()  # keys of the known users who share a channel with us
        self._bye: Bye | None = None
        self._frames: list[Frame] = []
        self._began = now
        own = [(f"{topics.to(self._me)}/#", 1), (topics.presence("+"), 0), (topics.server, 0)]
        self._subscribing[broker.subscribe(own)] = []
        self._ask(Here(), now)

    def take_frames(self) -> list[Frame]:
        """Return the frames for the state, and forget them."""
        frames, self._frames = self._frames, []
        return frames

    # Requests of the state

    def ask(self, request: Frame, now: float) -> None:
        """Send a frame of the state, or answer it here."""
        match request:
            case Ping():
                self._frames.append(Pong(payload=request.payload, ref=request.ref))
            case Help():
                self._frames.append(HelpText(lines=help_lines(request.command), ref=request.ref))
            case Bye():
                self._bye = request
            case Request():
                if isinstance(request, Seen):
                    self._logs.see(request)
                    self._acknowledge()
                try:
                    self._ask(request, now)
                except Refused as refused:
                    self._frames.append(Error(code=refused.code, error=refused.sentence, ref=request.ref))

    def _ask(self, request: Request, now: float) -> None:
        self._unsent.append(self._pending.ask(request, now))
        self._publish()

    def _publish(self) -> None:
        while self._unsent and self._pending.in_flight < self._broker.window:
            pending = self._unsent.popleft()
            packet_id = self._broker.publish(pending.topic, pending.payload, self._reply, pending.correlation)
            self._pending.sent(pending, packet_id)

    def _acknowledge(self) -> None:
        for packet_id in self._logs.acknowledgements():
            self._broker.acknowledge(packet_id)

    def go_on(self, now: float) -> None:
        """Do what is possible or due now. Raises TimeoutError if the server does not answer."""
        self._acknowledge()
        for history in self._logs.histories():
            self._ask(history, now)
        for pending, error in self._pending.overdue(now):
            self._answered(pending, error, now)
        if not self.welcomed and now - self._began >= _WELCOME:
            raise TimeoutError("no Partyline server answers there")
        if self._bye is not None and not (self._unsent or self._pending.in_flight or self.finished):
            self._frames.append(Closing(reason="Goodbye.", ref=self._bye.ref))
            self.finished = True

    def patience(self, now: float) -> float:
        """Return the seconds until `go_on` may have something to do."""
        greeting = _WELCOME if self.welcomed else self._began + _WELCOME - now
        return max(0.0, min(greeting, self._pending.patience(now)))

    # What the broker sends

    def acknowledged(self, packet_id: int, refusal: str | None, now: float) -> None:
        """Handle a PUBACK; `refusal` is the reason if the broker refuses the publication."""
        pending = self._pending.acknowledged(packet_id, refusal, now)
        if pending is not None and isinstance(pending.request, Seen):
            self._frames.append(Ok(ref=pending.request.ref))
        self._publish()

    def subscribed(self, packet_id: int, granted: Sequence[bool], now: float) -> None:
        """Handle a SUBACK. The history has the entries of before it."""
        channels = self._subscribing.pop(packet_id, None)
        if channels is None:
            return
        if not channels and not granted[0]:
            raise PeerError("not-allowed", f"the broker forbids reading below {self._topics.to(self._me)}/")
        for channel, fine in zip(channels, granted, strict=False):
            if not fine:
                self._frames.append(
                    Error(code="not-allowed", error=f"The broker forbids reading the channel {channel}.")
                )
            self._logs.want(log_key(channel, None))
            self._ask(Who(channel), now)

    def received(self, message: Message, now: float) -> None:
        """Handle a message. Raises PeerError if the server is offline or refuses us."""
        if message.packet_id:
            self._logs.arrived(message.packet_id)
        answered = self._pending.answered(message.topic, message.correlation, message.payload, now)
        if answered is not None:
            self._logs.settle(message.packet_id)
            self._answered(*answered, now)
        elif message.topic == self._topics.server:
            self._logs.settle(message.packet_id)
            if self._topics.read(message.topic, message.payload, self._me) == ServerState(online=False):
                raise PeerError("closing", "the server is offline")
        elif not self.welcomed:
            self._before_welcome.append(message)
        else:
            self._handle(message)

    def _handle(self, message: Message, *, early: bool = False) -> None:
        frame = self._topics.read(message.topic, message.payload, self._me)
        if isinstance(frame, Entry):
            self._frames += self._logs.handle(frame, message.packet_id)
            if frame.channel is None:
                pass
            elif self._logs.reads(frame.channel):
                self._near.add(fold(frame.sender))
            else:
                self._broker.unsubscribe([self._topics.channel(frame.channel)])
            return
        self._logs.settle(message.packet_id)
        if isinstance(frame, Gap):
            frame = None if early else self._logs.gap(frame)  # the history has what was skipped before the welcome
        elif isinstance(frame, UserPresence):
            if message.retained or fold(frame.user) not in self._near:
                return  # a state of before our login, or a user who shares no channel with us
            frame = Presence(frame.user, "online" if frame.online else "offline")
        elif isinstance(frame, Answer):
            return  # the request was another client's
        if frame is not None:
            self._frames.append(frame)

    # Answers

    def _answered(self, pending: PendingRequest, frame: Answer, now: float) -> None:
        request = pending.request
        match frame:
            case Welcome():
                self._welcome(frame, now)
            case Joined():
                self._frames.append(frame)
                if self._logs.open(frame.channel, frame.tail):
                    self._subscribe([frame.channel])
            case Left():
                self._logs.close(frame.channel)
                self._broker.unsubscribe([self._topics.channel(frame.channel)])
                self._frames.append(frame)
            case Members() if request.ref is None:
                if len(frame.members) <= Limits().presence:  # of a crowd, the server does not tell presence either
                    self._near |= {fold(member.name) for member in frame.members} - {fold(self._me)}
            case _ if isinstance(request, History) and request.ref is None:
                self._frames += self._logs.page(request, frame if isinstance(frame, Page) else None)
            case Error() if isinstance(request, Here):
                raise PeerError("not-allowed", frame.error)
            case _ if request.ref is not None:
                self._frames.append(frame)

    def _welcome(self, frame: Welcome, now: float) -> None:
        if self.welcomed:
            return
        self.welcomed = True
        frame.ref = self._hello.ref
        self._frames.append(frame)
        self._frames += self._logs.begin(frame.logs, self._hello.since)
        self._subscribe([log.channel for log in frame.logs if log.channel])
        for key in [log_key(None, log.user) for log in frame.logs if log.user]:
            self._logs.want(key)
        early, self._before_welcome = self._before_welcome, []
        for message in early:
            self._handle(message, early=True)

    def _subscribe(self, channels: list[str]) -> None:
        """Subscribe to channels in one SUBSCRIBE, as each costs a round trip."""
        if channels:
            packet_id = self._broker.subscribe([(self._topics.channel(channel), 1) for channel in channels])
            self._subscribing[packet_id] = channels
