"""Floor 3: a connection: one socket, one thread that reads from it, and the speaker of its protocol."""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from channels import Chat, SessionReport, nothing_held
from net import (
    PlainStream,
    Stream,
    TlsStream,
    WritePump,
    certificate_alert,
    format_address,
    host_of,
    is_loopback,
    peer_has_ended,
    reason,
    unacknowledged_bytes,
)
from reporting import events, report
from store import StoreError
from wire.errors import PeerError
from wire.frames import Closing
from wire.other_protocols import TLS_FIRST_BYTE, WrongProtocol
from wire.proxy_protocol import ProxyHeaderError

from .proxies import Proxies, read_header
from .speaker import Speaker, Speakers
from .tls import ServerTls

GREET_AFTER = 0.3  # seconds in which a program has sent something; a silent peer is taken for a person after that
_LEAST, _MOST = 4_096, 262_144  # bytes of one recv; small while a connection is quiet, so that it takes little memory
_RECORD_HEAD, _RECORD = 5, 16_384  # bytes of the head of a record of TLS, and of its content, at most (RFC 8446 §5.1)
_LINGER = 0.5  # seconds that the peer has to close its side, too
_NEEDS_TLS = PeerError("tls-required", "This server requires TLS: connect with TLS, as to tls://HOST or mqtts://HOST.")
_GONE = {errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.ETIMEDOUT, errno.EBADF, errno.EHOSTUNREACH}


class Introduction(NamedTuple):
    """How the connection of a proxy gets the address of its peer.

    `admit` is called once the connection has this address, and returns why the peer is turned away, if it is.
    """

    proxies: Proxies
    admit: Callable[[Connection], Closing | None]


class Connection:
    """One connection. Its own thread runs `_run`; the speaker, the write pump and the door call the other methods."""

    __slots__ = (
        "_broken", "_chat", "_dismissed", "_ended", "_introduction", "_pump", "_retired", "_speaker", "_speakers",
        "_stream", "_tls", "_trusted", "address", "network", "thread",
    )  # fmt: skip

    def __init__(
        self,
        sock: socket.socket,
        address: str,
        chat: Chat,
        pump: WritePump,
        speakers: Speakers,
        tls: ServerTls | None,
        ended: Callable[[Connection], None],
        introduction: Introduction | None = None,
        trusted: Callable[[Connection], None] = lambda connection: None,
    ) -> None:
        """`ended` is called by the connection's thread as the last thing it does, `trusted` for one of a server.

        `introduction` is there for the connection of a proxy. `network` is for the door.
        """
        self.address = address
        self.network = ""
        self._introduction = introduction
        self._stream: Stream = PlainStream(sock)
        self._chat = chat
        self._pump = pump
        self._speakers = speakers
        self._tls = tls
        self._ended = ended
        self._trusted = trusted
        self._broken = False
        self._retired = False
        self._dismissed = threading.Lock()  # acquired once, by the thread that tells the peer that the server goes down
        self._speaker: Speaker | None = None
        self.thread = threading.Thread(target=self._run, name=f"connection-{address}", daemon=True)

    # The connection's own thread calls the methods from here on.

    def _run(self) -> None:
        try:
            if self._introduction is not None and not self._is_introduced(self._introduction):
                return
            first = self._first_bytes()
            speak = self._speakers.choose(first or b"")
            peer = SessionReport(host_of(self.address), encrypted=self._stream.encrypted, is_server=self._is_server)
            speaker = self._speaker = speak(self._chat, self, peer)
            try:
                try:
                    if self._is_refused():
                        if first != b"":  # one that ends without a byte, such as a health check, is told nothing
                            speaker.refuse(first or b"", _NEEDS_TLS)
                    else:
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
            self._pump.remove(self._stream.socket.fileno())
            self._stream.close()
            self._speaker = None  # they refer to each other, and would stay until the next garbage collection
            self._ended(self)

    def _is_server(self) -> None:
        """The peer has shown that it is another server of the chat."""
        self._trusted(self)

    def _is_introduced(self, introduction: Introduction) -> bool:
        """Read the header of a proxy, and return True if the peer behind it may go on. Raises OSError."""
        assert isinstance(self._stream, PlainStream)
        proxies, limits = introduction.proxies, self._chat.limits
        too_many = partial(proxies.more_wait_than, limits.headers_waiting)
        try:
            with proxies.header_awaited():
                header = read_header(self._stream, limits.handshake_seconds, too_many)
        except ProxyHeaderError as error:
            if not self._retired:
                report(events.BadProxyHeader(host_of(self.address), str(error)))
            return False
        if header is None:
            return False
        if header.source is not None:
            self.address = format_address(*header.source)
        refusal = introduction.admit(self)
        if refusal is not None:
            if self._speakers.refusal is not None:
                self.transmit(self._speakers.refusal(refusal))
            self._close_writing()
        return refusal is None

    def _first_bytes(self) -> bytes | None:
        """Return the first bytes from the peer, which show its protocol; None if it sends none in the time to log in.

        A peer that is silent for a moment is sent the greeting of the port, if the port has one. If the first bytes
        are those of TLS, all of this happens once more inside of it.
        """
        greeting = self._speakers.greeting
        if greeting and not self._is_refused():
            data = self._receive_first(GREET_AFTER)
            if data is not None:
                return data
            self.transmit(greeting)
        return self._receive_first(self._chat.limits.login_seconds)

    def _receive_first(self, patience: float) -> bytes | None:
        """Return the first bytes, from inside of TLS if the peer speaks it; None after `patience` seconds."""
        stream = self._stream
        if self._tls is None or not isinstance(stream, PlainStream):
            return stream.receive(_LEAST, patience)
        first = stream.peek(1, patience)
        if first and first[0] == TLS_FIRST_BYTE:
            self._encrypt(stream, self._tls)
            inside = self._first_bytes()
            if inside and inside[0] == TLS_FIRST_BYTE:
                raise ConnectionAbortedError(errno.ECONNABORTED, "TLS within TLS")
            return inside
        return first and stream.receive(_LEAST, patience)

    def _encrypt(self, plain: PlainStream, tls: ServerTls) -> None:
        """Shake hands, when it is the turn of this address. Raises OSError."""
        limits = self._chat.limits
        patience = limits.handshake_seconds - self._await_hello(plain, limits.handshake_seconds)
        with tls.turns.turn(self.network, limits.handshakes_per_address, patience) as left:
            stream = self._stream = TlsStream(plain.socket, tls.context)
            if self._retired:  # the door may have shut the plain socket, which is of no use any more
                self.hang_up()
            stream.shake_hands(left)

    @staticmethod
    def _await_hello(plain: PlainStream, patience: float) -> float:
        """Wait until the first record of TLS is there, before OpenSSL takes memory for it. Return the seconds.

        Raises OSError; TimeoutError after `patience` seconds.
        """
        began = time.monotonic()
        size, there = _RECORD_HEAD, plain.peek(_RECORD_HEAD, patience, whole=True) or b""
        if len(there) == _RECORD_HEAD:
            size += min(int.from_bytes(there[-2:], "big"), _RECORD)
            there = plain.peek(size, max(0.001, patience - time.monotonic() + began), whole=True) or b""
        seconds = time.monotonic() - began
        if len(there) < size and seconds >= patience:
            plain.receive_waiting(size)  # what is not read would make a reset of the close
            raise TimeoutError(errno.ETIME, f"no TLS handshake within {patience:g} s")
        return seconds

    def _is_refused(self) -> bool:
        """Return True if this peer must use TLS and does not."""
        if self._tls is None or self._stream.encrypted:
            return False
        return self._speakers.tls_only or (self._tls.required and not is_loopback(host_of(self.address)))

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
        return self._stream.receive(size, patience)

    def _close_writing(self) -> None:
        """End this side, and wait a moment for the peer: closing at once could discard what was sent."""
        self._stream.end_output()
        for _ in range(64):
            if not self._receive(_MOST, _LINGER):
                return

    # Any thread calls the methods from here on.

    def transmit(self, data: bytes | memoryview, *, answered: bool = False) -> int:
        """See `Outlet.transmit`."""
        try:
            return self._stream.send(data, answered)
        except OSError:
            self._broken = True  # the connection's own thread gets the error, too, and ends it
            return len(data)

    def when_writable(self) -> None:
        """Have the write pump call `resume_writing` once the socket takes bytes again."""
        descriptor = self._stream.socket.fileno()
        if descriptor >= 0:
            self._pump.add(descriptor, self)

    def resume_writing(self) -> None:
        """Send the peer what it has not had yet. Called by the write pump."""
        speaker = self._speaker  # the connection's thread forgets it in the end
        if speaker is None:
            return
        try:
            speaker.walk(self._chat.store, self._chat.limits)
        except StoreError as error:
            descriptor = self._stream.socket.fileno()
            if descriptor >= 0 and self._pump.add_later(descriptor):
                report(events.StoreProblem(str(error), "Some readers get older messages later."))
        except Exception as error:  # noqa: BLE001 - reported; it ends this connection only
            self._report_mistake(error)
            self.cut()

    def peer_has_ended(self) -> bool:
        """See `Outlet.peer_has_ended`."""
        return self._broken or peer_has_ended(self._stream.socket)

    def is_broken(self) -> bool:
        """See `Outlet.is_broken`."""
        return self._broken

    def unacknowledged(self) -> int:
        """See `Outlet.unacknowledged`."""
        if self._broken:
            return 1
        try:
            return unacknowledged_bytes(self._stream.socket)
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
        speaker = self._speaker
        if speaker is not None and self._dismissed.acquire(blocking=False):
            speaker.dismiss()

    def cut(self) -> None:
        """End the connection at once, and send nothing more."""
        speaker = self._speaker
        self._shut(socket.SHUT_RDWR)
        if speaker is not None:
            speaker.stop_sending()

    def _shut(self, how: int) -> None:
        try:
            self._stream.shut(how)
        except OSError as error:
            self._report_error(error)

    def _report_error(self, error: OSError) -> None:
        """Report an error of the socket, unless it only says that the peer has gone."""
        if error.errno == errno.ETIMEDOUT:  # the peer's machine has not answered the keep-alive of TCP
            report(events.CutOff(host_of(self.address), "", "", "timed-out"))
        elif alert := certificate_alert(error):
            report(events.UntrustedCertificate(host_of(self.address), alert))
        elif error.errno not in _GONE:
            report(events.SocketFailed(host_of(self.address), reason(error)))

    def _report_mistake(self, error: Exception) -> None:
        report(events.InternalError(host_of(self.address), "connection", "The connection was closed."), error)
