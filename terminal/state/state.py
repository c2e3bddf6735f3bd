"""Floor 4: the client's state, without I/O: frames from the server and typed lines go in, a `Step` comes out.

One thread calls all methods of a State. It does not know which link carries the frames.
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
    ChannelList,
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
    Members,
    Msg,
    Ok,
    Pong,
    Query,
    Recipient,
    Register,
    Registered,
    Request,
    Say,
    SendFile,
    Stored,
    Topic,
    Welcome,
    Who,
    Whois,
)
from wire.jsonlines import JsonLines
from wire.limits import Limits
from wire.names import fold, one_line, printable, shorten
from wire.text import command_word, help_lines, parse, render, topic_refusal, without_secret

from .credentials import Credentials
from .cursors import Cursors
from .outbox import Outbox
from .rooms import Rooms
from .step import Note, ShownFrame, Step

_MOST_NAMES = 10_000  # channels, and users, whose names are fetched for completion
_QUOTED = 200  # characters of a typed line, when it is displayed again
_EXPOSED = (
    "Your password goes over the network unencrypted. If the server has a certificate, use tls://HOST or mqtts://HOST."
)


class _LinkState(enum.Enum):
    """The state of the connection; the values are the sentences for a connection that ends in it."""

    OFFLINE = "Could not connect to {where} ({reason}).", "Retrying."
    GREETING = "{where} closed the connection ({reason}).", "Reconnecting."
    ONLINE = "Lost the connection to {where} ({reason}).", "Reconnecting."


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of the client: `clean` if the user wanted it, otherwise `reason` says why."""

    reason: str = ""
    clean: bool = False


class State:
    """One user's conversation with a chat, over as many connections as it takes, to any of its servers.

    With `fetch_names`, the client asks for the names of all channels and of the users online, for completion. With
    `asks`, there is a person who can be asked what a line means: the same line typed again is the answer. In a script,
    a line that may be mistyped is refused.
    """

    def __init__(self, credentials: Credentials, *, fetch_names: bool = False, asks: bool = False) -> None:
        self.credentials = credentials
        self._exposed = False  # what is sent goes to another machine without TLS
        self._exposure_shown = False
        self.leaving = False  # the user has typed `exit`
        self.ended: Ended | None = None
        self.failed_rounds = 0  # how often each server was tried, or lost, without success
        self.unmatched_error = ""  # an error without `ref`: one of our requests will get no other answer
        self._where = ""  # the server of the present connection, as the user names it
        self._fetch_names = fetch_names
        self._link_state = _LinkState.OFFLINE
        self._hello: int | None = None  # the `ref` of a `hello` without an answer
        self._welcomed = False  # at least once
        self._losses_shown: set[str] = set()  # servers whose loss or failure the user knows of, in this absence
        self._reason = ""  # why the server is about to close the connection
        self._bye_sent = False
        self._cursors = Cursors()
        self._outbox = Outbox()
        self.rooms = Rooms(self._cursors, self._outbox)
        self._typed: deque[tuple[str, Request | None]] = deque()  # lines without a request yet
        self._asks = asks
        self._again: tuple[str, Request] | None = (
            None  # a line that was asked about, and what it means when it is repeated
        )
        self._question: Topic | Whois | None = None  # that the server is asked: does the channel, or the user, exist?
        self._file_commands: list[SendFile | GetFile | Cancel] = []  # those that wait for earlier answers
        self._step = Step()

    @property
    def online(self) -> bool:
        """True if the server has let us in."""
        return self._link_state is _LinkState.ONLINE

    @property
    def welcomed(self) -> bool:
        """True if the server has let us in at least once."""
        return self._welcomed

    @property
    def unsent(self) -> list[str]:
        """The typed messages that are not known to be stored."""
        return [*(post.text for post in self._outbox.posts()), *(without_secret(line) for line, _ in self._typed)]

    @property
    def unanswered(self) -> int:
        """The number of requests and typed lines without an answer."""
        return len(self._outbox) + len(self._typed)

    @property
    def settled(self) -> bool:
        """True if all answers, our own posts and all missed entries came; never true before the first welcome."""
        return self._welcomed and not self.unanswered and not self._file_commands and self._cursors.level

    def next_step(self) -> Step:
        """Return the next step. It acknowledges the entries that it displays, since displaying comes before sending."""
        step, self._step = self._step, Step()
        if not self.unanswered:
            step.files, self._file_commands = self._file_commands, []
        if self.online and not self._bye_sent:
            step.send += self._cursors.acknowledgements(self._outbox.new_ref)
        return step

    def _show(self, frame: Frame) -> None:
        self._step.show.append(ShownFrame(frame))

    def _note(self, text: str) -> None:
        self._step.show.append(Note(text))

    # The connection

    def connected(self, where: str = "the server", *, exposed: bool = False) -> None:
        """Begin a new connection with `hello`.

        `where` is the server as the user names it; `exposed`: what is sent goes to another machine without TLS.
        """
        self._where, self._exposed = where, exposed
        self._link_state = _LinkState.GREETING
        self._greet()

    def _greet(self) -> None:
        self._hello = self._outbox.new_ref()
        hello = self.credentials.hello(self._cursors.since(), self._hello)
        if hello.password is not None:
            self._warn_of_password()
        self._step.send.append(hello)

    def _warn_of_password(self) -> None:
        """Warn once that others on the network can read a password that is sent."""
        if self._exposed and not self._exposure_shown:
            self._exposure_shown = True
            self._note(_EXPOSED)

    def lost(self, reason: str, *, where: str = "the server", reached: bool = True, then: str = "") -> None:
        """Note a lost connection to `where`, or a failed attempt. Only the first of each server is displayed.

        `then` is the server that is tried next, at once; empty after the last one of a round.
        """
        link_state, self._link_state = self._link_state if reached else _LinkState.OFFLINE, _LinkState.OFFLINE
        reason, self._reason = self._reason or reason, ""
        self.failed_rounds += not then
        if self._bye_sent:
            self.ended = Ended(clean=True)
        elif where not in self._losses_shown and self.credentials.question is None and self.ended is None:
            self._losses_shown.add(where)
            what, further = link_state.value
            further = f"Trying {then}." if then else further
            self._note(f"{what.format(where=where, reason=one_line(reason).rstrip('.'))} {further}")

    # The user

    def typed(self, line: str) -> None:
        """Take a typed line: a command or text. A line that cannot be sent now stays in order for later."""
        line = printable(line).strip()
        if not line:
            return
        before = self.unanswered
        again, self._again = self._again, None
        try:
            if again is not None and line == again[0]:
                self._take(*again)
            else:
                self._command(line)
        except Refused as refused:
            self._refuse(refused)
        if not self.online and self.unanswered > before:
            self._note_unsent(line)

    def _note_unsent(self, line: str) -> None:
        """Display a typed line that waits for the connection."""
        self._step.show.append(Note(shorten(without_secret(line), _QUOTED), "unsent"))

    def _command(self, line: str) -> None:
        match parse(line):
            case Bye():
                self.leaving = True
            case Help(command=command):
                self._show(HelpText(lines=help_lines(command)))
            case None if self._asks and (command := command_word(line)):
                self._ask_again(line, Say(line), f"{command}, or send {line} again to say it.")
            case SendFile() as send if self._typed or self.rooms.question(line, send, strict=True) is not None:
                self._take(line, send)
            case SendFile() | GetFile() | Cancel() as file_command:
                self._file_commands.append(file_command)
                if not self.online and not isinstance(file_command, Cancel):  # that may end a download here
                    self._note_unsent(line)
            case request:
                assert request is None or isinstance(request, Request)
                self._take(line, request)

    def _take(self, line: str, request: Request | None) -> None:
        """Take a line that is for the server: after all earlier ones."""
        self._typed.append((line, request))
        self._process_typed()

    def _ask_again(self, line: str, meaning: Request, sentence: str) -> None:
        """Ask the person whether a line has that meaning."""
        self._again = line, meaning
        self._note(sentence)

    def _process_typed(self) -> None:
        """Turn typed lines into requests, in order, up to one whose meaning the server must tell first."""
        while self._typed and self._welcomed and self._question is None:
            line, command = self._typed.popleft()
            try:
                question = self.rooms.question(line, command, strict=not self._asks)
                if question is not None:
                    self._typed.appendleft((line, command))
                    self._question = question
                    self._ask(question, quiet=True)
                    continue
                self.rooms.forget_absent()
                self._do(line, command)
            except Refused as refused:
                self._refuse(refused, "" if command else line)

    def _do(self, line: str, command: Request | None) -> None:
        """Do what a line means. Raises Refused."""
        match command:
            case None:
                self._ask(self.rooms.say(line, strict=not self._asks))
            case SendFile() if command.unseen or command.to.startswith("#") or self.rooms.is_user(command.to):
                self._file_commands.append(command)
            case SendFile():
                self._doubt_receiver(line, command)
            case Topic(channel=channel) if channel and not self.rooms.exists(channel):
                self._doubt_topic(line, command)
            case Query(user=user, text=text):
                self._talk_with(user)
                if text:
                    self._ask(self.rooms.fill(Say(text)))
            case Leave(channel="") if self.rooms.partner:
                self._talk_with("")
            case _:
                self._ask(self.rooms.fill(command))

    def _doubt_receiver(self, line: str, command: SendFile) -> None:
        """Ask whether a file goes to a name that has never connected. Raises Refused in a script."""
        to = command.to
        sentence = f"No user called {to} has ever connected."
        if self.rooms.exists(to):
            sentence += f" /send #{to} … sends it to the channel."
        if not self._asks:
            raise Refused("no-such-user", f"{sentence} /send @{to} … sends it to that name all the same.")
        meaning = msgspec.structs.replace(command, unseen=True)
        self._ask_again(line, meaning, f"{sentence} To send it to that name all the same, type the line again.")

    def _doubt_topic(self, line: str, command: Topic) -> None:
        """Ask whether a word that is not a channel begins the topic of the current one. Raises Refused in a script."""
        channel, current = command.channel, self.rooms.current
        if not self._asks or not current or command.text == "":
            raise Refused("no-such-channel", topic_refusal(command, current))
        topic = f"{channel} {command.text or ''}".strip()
        sentence = f"The channel {channel} does not exist. /join {channel} creates it. To set the topic of {current} to"
        meaning = Topic(current, topic)
        self._ask_again(line, meaning, f"{sentence} {shorten(topic, _QUOTED)!r}, type the line again.")

    def _talk_with(self, user: str) -> None:
        """Have lines that name no channel go to a user, or, for an empty name, to the current channel again."""
        known = not user or self.rooms.is_user(user)
        self.rooms.partner = self.rooms.names.users.get(fold(user), user)
        for line in render(Recipient(user=self.rooms.partner, known=known, channel=self.rooms.current)):
            self._note(line.removeprefix("* "))

    def _ask(self, request: Request, *, quiet: bool = False) -> None:
        """Send a request now or on the next connection, and keep it until it is answered. Raises Refused."""
        request = self._outbox.address(request)
        if len(JsonLines.encode(request)) > Limits().line:
            raise Refused("too-long", f"A message has at most {Limits().line} bytes, with its JSON.")
        self._outbox.keep(request, quiet=quiet)
        if isinstance(request, Register):
            self._warn_of_password()
        if self.online:
            self._step.send.append(request)
        if isinstance(request, Join):
            self.rooms.current, self.rooms.partner = request.channel, ""
        elif isinstance(request, Leave):
            self.rooms.step_out_of(request.channel)

    def cancel(self, cancel: Cancel) -> None:
        """Cancel an offer of a file, now or on the next connection; the answer is displayed. Raises Refused."""
        self._ask(cancel)
        if not self.online:
            self._note_unsent(f"/cancel {cancel.file}")

    def _refuse(self, refused: Refused, unsent: str = "") -> None:
        """Display why the client itself refuses a line."""
        self._show_error(Error(code=refused.code, error=refused.sentence), unsent)

    def _show_error(self, error: Error, unsent: str) -> None:
        """Display an error, and the unsent text, so that the user does not lose it."""
        self._show(error)
        if unsent:
            self._note(f"Not sent: {shorten(unsent, _QUOTED)}")

    def answer(self, text: str) -> None:
        """Take the user's answer to the question of the credentials."""
        try:
            if self.credentials.answer(text):
                self._cursors.clear()
        except Refused as refused:
            self._refuse(refused)
        if self.credentials.question is None and self._link_state is _LinkState.GREETING:
            self._greet()

    def leave(self) -> None:
        """Acknowledge what was displayed and send `bye`; without a connection, end at once."""
        if self.online:
            self._step.send += self._cursors.acknowledgements(self._outbox.new_ref, last=True)
            self._step.send.append(Bye(ref=self._outbox.new_ref()))
            self._bye_sent = True
        else:
            self.ended = Ended(clean=True)

    # The server

    def receive(self, frames: Iterable[Frame]) -> None:
        """Handle frames from the server, in order."""
        for frame in frames:
            if self.ended is None and not (self._bye_sent and isinstance(frame, Entry | Gap)):
                # An entry after `bye` could not be acknowledged, so it is not displayed: it comes again the next time.
                self.rooms.names.learn(frame)
                _HANDLERS.get(type(frame), State._other)(self, frame)

    def _other(self, frame: Any) -> None:
        asked = self._outbox.answered(getattr(frame, "ref", None))
        if asked is None or not asked.quiet:
            self._show(frame)
        else:
            self._found(asked.request, exists=True)

    def _found(self, request: Request, *, exists: bool) -> None:
        question = self._question
        if isinstance(request, Topic | Whois) and _is_same(request, question):
            self._question = None
            self.rooms.answered(request, exists=exists)
            self._process_typed()

    def _welcome(self, frame: Welcome) -> None:
        again, self._welcomed = self._welcomed, True
        self._link_state, self._hello = _LinkState.ONLINE, None
        failed, self._losses_shown = self._losses_shown - {self._where}, set()
        self.credentials.welcome(frame)
        self._cursors.welcome(frame.logs)
        if again:
            self._note(f"Reconnected to {self._where} as {frame.name}.")
        else:
            if failed:
                self._note(f"Connected to {self._where}.")
            self._show(msgspec.structs.replace(frame, token=""))  # what is displayed may be kept, and seen by others
        self.rooms.check_current()
        self._resend()
        if self._fetch_names and not again:
            self._ask(Channels(), quiet=True)
            self._ask(Who(), quiet=True)
        self._process_typed()

    def _resend(self) -> None:
        """Send every request that the last connection left without an answer, in order."""
        inside = set(self._cursors.channels())
        for request in self._outbox:
            if isinstance(request, Leave) and fold(request.channel) not in inside:
                self._left(
                    Left(channel=request.channel, ref=request.ref)
                )  # done; its answer was lost with the connection
                continue
            if isinstance(request, Join):
                inside.add(fold(request.channel))
            elif isinstance(request, Register):
                self._warn_of_password()
            self._step.send.append(request)

    def _error(self, frame: Error) -> None:
        if frame.ref is not None and frame.ref == self._hello:
            self._hello_refused(frame)
        elif not self._cursors.answered(frame.ref):
            asked = self._outbox.answered(frame.ref)
            if asked is None:
                self._show(frame)
                self.unmatched_error = frame.error
            elif asked.quiet:
                self._found(asked.request, exists=frame.code not in ("no-such-channel", "no-such-user"))
            else:
                self._refused(asked.request, frame)

    def _hello_refused(self, frame: Error) -> None:
        before = self.credentials.question
        question = self.credentials.refused(frame)
        if question is None:  # e.g. a full server: that can change
            self._reason, self._step.drop = frame.error, True
        elif question != before:
            self._show(frame)

    def _refused(self, request: Request, frame: Error) -> None:
        sentence = frame.error
        if isinstance(request, Topic) and frame.code == "no-such-channel":
            sentence = topic_refusal(request, self.rooms.current)
        error = Error(code=frame.code, error=sentence)  # without `ref`; the code may be one of a newer server
        self._show_error(error, request.text if isinstance(request, Say | Msg) else "")
        if isinstance(request, Join):
            self.rooms.step_out_of(request.channel)
        elif isinstance(request, Say) and frame.code == "not-a-member":  # left through another connection, perhaps
            self._cursors.close(request.channel)
            self.rooms.step_out_of(request.channel)

    def _closing(self, frame: Closing) -> None:
        self._reason = frame.reason
        if frame.code == "replaced":
            self.ended = Ended(frame.reason)

    def _malformed(self, frame: Malformed) -> None:
        """Ignore frames that only a newer server knows; end if the first line is no frame, so no server's.

        A full server says why it closes the connection in JSON, and then as text.
        """
        if not self._welcomed and not self._reason and frame.code == "bad-frame":
            self.ended = Ended(f"{self._where} is not a Partyline server.")

    def _entry(self, frame: Entry) -> None:
        cursor, before = self._cursors.advance(frame, self.credentials.name)
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
        self._cursors.join(frame.channel, frame.tail)
        self.rooms.entered(frame.channel)
        self._other(frame)

    def _left(self, frame: Left) -> None:
        self._cursors.close(frame.channel)
        self.rooms.step_out_of(frame.channel)
        self._other(frame)

    def _channel_list(self, frame: ChannelList) -> None:
        """Display a list that the user asked for; of one for completion, fetch the next page."""
        asked = self._outbox.answered(frame.ref)
        if asked is None or not asked.quiet:
            self._show(frame)
        elif frame.more and len(self.rooms.names.channels) < _MOST_NAMES:
            self._ask(Channels(after=frame.more), quiet=True)

    def _members(self, frame: Members) -> None:
        """Display a list that the user asked for; of one for completion, fetch the next page."""
        asked = self._outbox.answered(frame.ref)
        if asked is None or not asked.quiet:
            self._show(frame)
        elif frame.more and len(self.rooms.names.users) < _MOST_NAMES:
            self._ask(Who(after=frame.more), quiet=True)

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
        """Ignore the answer to the link's ping."""


def _is_same(asked: Topic | Whois, question: Topic | Whois | None) -> bool:
    """Return True if a request, which has a `ref`, is that question."""
    return question is not None and msgspec.structs.replace(asked, ref=None) == question


# All other frames are answers or events that are only displayed.
_HANDLERS: dict[type[Frame], Callable[[State, Any], None]] = {
    Welcome: State._welcome,
    Error: State._error,
    Closing: State._closing,
    Malformed: State._malformed,
    Entry: State._entry,
    Gap: State._gap,
    Joined: State._joined,
    Left: State._left,
    ChannelList: State._channel_list,
    Members: State._members,
    Stored: State._stored,
    Registered: State._registered,
    Ok: State._ok,
    Pong: State._pong,
}
