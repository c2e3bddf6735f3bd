"""Floor 0: a stream in TLS, of which one thread receives while any thread sends."""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import ssl
import threading
import time

_RECORD = 16_384  # bytes of plain text in one TLS record, at most (RFC 8446 §5.1)


class TlsStream:
    """A Stream (net/stream.py) in TLS.

    OpenSSL reads and writes the socket itself, so encrypted bytes wait nowhere but in the kernel, and in OpenSSL for a
    record that the socket has taken in part: `unacknowledged_bytes` is right for what `send` has taken. The socket does
    not block. OpenSSL allows one call at a time, hence the lock; no call under the lock waits for the peer.
    """

    __slots__ = ("_cut", "_ended", "_lock", "_poll", "_tls", "socket")

    encrypted = True

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, server_name: str | None = None) -> None:
        """Take over the connected socket: `sock` itself is of no use from now on. `shake_hands` must follow.

        With a `server_name` this end is the client, which verifies that name; without one it is the server. Raises
        OSError.
        """
        sock.setblocking(False)
        self._tls = context.wrap_socket(
            sock,
            server_side=server_name is None,
            server_hostname=server_name,
            do_handshake_on_connect=False,
            suppress_ragged_eofs=False,
        )
        self.socket: socket.socket = self._tls
        self._lock = threading.Lock()  # a leaf; taken below a reader's
        self._ended = False  # this end sends nothing more
        self._cut = False  # this end has shut the input
        self._poll = select.poll()
        self._poll.register(self.socket, select.POLLIN)

    @property
    def pending(self) -> bool:
        """See `Stream.pending`."""
        return bool(self._tls.pending())

    def shake_hands(self, patience: float) -> None:
        """Shake hands, within `patience` seconds in all. Raises OSError; TimeoutError if the peer takes longer."""
        until = time.monotonic() + patience
        while True:
            try:
                self._tls.do_handshake()
                return
            except ssl.SSLWantReadError:
                wanted = select.POLLIN
            except ssl.SSLWantWriteError:
                wanted = select.POLLOUT
            except ssl.SSLEOFError as error:
                raise ConnectionResetError(errno.ECONNRESET, "the connection ended within the handshake") from error
            self._poll.modify(self.socket, wanted)
            ready = self._wait(until - time.monotonic())
            self._poll.modify(self.socket, select.POLLIN)
            if not ready:
                raise TimeoutError(errno.ETIME, f"no TLS handshake within {patience:.3g} s")

    def _wait(self, seconds: float | None) -> bool:
        """Return True once the socket is ready, or False after so many seconds."""
        return bool(self._poll.poll(None if seconds is None else max(0.0, seconds) * 1_000))

    def receive(self, size: int, patience: float | None) -> bytes | None:
        """See `Stream.receive`. The end of the connection without the end of TLS raises ConnectionResetError."""
        until = None if patience is None else time.monotonic() + patience
        while True:
            ready = self.pending or self._wait(None if until is None else until - time.monotonic())
            data = self.receive_waiting(size)  # also in the end: fewer bytes than SO_RCVLOWAT may have come
            if data is not None or not ready:
                return data

    def receive_waiting(self, size: int) -> bytes | None:
        """See `Stream.receive_waiting`."""
        pieces: list[bytes] = []
        room = size
        with self._lock:
            if self._cut and not self.pending and self._is_at_end():
                return b""
            try:
                while room > 0:
                    piece = self._tls.recv(min(room, _RECORD))
                    pieces.append(piece)
                    room -= len(piece)
                    if len(piece) < _RECORD or self._cut:
                        break
            except ssl.SSLWantReadError:
                if not pieces:
                    return None
            except ssl.SSLEOFError as error:
                if not pieces and not self._ended and not self._cut:
                    raise ConnectionResetError(errno.ECONNRESET, "the connection ended within TLS") from error
        return b"".join(pieces)

    def _is_at_end(self) -> bool:
        """Return True if the input ends here. OpenSSL must not see that: it would send nothing more either."""
        try:
            return not socket.socket.recv(self.socket, 1, socket.MSG_PEEK)
        except BlockingIOError:
            return False

    def send(self, data: bytes | memoryview, answered: bool = False) -> int:
        """See `Stream.send`."""
        size, taken = len(data), 0
        whole = data if size <= _RECORD else memoryview(data)
        with self._lock:
            if self._ended:
                raise BrokenPipeError(errno.EPIPE, "TLS has ended")
            try:
                while taken < size:  # a record at a time: of more, OpenSSL would not say how much the socket has taken
                    taken += self._tls.send(whole[taken : taken + _RECORD] if taken or size > _RECORD else whole)
            except ssl.SSLWantWriteError:
                pass
        return taken

    def end_output(self) -> None:
        """See `Stream.end_output`. Sends `close_notify`, if the socket takes it."""
        with self._lock:
            ended, self._ended = self._ended, True
            if not ended and self.socket.fileno() >= 0:
                with contextlib.suppress(ssl.SSLError):  # it is not sent, or the peer's has not come yet
                    self._tls.unwrap()
            socket.socket.shutdown(self.socket, socket.SHUT_WR)

    def shut(self, how: int) -> None:
        """See `Stream.shut`."""
        with self._lock:
            self._cut = True
            socket.socket.shutdown(self.socket, how)  # SSLSocket.shutdown would go on without TLS

    def close(self) -> None:
        """See `Stream.close`."""
        with self._lock:
            self.socket.close()
