"""Floor 3: the speaker of the dialects whose bytes are frames: text for people, JSON for programs."""

from __future__ import annotations

import time

from channels import Chat, Log, Outlet, Reader, Session, SessionReport, handle
from store import Entries
from wire import VERSION
from wire.dialect import Dialect
from wire.errors import PeerError
from wire.frames import Closing, Error, Prompt
from wire.jsonlines import JsonLines
from wire.limits import Limits
from wire.other_protocols import WrongProtocol
from wire.text import GREETING_START, TextLines

GREETING = TextLines.encode(Prompt(f"{GREETING_START.decode()}{VERSION}. What is your name?"))


_LINES = 4_096  # lines of one piece of bytes that become frames at once; each takes a hundred bytes, however short
_PIECE = 16_384  # bytes of the pieces in which more of them become frames


class LineSpeaker:
    """A speaker (see speaker.py): one peer's session, and its dialect."""

    __slots__ = ("_deadline", "_dialect", "_reader", "_session")

    def __init__(self, chat: Chat, outlet: Outlet, report: SessionReport, dialect: Dialect) -> None:
        self._deadline = time.monotonic() + chat.limits.login_seconds
        self._dialect = dialect
        self._reader: Reader[Log] = Reader(outlet, dialect)
        self._session = Session(chat, self._reader, "socket", report)

    @property
    def done(self) -> bool:
        """True if nothing more is to be read from the peer."""
        return self._session.done

    @property
    def patience(self) -> float | None:
        """The seconds left to log in; None for a peer that has logged in, which may be silent."""
        return None if self._session.named else max(0.0, self._deadline - time.monotonic())

    def receive(self, data: bytes) -> None:
        """Do what the bytes ask. Raises PeerError."""
        start = 0 if self._session.named else self._log_in(data)
        step = _PIECE if data.count(b"\n") > _LINES else len(data)
        for at in range(start, len(data), step):
            handle(self._session, self._dialect.receive(data[at : at + step]))
            if self._session.done:
                return
        self._session.await_payload(self._dialect.awaited)

    def _log_in(self, data: bytes) -> int:
        """Handle line after line until the peer has logged in, with its limits. Return the start of the rest."""
        session, start = self._session, 0
        while start < len(data) and not session.named:
            end = data.find(b"\n", start) + 1 or len(data)
            session.login_limit.take_bytes(end - start)
            handle(session, self._dialect.receive(data[start:end]))
            if session.done:
                return len(data)
            start = end
        if session.named:
            self._dialect.allow_payloads()
        return start

    def input_ended(self) -> None:
        """Handle a last line without its line end, which a person may send, and let the answers go out."""
        if self._dialect.free_text:
            self.receive(b"\n")
        self._session.finish()

    def overdue(self) -> PeerError:
        """Return the error for a peer that has not logged in."""
        return PeerError("too-slow", "You did not give a name in time.")

    def fail(self, error: PeerError) -> None:
        """Tell the peer and the operator why the connection ends; the operator knows of a wrong protocol."""
        if isinstance(error, WrongProtocol):
            self._reader.reply_bytes(error.answer)
            return
        self._session.report.cut_off(error)
        self._session.note_read()
        self._reader.reply(Error(code=error.code, error=error.sentence))
        self._reader.reply(Closing(reason="The connection is closed.", code=error.code))

    def refuse(self, data: bytes, error: PeerError) -> None:
        """Tell the peer why it is turned away."""
        self.fail(error)

    def dismiss(self) -> None:
        """Tell the peer that the server goes down."""
        self._session.note_read()
        self._reader.reply(Closing(reason="The server is going down.", code="closing"))

    def close(self) -> None:
        """End the session."""
        self._session.close()

    def note_last_read(self) -> None:
        """Store what the peer's machine has acknowledged in the end."""
        self._session.note_last_read()

    def hang_up(self) -> None:
        """Have the connection's own thread end the connection. Called by any thread."""
        self._session.hang_up()

    def walk(self, store: Entries, limits: Limits) -> None:
        """Send the peer what it has not had yet. Called by the write pump."""
        self._reader.walk(store, limits)

    def stop_sending(self) -> None:
        """Send nothing more. Called by any thread."""
        self._reader.close()


def text_speaker(chat: Chat, outlet: Outlet, report: SessionReport) -> LineSpeaker:
    """Return the speaker of the text dialect."""
    report.protocol = "text"
    return LineSpeaker(chat, outlet, report, TextLines(chat.limits))


def json_speaker(chat: Chat, outlet: Outlet, report: SessionReport) -> LineSpeaker:
    """Return the speaker of the JSON dialect."""
    report.protocol = "json"
    return LineSpeaker(chat, outlet, report, JsonLines(chat.limits, payloads=False))


def encode_refusal(refusal: Closing) -> bytes:
    """Return the reason to turn a peer away, as JSON and as text: the peer has not shown which one it speaks."""
    return JsonLines.encode(refusal) + TextLines.encode(refusal)
