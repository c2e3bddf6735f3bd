"""Floor 3: the speaker of the dialects whose bytes are frames: text for people, JSON for programs."""

from __future__ import annotations

import time

from channels import Chat, Log, Outlet, Reader, Session, handle
from store import Entries
from wire import VERSION
from wire.dialect import Dialect
from wire.errors import PeerError
from wire.frames import Closing, Error, Prompt
from wire.jsonlines import JsonLines
from wire.limits import Limits
from wire.text import GREETING_START, TextLines

GREETING = TextLines.encode(Prompt(f"{GREETING_START.decode()}{VERSION}. What is your name?"))


class Talk:
    """One peer's session, and the dialect it is held in."""

    __slots__ = ("_deadline", "_dialect", "_reader", "_session")

    def __init__(self, chat: Chat, outlet: Outlet, address: str, dialect: Dialect) -> None:
        self._deadline = time.monotonic() + chat.limits.login_seconds
        self._dialect = dialect
        self._reader = Reader[Log](outlet, dialect)
        self._session = Session(chat, self._reader, "socket", address)

    @property
    def done(self) -> bool:
        """Nothing more is to be read from the peer."""
        return self._session.done

    @property
    def patience(self) -> float | None:
        """A peer without a name has to say it in time; one with a name may be silent."""
        return None if self._session.named else max(0.0, self._deadline - time.monotonic())

    def receive(self, data: bytes) -> None:
        """Do what the bytes ask. Raises PeerError if nothing that comes can be understood any more."""
        handle(self._session, self._dialect.receive(data))

    def end(self) -> None:
        """The last line of a person's may lack its end; what it is to be told has a while to go out."""
        if self._dialect.free_text:
            self.receive(b"\n")
        self._session.finish()

    def overdue(self) -> PeerError:
        """What to tell a peer without a name."""
        return PeerError("too-slow", "You have not said who you are in time.")

    def fail(self, error: PeerError) -> None:
        """Tell the peer why the connection ends."""
        self._reader.reply(Error(code=error.code, error=error.sentence))
        self._reader.reply(Closing(reason="The connection ends here.", code=error.code))

    def dismiss(self) -> None:
        """Tell the peer that the server goes down."""
        self._reader.reply(Closing(reason="The server is going down.", code="closing"))

    def close(self) -> None:
        """Keep how far the peer came, and tell the others."""
        self._session.close()

    def parted(self) -> None:
        """Keep what the peer's machine took in the end."""
        self._session.parted()

    def hang_up(self) -> None:
        """Called by any thread: have the connection's own thread end it."""
        self._session.hang_up()

    def walk(self, store: Entries, limits: Limits) -> None:
        """Called by the pump: send what the peer has not had yet."""
        self._reader.walk(store, limits)

    def discard(self) -> None:
        """Called by any thread: send nothing more."""
        self._reader.close()


def text(chat: Chat, outlet: Outlet, address: str) -> Talk:
    """A person's side."""
    return Talk(chat, outlet, address, TextLines(chat.limits))


def json(chat: Chat, outlet: Outlet, address: str) -> Talk:
    """A program's side."""
    return Talk(chat, outlet, address, JsonLines(chat.limits))
