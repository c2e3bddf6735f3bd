"""Floor 3: a connection: one socket, one thread that reads from it, and whichever dialect its first bytes speak."""

from __future__ import annotations

import errno
import fcntl
import logging
import socket
import struct
import termios
import threading
from collections.abc import Callable

from channels.chat import Chat
from channels.locks import nothing_held
from channels.reader import Reader
from channels.session import Session
from wire.dialect import Dialect
from wire.errors import PeerError
from wire.frames import Closing, Error
from wire.jsonlines import JsonLines
from wire.text import TextLines

from .pump import Pump

log = logging.getLogger("partyline.door")

GREET_AFTER = 0.3  # seconds in which a program has said something; after that it is a person
_LEAST, _MOST = 4_096, 262_144  # bytes of one recv: small while a connection is quiet, so that it costs little
_LINGER = 0.5  # seconds in which the peer may take note that the connection has ended
_GONE = {errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.ETIMEDOUT, errno.EBADF, errno.EHOSTUNREACH}


class Connection:
    """One connection. Its thread runs `_run`; `transmit`, `walk` and `hang_up` are called by others, too."""

    __slots__ = ("_broken", "_chat", "_ended", "_pump", "_reader", "_session", "_socket", "address", "thread")

    def __init__(
        self, sock: socket.socket, address: str, chat: Chat, pump: Pump, ended: Callable[[Connection], None]
    ) -> None:
        self.address = address
        self._socket = sock
        self._chat = chat
        self._pump = pump
        self._ended = ended
        self._broken = False
        self._reader: Reader | None = None
        self._session: Session | None = None
        self.thread = threading.Thread(target=self._run, name=f"connection-{address}", daemon=True)

    # This half runs in the connection's own thread.

    def _run(self) -> None:
        try:
            reader = self._reader = Reader(self, TextLines(self._chat.limits))
            session = self._session = Session(self._chat, reader, "socket", self.address.rpartition(":")[0].strip("[]"))
            try:
                first = self._first_bytes(session)
                if first.lstrip()[:1] == b"{":
                    reader.dialect = JsonLines(self._chat.limits)
                self._serve(session, reader.dialect, first)
            except PeerError as error:
                reader.reply(Error(code=error.code, error=error.sentence))
                reader.reply(Closing(reason="The connection ends here.", code=error.code))
            finally:
                if self._chat.closing:
                    reader.reply(Closing(reason="The server is going down.", code="closing"))
                session.close()
            self._part()
        except OSError as error:
            if error.errno not in _GONE:
                log.warning("%s: %s", self.address, error)
        except Exception:
            log.exception("%s: the connection ends because of a mistake of ours", self.address)
        finally:
            self._pump.remove(self._socket.fileno())
            self._socket.close()
            self._ended(self)

    def _first_bytes(self, session: Session) -> bytes:
        """What the peer says first, which shows its dialect; whoever says nothing for a moment is greeted as text."""
        self._socket.settimeout(GREET_AFTER)
        try:
            return self._socket.recv(_LEAST)
        except TimeoutError:
            session.greet()
        return self._receive_in_time(_LEAST)

    def _receive_in_time(self, size: int) -> bytes:
        self._socket.settimeout(self._chat.limits.login_seconds)
        try:
            return self._socket.recv(size)
        except TimeoutError:
            raise PeerError("too-slow", "You have not said who you are in time.") from None

    def _serve(self, session: Session, dialect: Dialect, data: bytes) -> None:
        """Hand on what comes, until the peer or the session ends it."""
        while data and session.user is None:
            session.handle(dialect.receive(data))
            if session.done:
                return
            if session.user is None:
                data = self._receive_in_time(_LEAST)
        self._socket.settimeout(None)
        size = _LEAST
        receive = self._socket.recv
        while data := receive(size):
            nothing_held("handle what was received")
            session.handle(dialect.receive(data))
            if session.done:
                return
            if len(data) == size:
                size = min(size * 4, _MOST)
            elif len(data) < size >> 3:
                size = _LEAST

    def _part(self) -> None:
        """End our side, and give the peer a moment to take what was sent: a close at once could destroy it."""
        self._socket.shutdown(socket.SHUT_WR)
        self._socket.settimeout(_LINGER)
        try:
            for _ in range(64):
                if not self._socket.recv(_MOST):
                    return
        except TimeoutError:
            return

    # This half is called by any thread.

    def transmit(self, data: bytes | memoryview) -> int:
        """Send without blocking; how many bytes were taken. A broken line takes everything."""
        try:
            return self._socket.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0
        except OSError:
            self._broken = True  # the connection's own thread finds out, too, and ends it
            return len(data)

    def when_writable(self) -> None:
        """Have the pump walk the reader once the line takes bytes again."""
        descriptor = self._socket.fileno()
        if descriptor >= 0:
            self._pump.add(descriptor, self)

    def walk(self) -> None:
        """Called by the pump: go on with what the peer has not had yet."""
        reader = self._reader
        if reader is None:
            return
        try:
            reader.walk(self._chat.store, self._chat.limits)
        except Exception:
            log.exception("%s: reading for it failed; it has to come back", self.address)
            self.hang_up()

    def unacknowledged(self) -> int:
        """How many bytes the peer's machine has not acknowledged (SIOCOUTQ, tcp(7)); more than none if it is broken."""
        if self._broken:
            return 1
        try:
            return int(struct.unpack("i", fcntl.ioctl(self._socket, termios.TIOCOUTQ, b"\0" * 4))[0])
        except OSError:
            return 1

    def hang_up(self) -> None:
        """Read nothing more from the peer; what has come already is still handled."""
        try:
            self._socket.shutdown(socket.SHUT_RD)
        except OSError as error:
            if error.errno not in _GONE:
                log.warning("%s: %s", self.address, error)

    def cut(self) -> None:
        """End it at once, whatever is under way."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError as error:
            if error.errno not in _GONE:
                log.warning("%s: %s", self.address, error)
        if self._reader is not None:
            self._reader.close()

    def retire(self) -> None:
        """The server goes down: end it, after what has come already."""
        if self._session is not None:
            self._session.hang_up()
        else:
            self.hang_up()
