"""Floor 4: the client's state without I/O: what the server says and what is typed go in, a `Step` comes out.

Not for several threads: whoever owns a State calls it from one. It does not know what carries the frames.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from wire.errors import Refused
from wire.frames import (
    Bye,
    Cancel,
    Channels,
    Closing,
    Entry,
    Error,
    Frame,
    Gap,
    GetFile,
    Help,
    HelpText,
    Join,
    Joined,
    Leave,
    Left,
    Malformed,
    Msg,
    Ok,
    Pong,
    Register,
    Registered,
    Request,
    Say,
    SendFile,
    Stored,
    Topic,
    Welcome,
    Who,
)
from wire.jsonlines import JsonLines
from wire.limits import Limits
from wire.names import fold, one_line, printable, shorten
from wire.text import commands

from .credentials import Credentials
from .cursors import Cursors
from .outbox import Outbox
from .rooms import Rooms
from .step import Note, ShownFrame, Step

_QUOTED = 200  # characters of what was typed, when it is shown again


class _LinkState(enum.Enum):
    """Where we are with the line; the value is what is said when it ends there."""

    OFFLINE = "{where} cannot be reached ({reason}); trying again."
    GREETING = "{where} has ended the line ({reason}); trying again."
    ONLINE = "The line to {where} is lost ({reason}); trying again."


@dataclass(frozen=True, slots=True)
class Ended:
    """The end: `clean` if we wanted it; otherwise `reason` says why."""

    reason: str = ""
    clean: bool = False


class State:
    """One user's side of the conversation with the server, over as many lines as it takes.

    `where` is the server as a person names it. A `fetch_names` client asks for the names of all channels and of those
    who are online, for completion.
    """

    def __init__(self, credentials: Credentials, *, where: str = "the server", fetch_names: bool = False) -> None:
        self.credentials = credentials
        self.leaving = False  # `exit` was typed
        self.ended: Ended | None = None
        self.unmatched_error = (
            ""  # the complaint about something of ours, nobody knows what; it will have no other answer
        )
        self._where = where
        self._fetch_names = fetch_names
        self._link_state = _LinkState.OFFLINE
        self._hello: int | None = None  # the `ref` of the `hello` under way
        self._welcomed = False  # at least once
        self._told = False  # that there is no line
        self._reason = ""  # why the server is about to end the line
        self._parting = False  # `bye` is sent
        self._cursors = Cursors()
        self._outbox = Outbox()
        self.rooms = Rooms(self._cursors, self._outbox)
        self._held: deque[tuple[str, Request | None]] = deque()  # typed, and not understood yet
        self._probe: str | None = None  # the channel of which the server is asked whether it exists
        self._absent: str | None = None  # that it does not
        self._orders: list[SendFile | GetFile | Cancel] = []  # typed, and what was typed before is not answered
        self._step = Step()

    @property
    def online(self) -> bool:
        """Whether we are let in."""
        return self._link_state is _LinkState.ONLINE

    @property
    def waiting(self) -> list[str]:
        """What was typed to be posted and is not known to be stored."""
        return [*(post.text for post in self._outbox.posts()), *(line for line, _ in self._held)]

    @property
    def unanswered(self) -> int:
        """How much of what was typed has not had its answer."""
        return len(self._outbox) + len(self._held)

    @property
    def settled(self) -> bool:
        """Whether everything has come that we know of: all answers, our own posts, and what we had missed.

        Not before we were let in: until then, nobody knows what there is to come.
        """
        return self._welcomed and not self.unanswered and not self._orders and self._cursors.level

    def take(self) -> Step:
        """What is to be done, once. What is shown is acknowledged in the same step, so after it was shown."""
        step, self._step = self._step, Step()
        if not self.unanswered:
            step.files, self._orders = self._orders, []
        if self.online and not self._parting:
            step.send += self._cursors.acknowledgements(self._outbox.new_ref)
        return step

    def _show(self, frame: Frame) -> None:
        self._step.show.append(ShownFrame(frame))

    def _note(self, text: str) -> None:
        self._step.show.append(Note(text))

    # The line

    def connected(self) -> None:
        """There is a new line: greet."""
        self._link_state = _LinkState.GREETING
        self._greet()

    def _greet(self) -> None:
        self._hello = self._outbox.new_ref()
        self._step.send.append(self.credentials.hello(self._cursors.since(), self._hello))

    def lost(self, reason: str, *, reached: bool = True) -> None:
        """The line has ended, or nobody was reached. It is said once, however often it is tried."""
        link_state, self._link_state = self._link_state if reached else _LinkState.OFFLINE, _LinkState.OFFLINE
        reason, self._reason = self._reason or reason, ""
        if self._parting:
            self.ended = Ended(clean=True)
        elif not self._told and self.credentials.question is None and self.ended is None:
            self._told = True
            self._note(link_state.value.format(where=self._where, reason=one_line(reason).rstrip(".")))

    # The person

    def typed(self, line: str) -> None:
        """A line that was typed: a command, or text. What cannot be sent now waits."""
        line = printable(line).strip()
        if not line:
            return
        before = self.unanswered
        try:
            self._command(line)
        except Refused as refused:
            self._refuse(refused)
        if not self.online and self.unanswered > before:
            self._step.show.append(Note(shorten(line, _QUOTED), "waiting"))

    def _command(self, line: str) -> None:
        match commands.parse(line):
            case Bye():
                self.leaving = True
            case Help(command=command):
                self._show(HelpText(lines=commands.help_lines(command)))
            case SendFile() | GetFile() | Cancel() as order:
                self._orders.append(order)
            case request:
                assert request is None or isinstance(request, Request)
                self._held.append((line, request))
                self._go_on()

    def _go_on(self) -> None:
        """Do what was typed, in its order, as far as it can be understood."""
        while self._held and self._welcomed and self._probe is None:
            line, command = self._held.popleft()
            try:
                unknown = self.rooms.unknown(line, command)
                if unknown != self._absent and unknown is not None:
                    self._held.appendleft((line, command))
                    self._probe = unknown
                    self._ask(Topic(unknown), quiet=True)
                    continue
                self._absent = None
                self._ask(self.rooms.fill(command) if command else self.rooms.say(line))
            except Refused as refused:
                self._refuse(refused, "" if command else line)

    def _ask(self, request: Request, *, quiet: bool = False) -> None:
        """Make a request, now or on the next line, and keep it until it is answered. Raises Refused."""
        request = self._outbox.address(request)
        if len(JsonLines.encode(request)) > Limits().line:
            raise Refused("too-long", f"A line has at most {Limits().line} bytes with all that belongs to it.")
        self._outbox.keep(request, quiet=quiet)
        if self.online:
            self._step.send.append(request)
        if isinstance(request, Join):
            self.rooms.current = request.channel
        elif isinstance(request, Leave):
            self.rooms.step_out_of(request.channel)

    def ask(self, request: Request) -> None:
        """Make a request for somebody else: its answer is shown."""
        self._ask(request)

    def _refuse(self, refused: Refused, unsent: str = "") -> None:
        """Show why something was not done, and the text that was not sent, so that it is not lost."""
        self._show(Error(code=refused.code, error=refused.sentence))
        if unsent:
            self._note(f"Not sent: {shorten(unsent, _QUOTED)}")

    def answer(self, text: str) -> None:
        """The answer to the login's question."""
        try:
            if self.credentials.answer(text):
                self._cursors.clear()
        except Refused as refused:
            self._refuse(refused)
        if self.credentials.question is None and self._link_state is _LinkState.GREETING:
            self._greet()

    def leave(self) -> None:
        """Say goodbye, if there is anybody to say it to."""
        if self.online:
            self._step.send += self._cursors.acknowledgements(self._outbox.new_ref, last=True)
            self._step.send.append(Bye(ref=self._outbox.new_ref()))
            self._parting = True
        else:
            self.ended = Ended(clean=True)

    # The server

    def receive(self, frames: Iterable[Frame]) -> None:
        """Take in what the server says, in its order."""
        for frame in frames:
            if self.ended is None and not (self._parting and isinstance(frame, Entry | Gap)):
                # What comes after `bye` would be shown and not acknowledged; so it comes again the next time.
                self.rooms.names.learn(frame)
                _HANDLERS.get(type(frame), State._other)(self, frame)

    def _other(self, frame: Any) -> None:
        asked = self._outbox.answered(getattr(frame, "ref", None))
        if asked is None or not asked.quiet:
            self._show(frame)
        else:
            self._probed(asked.request, exists=True)

    def _probed(self, request: Request, *, exists: bool) -> None:
        if isinstance(request, Topic) and request.channel == self._probe:
            self._probe = None
            if exists:
                self.rooms.names.learn_channel(request.channel)
            else:
                self._absent = request.channel
            self._go_on()

    def _welcome(self, frame: Welcome) -> None:
        again, self._welcomed = self._welcomed, True
        self._link_state, self._hello, self._told = _LinkState.ONLINE, None, False
        self.credentials.welcome(frame)
        self._cursors.welcome(frame.logs)
        if again:
            self._note(f"Back at {self._where} as {frame.name}.")
        else:
            self._show(msgspec.structs.replace(frame, token=""))  # what is shown may be kept, and seen by others
        self.rooms.look_around()
        self._ask_again()
        if self._fetch_names and not again:
            self._ask(Channels(), quiet=True)
            self._ask(Who(), quiet=True)
        self._go_on()

    def _ask_again(self) -> None:
        """Everything that was not answered on the old line, in its order."""
        inside = set(self._cursors.channels())
        for request in self._outbox:
            if isinstance(request, Leave) and fold(request.channel) not in inside:
                self._left(Left(channel=request.channel, ref=request.ref))  # done; its answer was lost with the line
                continue
            if isinstance(request, Join):
                inside.add(fold(request.channel))
            self._step.send.append(request)

    def _error(self, frame: Error) -> None:
        if frame.ref is not None and frame.ref == self._hello:
            self._not_let_in(frame)
        elif not self._cursors.answered(frame.ref):
            asked = self._outbox.answered(frame.ref)
            if asked is None:
                self._show(frame)
                self.unmatched_error = frame.error
            elif asked.quiet:
                self._probed(asked.request, exists=frame.code != "no-such-channel")
            else:
                self._refused(asked.request, frame)

    def _not_let_in(self, frame: Error) -> None:
        before = self.credentials.question
        question = self.credentials.refused(frame)
        if question is None:  # a full server, for one: that can change
            self._reason, self._step.drop = frame.error, True
        elif question != before:
            self._show(frame)

    def _refused(self, request: Request, frame: Error) -> None:
        self._refuse(Refused(frame.code, frame.error), request.text if isinstance(request, Say | Msg) else "")
        if isinstance(request, Join):
            self.rooms.step_out_of(request.channel)
        elif isinstance(request, Say) and frame.code == "not-a-member":  # left on another line of ours, perhaps
            self._cursors.close(request.channel)
            self.rooms.step_out_of(request.channel)

    def _closing(self, frame: Closing) -> None:
        self._reason = frame.reason
        if frame.code == "replaced":
            self.ended = Ended(frame.reason)

    def _malformed(self, frame: Malformed) -> None:
        """Of a newer server, we leave out what we do not know. What is no frame at all comes from no server."""
        if not self._welcomed and frame.code == "bad-frame":
            self.ended = Ended(f"{self._where} does not speak Partyline's protocol.")

    def _entry(self, frame: Entry) -> None:
        cursor, before = self._cursors.take(frame, self.credentials.name)
        if before is None:
            return
        if frame.number > before + 1:
            self._show(Gap(first=before + 1, last=frame.number - 1, channel=cursor.channel, user=cursor.user))
        mine = fold(frame.sender) == fold(self.credentials.name)
        self._step.show.append(ShownFrame(frame, past=frame.number <= cursor.past, mine=mine))

    def _gap(self, frame: Gap) -> None:
        if self._cursors.skip(frame.channel, frame.user, frame.last):
            self._show(frame)

    def _joined(self, frame: Joined) -> None:
        self._cursors.open(frame.channel, None)
        self.rooms.entered(frame.channel)
        self._other(frame)

    def _left(self, frame: Left) -> None:
        self._cursors.close(frame.channel)
        self.rooms.step_out_of(frame.channel)
        self._other(frame)

    def _stored(self, frame: Stored) -> None:
        self._cursors.expect(frame.channel, frame.user, frame.number)
        self._other(frame)

    def _registered(self, frame: Registered) -> None:
        asked = self._outbox.answered(frame.ref)
        if asked is not None and isinstance(asked.request, Register):
            self.credentials.registered(asked.request.password)
        self._show(frame)

    def _ok(self, frame: Ok) -> None:
        if not self._cursors.answered(frame.ref):
            self._other(frame)

    def _pong(self, frame: Pong) -> None:
        """The link has asked whether the line is alive; nobody need see it."""


# All other frames are answers or events that are just shown.
_HANDLERS: dict[type[Frame], Callable[[State, Any], None]] = {
    Welcome: State._welcome,
    Error: State._error,
    Closing: State._closing,
    Malformed: State._malformed,
    Entry: State._entry,
    Gap: State._gap,
    Joined: State._joined,
    Left: State._left,
    Stored: State._stored,
    Registered: State._registered,
    Ok: State._ok,
    Pong: State._pong,
}
