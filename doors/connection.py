"""Floor 3: a connection: one socket, one thread that reads from it, and the speaker of its protocol."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Callable

from channels import Chat, nothing_held
from net import WritePump, host_of, peer_has_ended, send_holding_gil, set_receive_timeout, unacknowledged_bytes
from reporting import events, report
from wire.errors import PeerError
from wire.other_protocols import WrongProtocol

from .speaker import Speaker, Speakers

GREET_AFTER = 0.3  # seconds in which a program has sent something; a silent peer is taken for a person after that
_LEAST, _MOST = 4_096, 262_144  # bytes of one recv; small while a connection is quiet, so that it takes little memory
_LINGER = 0.5  # seconds that the peer has to close its side, too
_GONE = {errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.ETIMEDOUT, errno.EBADF, errno.EHOSTUNREACH}


class Connection:
    """One connection. Its own thread runs `_run`; the speaker, the write pump and the door call the other methods."""

    __slots__ = (
        "_broken", "_chat", "_dismissed", "_ended", "_patience", "_pump", "_retired", "_socket", "_speaker",
        "_speakers", "address", "thread",
    )  # fmt: skip

    def __init__(
        self,
        sock: socket.socket,
        address: str,
        chat: Chat,
        pump: WritePump,
        speakers: Speakers,
        ended: Callable[[Connection], None],
    ) -> None:
        """`ended` is called by the connection's thread as the last thing it does."""
        self.address = address
        self._socket = sock
        self._chat = chat
        self._pump = pump
        self._speakers = speakers
        self._ended = ended
        self._broken = False
        self._retired = False
        self._dismissed = threading.Lock()  # acquired once, by the thread that tells the peer that the server goes down
        self._patience: float | None = None
        self._speaker: Speaker | None = None
        self.thread = threading.Thread(target=self._run, name=f"connection-{address}", daemon=True)

    # The connection's own thread calls the methods from here on.

    def _run(self) -> None:
        try:
            first = self._first_bytes()
            speak = self._speakers.choose(first or b"")
            speaker = self._speaker = speak(self._chat, self, host_of(self.address))
            try:
                try:
                    self._serve(speaker, first)
                    if self._retired:
                        self.dismiss()
                except PeerError as error:
                    if isinstance(error, WrongProtocol):
                        report(events.WrongProtocol(host_of(self.address), error.protocol))
                    speaker.fail(error)
            finally:
                speaker.close()
            self._close_writing()
            speaker.note_last_read()
        except OSError as error:
            self._report_error(error)
        except Exception as error:  # noqa: BLE001 - reported; it ends this connection only
            self._report_mistake(error)
        finally:
            self._pump.remove(self._socket.fileno())
            self._socket.close()
            self._ended(self)

    def _first_bytes(self) -> bytes | None:
        """Return the first bytes from the peer, which show its protocol; None if it sends none in the time to log in.

        A peer that is silent for a moment is sent the greeting of the port, if the port has one.
        """
        if self._speakers.greeting:
            data = self._receive(_LEAST, GREET_AFTER)
            if data is not None:
                return data
            self.transmit(self._speakers.greeting)
        return self._receive(_LEAST, self._chat.limits.login_seconds)

    def _serve(self, speaker: Speaker, data: bytes | None) -> None:
        """Give the speaker what comes, until the peer or the speaker ends the connection. Raises PeerError."""
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
            speaker.input_ended()

    def _receive(self, size: int, patience: float | None) -> bytes | None:
        """Return the next bytes, empty at the end, or None after `patience` seconds of silence."""
        if patience is not None and patience <= 0:
            return None
        if patience != self._patience:
            self._patience = patience
            set_receive_timeout(self._socket, patience)
        try:
            return self._socket.recv(size)
        except BlockingIOError:
            return None

    def _close_writing(self) -> None:
        """End this side, and wait a moment for the peer: closing at once could discard what was sent."""
        self._socket.shutdown(socket.SHUT_WR)
        for _ in range(64):
            if not self._receive(_MOST, _LINGER):
                return

    # Any thread calls the methods from here on.

    def transmit(self, data: bytes | memoryview, *, answered: bool = False) -> int:
        """See `Outlet.transmit`."""
        try:
            if answered:
                return send_holding_gil(self._socket, data)
            return self._socket.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0
        except OSError:
            self._broken = True  # the connection's own thread gets the error, too, and ends it
            return len(data)

    def when_writable(self) -> None:
        """Have the write pump call `resume_writing` once the socket takes bytes again."""
        descriptor = self._socket.fileno()
        if descriptor >= 0:
            self._pump.add(descriptor, self)

    def resume_writing(self) -> None:
        """Send the peer what it has not had yet. Called by the write pump."""
        if self._speaker is None:
            return
        try:
            self._speaker.walk(self._chat.store, self._chat.limits)
        except Exception as error:  # noqa: BLE001 - reported; it ends this connection only
            self._report_mistake(error)
            self.cut()

    def peer_has_ended(self) -> bool:
        """See `Outlet.peer_has_ended`."""
        return self._broken or peer_has_ended(self._socket)

    def unacknowledged(self) -> int:
        """See `Outlet.unacknowledged`."""
        if self._broken:
            return 1
        try:
            return unacknowledged_bytes(self._socket)
        except (OSError, ValueError):  # ValueError: the socket is closed by now
            return 1

    def hang_up(self) -> None:
        """Read nothing more from the peer. What has come already is still handled."""
        self._shut(socket.SHUT_RD)

    def retire(self) -> None:
        """End the connection after what has come already, and tell the peer that the server goes down."""
        self._retired = True
        speaker = self._speaker
        if speaker is not None:
            speaker.hang_up()
        else:
            self.hang_up()

    def dismiss(self) -> None:
        """Tell the peer that the server goes down, without blocking, unless another thread has done so."""
        if self._speaker is not None and self._dismissed.acquire(blocking=False):
            self._speaker.dismiss()

    def cut(self) -> None:
        """End the connection at once, and send nothing more."""
        self._shut(socket.SHUT_RDWR)
        if self._speaker is not None:
            self._speaker.stop_sending()

    def _shut(self, how: int) -> None:
        try:
            self._socket.shutdown(how)
        except OSError as error:
            self._report_error(error)

    def _report_error(self, error: OSError) -> None:
        """Report an error of the socket, unless it only says that the peer has gone."""
        if error.errno not in _GONE:
            report(events.SocketFailed(host_of(self.address), str(error)))

    def _report_mistake(self, error: Exception) -> None:
        report(events.InternalError(host_of(self.address), "connection", "The connection was closed."), error)
