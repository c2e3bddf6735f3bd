"""Floor 4: the conversation over one MQTT connection: frames in and out, as with any server.

It begins when the broker has let us in, does no I/O, and is told the time. Everything that MQTT says otherwise than
the JSON dialect is settled here: `hello` was CONNECT; a joined channel is joined and subscribed to; what is missing
comes from history; what was seen is acknowledged to the broker and told to the server.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from terminal.state.cursors import log_key
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
from wire.text import commands
from wire.topics import Here, ServerState, Topics, UserPresence

from .entries import Logs
from .requests import Question, Questions

_GREETING = 10.0  # seconds for the welcome: behind another broker there may be no server


@dataclass(frozen=True, slots=True)
class Message:
    """A PUBLISH that came. `packet_id` is 0 at QoS 0."""

    topic: str
    payload: bytes
    packet_id: int = 0
    retained: bool = False
    correlation: bytes | None = None


class Broker(Protocol):
    """The connection. What can be acknowledged gets a packet identifier."""

    @property
    def window(self) -> int:
        """How many publications it takes before it has acknowledged the first."""

    def publish(self, topic: str, payload: bytes, reply: str, correlation: bytes) -> int:
        """Publish at QoS 1, with a response topic and correlation data where there are such."""

    def subscribe(self, filters: Sequence[tuple[str, int]]) -> int:
        """Subscribe to filters, each with its QoS."""

    def unsubscribe(self, filters: Sequence[str]) -> None:
        """Subscribe to them no more."""

    def acknowledge(self, packet_id: int) -> None:
        """A message at QoS 1 need not come again."""


class Talk:
    """One connection's conversation. `take` gives what there is for the state; `finished` if we have said goodbye."""

    def __init__(
        self, broker: Broker, topics: Topics, hello: Hello, reply: str, numbers: Iterator[int], now: float
    ) -> None:
        """`reply` is the last level of the response topic, `numbers` gives correlation data."""
        self.welcomed = False
        self.finished = False
        self._broker = broker
        self._topics = topics
        self._hello = hello
        self._me = hello.name
        self._reply = topics.response_topic(self._me, reply)
        self._questions = Questions(topics, self._me, self._reply, numbers)
        self._unsent: deque[Question] = deque()
        self._logs = Logs(self._me)
        self._early: list[Message] = []  # came before the welcome, which says what they are worth
        self._attaching: dict[int, list[str]] = {}  # subscriptions under way, and their channels
        self._near: set[str] = set()  # who is in a channel of ours, as far as we know
        self._bye: Bye | None = None
        self._frames: list[Frame] = []
        self._greeted = now
        own = [(f"{topics.to(self._me)}/#", 1), (topics.presence("+"), 0), (topics.server, 0)]
        self._attaching[broker.subscribe(own)] = []
        self._ask(Here(), now)

    def take(self) -> list[Frame]:
        """What the state is to be told, once."""
        frames, self._frames = self._frames, []
        return frames

    # What we ask

    def ask(self, request: Frame, now: float) -> None:
        """A frame of the state's."""
        match request:
            case Ping():
                self._frames.append(Pong(payload=request.payload, ref=request.ref))
            case Help():
                self._frames.append(HelpText(lines=commands.help_lines(request.command), ref=request.ref))
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
        self._unsent.append(self._questions.ask(request, now))
        self._publish()

    def _publish(self) -> None:
        while self._unsent and self._questions.in_flight < self._broker.window:
            question = self._unsent.popleft()
            packet_id = self._broker.publish(question.topic, question.payload, self._reply, question.correlation)
            self._questions.sent(question, packet_id)

    def _acknowledge(self) -> None:
        for packet_id in self._logs.acknowledgements():
            self._broker.acknowledge(packet_id)

    def go_on(self, now: float) -> None:
        """Do what has become possible or due. Raises TimeoutError if it is of no use to wait any longer."""
        self._acknowledge()
        for history in self._logs.histories():
            self._ask(history, now)
        for question, error in self._questions.overdue(now):
            self._answered(question, error, now)
        if not self.welcomed and now - self._greeted >= _GREETING:
            raise TimeoutError("nobody answers there")
        if self._bye is not None and not (self._unsent or self._questions.in_flight or self.finished):
            self._frames.append(Closing(reason="Goodbye.", ref=self._bye.ref))
            self.finished = True

    def patience(self, now: float) -> float:
        """Seconds until `go_on` may have something to do."""
        greeting = _GREETING if self.welcomed else self._greeted + _GREETING - now
        return max(0.0, min(greeting, self._questions.patience(now)))

    # What comes

    def taken(self, packet_id: int, refusal: str | None, now: float) -> None:
        """The broker has acknowledged what we published, or has refused it."""
        question = self._questions.taken(packet_id, refusal, now)
        if question is not None and isinstance(question.request, Seen):
            self._frames.append(Ok(ref=question.request.ref))
        self._publish()

    def subscribed(self, packet_id: int, granted: Sequence[bool], now: float) -> None:
        """The broker has subscribed us: what was said before that is in the history."""
        channels = self._attaching.pop(packet_id, None)
        if channels is None:
            return
        if not channels and not granted[0]:
            raise PeerError("not-allowed", f"we may not read below {self._topics.to(self._me)}/")
        for channel, fine in zip(channels, granted, strict=False):
            if not fine:
                self._frames.append(Error(code="not-allowed", error=f"The broker does not let us read {channel}."))
            self._logs.want(log_key(channel, None))
            self._ask(Who(channel), now)

    def heard(self, message: Message, now: float) -> None:
        """A message has come. Raises PeerError if there is nobody to talk to any more."""
        if message.packet_id:
            self._logs.arrived(message.packet_id)
        answered = self._questions.answered(message.topic, message.correlation, message.payload, now)
        if answered is not None:
            self._logs.settle(message.packet_id)
            self._answered(*answered, now)
        elif message.topic == self._topics.server:
            self._logs.settle(message.packet_id)
            if self._topics.read(message.topic, message.payload, self._me) == ServerState(online=False):
                raise PeerError("closing", "the server is away")
        elif not self.welcomed:
            self._early.append(message)
        else:
            self._happened(message)

    def _happened(self, message: Message, *, early: bool = False) -> None:
        frame = self._topics.read(message.topic, message.payload, self._me)
        if isinstance(frame, Entry):
            self._frames += self._logs.take(frame, message.packet_id)
            if frame.channel is None:
                pass
            elif self._logs.reads(frame.channel):
                self._near.add(fold(frame.sender))
            else:
                self._broker.unsubscribe([self._topics.channel(frame.channel)])
            return
        self._logs.settle(message.packet_id)
        if isinstance(frame, Gap):
            frame = None if early else self._logs.gap(frame)  # what was left out at the start is in the history
        elif isinstance(frame, UserPresence):
            if message.retained or fold(frame.user) not in self._near:
                return  # how it was before us, or somebody whom we share no channel with
            frame = Presence(frame.user, "online" if frame.online else "offline")
        elif isinstance(frame, Answer):
            return  # the question was another client's
        if frame is not None:
            self._frames.append(frame)

    # Answers

    def _answered(self, question: Question, frame: Answer, now: float) -> None:
        request = question.request
        match frame:
            case Welcome():
                self._welcome(frame, now)
            case Joined():
                self._frames.append(frame)
                if self._logs.open(frame.channel, frame.tail):
                    self._attach([frame.channel])
            case Left():
                self._logs.close(frame.channel)
                self._broker.unsubscribe([self._topics.channel(frame.channel)])
                self._frames.append(frame)
            case Members() if request.ref is None:
                if len(frame.members) <= Limits().presence:  # of a crowd, comings and goings are noise
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
        self._attach([log.channel for log in frame.logs if log.channel])
        for key in [log_key(None, log.user) for log in frame.logs if log.user]:
            self._logs.want(key)
        early, self._early = self._early, []
        for message in early:
            self._happened(message, early=True)

    def _attach(self, channels: list[str]) -> None:
        """Subscribe to channels; an own step for each would be a round trip for each."""
        if channels:
            packet_id = self._broker.subscribe([(self._topics.channel(channel), 1) for channel in channels])
            self._attaching[packet_id] = channels
