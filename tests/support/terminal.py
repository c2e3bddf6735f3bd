"""For the tests of the client: a server in memory that keeps Partyline's promises, and a line that can break."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from terminal.state.credentials import Credentials
from terminal.state.state import State
from terminal.state.step import ShownFrame
from wire.frames import (
    Bye,
    ChannelInfo,
    ChannelList,
    Channels,
    Closing,
    Entry,
    Error,
    Frame,
    Hello,
    History,
    Join,
    Joined,
    Leave,
    Left,
    LogState,
    Members,
    Msg,
    Ok,
    Page,
    Request,
    Say,
    Seen,
    Stored,
    Topic,
    TopicIs,
    UserInfo,
    Welcome,
    Who,
    Whois,
)
from wire.topics import Topics

ME = "alice"
TOPICS = Topics()
REPLY = "chat/to/alice/reply/1"  # where the answers to one connection of hers come


@dataclass
class Log:
    """One log as the server has it, for the one user that it knows."""

    label: str
    entries: list[Entry] = field(default_factory=list)
    member: bool = False
    seen: int = 0
    sent: int | None = None  # on the present line; None: not followed

    @property
    def tail(self) -> int:
        return len(self.entries)

    def page(self) -> Page:
        """Return everything."""
        return Page(entries=self.entries, tail=self.tail, channel=self.channel, user=self.user)

    @property
    def channel(self) -> str | None:
        return None if self.label.startswith("@") else self.label

    @property
    def user(self) -> str | None:
        return self.label[1:] if self.label.startswith("@") else None


class FakeServer:
    """Takes the frames of one client, one at a time; keeps each post once by its id; sends entries in order."""

    def __init__(self, *channels: str) -> None:
        self.logs: dict[str, Log] = {name: Log(name) for name in channels}
        self.users = {ME, "bob"}  # who have connected
        self.page = 2  # channels of one answer
        self.numbers: dict[str, int] = {}  # of the posts that had an id
        self.asked: list[Frame] = []  # everything that came

    def hang_up(self) -> None:
        """The line has ended."""
        for log in self.logs.values():
            log.sent = None

    def post(self, label: str, sender: str, text: str, id: str | None = None) -> int:
        """Keep an entry; its number."""
        if id is not None and id in self.numbers:
            return self.numbers[id]
        log = self.logs.setdefault(label, Log(label))
        log.member = log.member or log.user is not None
        if log.user is not None and log.sent is None:
            log.sent = log.seen  # a private conversation is followed from its first message on
        to = None if log.user is None else ME if sender == log.user else log.user
        log.entries.append(Entry(log.tail + 1, 1_700_000_000_000, sender, text, log.channel, to, id))
        if id is not None:
            self.numbers[id] = log.tail
        return log.tail

    def take(self, frame: Frame) -> list[Frame]:
        """Deal with one frame of the client; what the server sends then, the answer first."""
        assert isinstance(frame, Request)
        self.asked.append(frame)
        answer = self._answer(frame)
        answer.ref = frame.ref  # type: ignore[attr-defined]
        return [answer, *self.news()]

    def news(self) -> list[Entry]:
        """Return the entries that the client has not been sent."""
        entries: list[Entry] = []
        for log in self.logs.values():
            if log.sent is not None:
                entries += log.entries[log.sent :]
                log.sent = log.tail
        return entries

    def _answer(self, frame: Request) -> Frame:
        match frame:
            case Hello(since=since):
                for log in self.logs.values():
                    log.sent = min(since.get(log.label, log.seen), log.tail) if log.member else None
                states = [
                    LogState(log.tail, log.seen, log.channel, log.user) for log in self.logs.values() if log.member
                ]
                return Welcome(name=ME, server="fake", token="t", logs=states)
            case Join(channel=channel):
                log = self.logs.setdefault(channel, Log(channel))
                if not log.member:
                    log.member, log.seen, log.sent = True, log.tail, log.tail
                return Joined(channel=channel, tail=log.tail)
            case Leave(channel=channel):
                if not self.logs[channel].member:
                    return Error(code="not-a-member", error="You are not in it.")
                self.logs[channel].member, self.logs[channel].sent = False, None
                return Left(channel=channel)
            case Say(channel=channel, text=text, id=id):
                if not self.logs[channel].member:
                    return Error(code="not-a-member", error="You are not in it.", id=id)
                return Stored(number=self.post(channel, ME, text, id), channel=channel, id=id)
            case Msg(user=user, text=text, id=id):
                return Stored(number=self.post(f"@{user}", ME, text, id), user=user, id=id)
            case Seen(channel=channel, user=user, number=number):
                log = self.logs[channel or f"@{user}"]
                assert number <= (log.sent or 0), "acknowledged what was never sent"
                log.seen = max(log.seen, number)
                return Ok()
            case Channels(after=after):
                names = sorted(log.label for log in self.logs.values() if log.channel and log.label > after)
                page = names[: self.page]
                infos = [ChannelInfo(name, 1, self.logs[name].tail) for name in page]
                return ChannelList(channels=infos, more=page[-1] if len(page) < len(names) else None)
            case History(channel=channel, user=user):
                return self.logs[channel or f"@{user}"].page()
            case Who():
                return Members(members=[])
            case Topic(channel=channel):
                if channel in self.logs:
                    return TopicIs(channel=channel, topic="")
                return Error(code="no-such-channel", error=f"The channel {channel} does not exist.")
            case Whois(user=user):
                if user in self.users:
                    return UserInfo(name=user, online=False)
                return Error(code="no-such-user", error=f"No user called {user} has ever connected.")
            case Bye():
                return Closing(reason="Goodbye.")
        raise AssertionError(f"the fake server does not know {frame!r}")


class Wire:
    """A State and a FakeServer with frames on their way in both directions; `cut` loses them."""

    def __init__(self, server: FakeServer, *, name: str = ME, fetch_names: bool = False, asks: bool = False) -> None:
        self.state = State(Credentials(name, None), fetch_names=fetch_names, asks=asks)
        self.server = server
        self.up: deque[Frame] = deque()
        self.down: deque[Frame] = deque()
        self.connected = False
        self.shown: list[str | Frame] = []  # frames, and the texts of notes
        self.files: list[Frame] = []  # file commands for the transfer manager
        self.dropped = False

    def dial(self) -> None:
        """A new line."""
        self.connected = True
        self.state.connected("here:7000")
        self.turn()

    def cut(self, reason: str = "cut") -> None:
        """The line breaks; what is on its way is lost."""
        self.connected = False
        self.up.clear()
        self.down.clear()
        self.server.hang_up()
        self.state.lost(reason, where="here:7000")
        self.turn()

    def type(self, *lines: str) -> None:
        """Lines are typed."""
        for line in lines:
            self.state.typed(line)
            self.turn()

    def turn(self) -> None:
        """Do what the state wants done."""
        step = self.state.next_step()
        self.shown += [item.frame if isinstance(item, ShownFrame) else item.text for item in step.show]
        assert self.connected or not step.send, "sent without a line"
        self.up += step.send
        self.files += step.files
        self.dropped = self.dropped or step.drop

    def server_reads(self, count: int = 1) -> None:
        """The server takes up to so many frames."""
        for _ in range(min(count, len(self.up))):
            self.down += self.server.take(self.up.popleft())

    def server_sends(self) -> None:
        """Send the client what others have said."""
        self.down += self.server.news()

    def client_reads(self, count: int = 1) -> None:
        """The client takes up to so many frames, at once."""
        frames = [self.down.popleft() for _ in range(min(count, len(self.down)))]
        if frames:
            self.state.receive(frames)
            self.turn()

    def settle(self) -> None:
        """Until nothing is on its way."""
        self.server_sends()
        while self.up or self.down:
            self.server_reads(len(self.up))
            self.client_reads(len(self.down))

    def entries(self, label: str) -> list[Entry]:
        """The entries of a log that were shown, in that order."""
        entries = [frame for frame in self.shown if isinstance(frame, Entry)]
        return [entry for entry in entries if _label(entry) == label]

    def sentences(self) -> list[str]:
        """The notes and the errors that were shown."""
        return [item if isinstance(item, str) else item.error for item in self.shown if isinstance(item, str | Error)]


def _label(entry: Entry) -> str:
    if entry.to is None:
        return entry.channel or ""
    return f"@{entry.to if entry.sender == ME else entry.sender}"


def wire(*channels: str, join: str = "", asks: bool = False) -> Wire:
    """A client that is online, and in the channel `join`; `asks` on a screen."""
    line = Wire(FakeServer(*channels), asks=asks)
    line.dial()
    line.settle()
    if join:
        line.type(f"/join {join}")
        line.settle()
    return line


def sent(line: Wire, kind: type[Frame]) -> list[Frame]:
    """Return the requests of that kind that the server was sent."""
    return [frame for frame in line.server.asked if isinstance(frame, kind)]


def entry(number: int, text: str = "x", sender: str = "bob", **to: str) -> Entry:
    """One of bob's in lab, unless told otherwise."""
    return Entry(number, 0, sender, text, **(to or {"channel": "lab"}))
