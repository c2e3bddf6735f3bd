"""Floor 3: a connection: one socket, one thread that reads from it, and whoever speaks behind it."""

from __future__ import annotations

import errno
import logging
import socket
import threading
from collections.abc import Callable, Mapping

from channels.chat import Chat
from channels.locks import nothing_held
from net import WritePump, host_of, send_holding_gil, set_receive_timeout, unacknowledged_bytes
from wire.errors import PeerError

from .line_speaker import GREETING, text
from .speaker import Speak, Speaker

log = logging.getLogger("partyline.door")

GREET_AFTER = 0.3  # seconds in which a program has said something; after that it is a person
_LEAST, _MOST = 4_096, 262_144  # bytes of one recv: small while a connection is quiet, so that it costs little
_LINGER = 0.5  # seconds in which the peer may take note that the connection has ended
_GONE = {errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.ETIMEDOUT, errno.EBADF, errno.EHOSTUNREACH}


class Connection:
    """One connection. Its thread runs `_run`; the speaker, the pump and the door call the rest."""

    __slots__ = (
        "_broken", "_chat", "_ended", "_greets", "_patience", "_pump", "_retired", "_socket", "_speaker", "_speakers",
        "address", "thread",
    )  # fmt: skip

    def __init__(
        self,
        sock: socket.socket,
        address: str,
        chat: Chat,
        pump: WritePump,
        speakers: Mapping[bytes, Speak],
        ended: Callable[[Connection], None],
        greets: bool,
    ) -> None:
        """`speakers` are chosen by the first byte that comes; whoever speaks none of their protocols speaks text.

        `greets`: whoever says nothing for a moment is taken for a person.
        """
        self.address = address
        self._socket = sock
        self._chat = chat
        self._pump = pump
        self._speakers = speakers
        self._ended = ended
        self._greets = greets
        self._broken = False
        self._retired = False
        self._patience: float | None = None
        self._speaker: Speaker | None = None
        self.thread = threading.Thread(target=self._run, name=f"connection-{address}", daemon=True)

    # This half runs in the connection's own thread.

    def _run(self) -> None:
        try:
            first = self._first_bytes()
            speak = self._speakers.get((first or b"").lstrip()[:1], text)
            speaker = self._speaker = speak(self._chat, self, host_of(self.address))
            try:
                try:
                    self._serve(speaker, first)
                    if self._retired:
                        speaker.dismiss()
                except PeerError as error:
                    speaker.fail(error)
            finally:
                speaker.close()
            self._part()
            speaker.parted()
        except OSError as error:
            if error.errno not in _GONE:
                log.warning("%s: %s", self.address, error)
        except Exception:
            log.exception("%s: the connection ends because of a mistake of ours", self.address)
        finally:
            self._pump.remove(self._socket.fileno())
            self._socket.close()
            self._ended(self)

    def _first_bytes(self) -> bytes | None:
        """What the peer says first, which shows its protocol; whoever says nothing for a moment is greeted as text.

        None if it does not say anything in the time there is to log in.
        """
        if self._greets:
            data = self._receive(_LEAST, GREET_AFTER)
            if data is not None:
                return data
            self.transmit(GREETING)
        return self._receive(_LEAST, self._chat.limits.login_seconds)

    def _serve(self, speaker: Speaker, data: bytes | None) -> None:
        """Hand on what comes, until the peer or the speaker ends it."""
        size = _LEAST
        while data:
            speaker.receive(data)
            if speaker.done:
                return
            if len(data) == size:
                size = min(size * 4, _MOST)
            elif len(data) < size >> 3:
                size = _LEAST
            nothing_held("receive")
            data = self._receive(size, speaker.patience)
        if data is None and not self._retired:
            raise speaker.overdue()
        if not self._retired:
            speaker.end()

    def _receive(self, size: int, patience: float | None) -> bytes | None:
        """What comes next; empty at the end, None after so many seconds of silence."""
        if patience is not None and patience <= 0:
            return None
        if patience != self._patience:
            self._patience = patience
            set_receive_timeout(self._socket, patience)
        try:
            return self._socket.recv(size)
        except BlockingIOError:
            return None

    def _part(self) -> None:
        """End our side, and give the peer a moment to take what was sent: a close at once could destroy it."""
        self._socket.shutdown(socket.SHUT_WR)
        for _ in range(64):
            if not self._receive(_MOST, _LINGER):
                return

    # This half is called by any thread.

    def transmit(self, data: bytes | memoryview, *, answered: bool = False) -> int:
        """Send without blocking; how many bytes were taken. A broken line takes everything.

        `answered`: the peer will answer this at once.
        """
        try:
            if answered:
                return send_holding_gil(self._socket, data)
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

    def resume_writing(self) -> None:
        """Called by the pump: go on with what the peer has not had yet."""
        if self._speaker is None:
            return
        try:
            self._speaker.walk(self._chat.store, self._chat.limits)
        except Exception:
            log.exception("%s: reading for it failed; it has to come back", self.address)
            self.cut()

    def unacknowledged(self) -> int:
        """How many bytes the peer's machine has not acknowledged; more than none if it is broken."""
        if self._broken:
            return 1
        try:
            return unacknowledged_bytes(self._socket)
        except (OSError, ValueError):  # ValueError: it is closed by now
            return 1

    def hang_up(self) -> None:
        """Read nothing more from the peer; what has come already is still handled."""
        self._shut(socket.SHUT_RD)

    def retire(self) -> None:
        """The server goes down: end it, after what has come already, and say so."""
        self._retired = True
        speaker = self._speaker
        if speaker is not None:
            speaker.hang_up()
        else:
            self.hang_up()

    def cut(self) -> None:
        """End it at once, whatever is under way."""
        self._shut(socket.SHUT_RDWR)
        if self._speaker is not None:
            self._speaker.discard()

    def _shut(self, how: int) -> None:
        try:
            self._socket.shutdown(how)
        except OSError as error:
            if error.errno not in _GONE:
                log.warning("%s: %s", self.address, error)
