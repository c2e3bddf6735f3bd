"""Floor 0: a stream: a TCP connection that one thread reads while any thread sends without blocking, plain or in TLS.

`PlainStream` is the socket itself. `TlsStream` (tls/stream.py) has the same methods, so its users have one way of
reading and sending for both.
"""

from __future__ import annotations

import socket
from typing import Protocol

from .options import set_receive_timeout
from .send import send_holding_gil


class Stream(Protocol):
    """One connection. Its owner's thread alone receives; any thread calls the other methods."""

    encrypted: bool
    socket: socket.socket  # for its descriptor and options; nobody else reads it, sends by it or shuts it down

    @property
    def pending(self) -> bool:
        """True if bytes can be received although the socket has none."""

    def receive(self, size: int, patience: float | None) -> bytes | None:
        """Return the next bytes, at most `size`; empty at the end, None after `patience` seconds without any.

        With None for `patience`, wait for ever. Raises OSError.
        """

    def receive_waiting(self, size: int) -> bytes | None:
        """Return at most `size` bytes that have come already; empty at the end, None if there are none."""

    def send(self, data: bytes | memoryview, answered: bool = False) -> int:
        """Send without blocking; return how many bytes were taken. The rest must be what is sent next. Raises OSError.

        `answered`: the peer answers these bytes at once.
        """

    def end_output(self) -> None:
        """Send nothing more, and tell the peer so. `receive` goes on. Raises OSError."""

    def shut(self, how: int) -> None:
        """Shut the connection down as `socket.shutdown` does. Raises OSError."""

    def close(self) -> None:
        """Close the socket."""


class PlainStream:
    """A Stream without encryption, over a socket that blocks."""

    __slots__ = ("_patience", "socket")

    encrypted = False
    pending = False

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self._patience: float | None = None

    def receive(self, size: int, patience: float | None) -> bytes | None:
        """See `Stream.receive`."""
        return self._receive(size, patience, 0)

    def peek(self, size: int, patience: float | None, *, whole: bool = False) -> bytes | None:
        """Return what the next `receive` returns, and leave it there.

        `whole`: wait until there are `size` bytes. They are fewer only at the end, or after `patience` seconds.
        """
        return self._receive(size, patience, socket.MSG_PEEK | (socket.MSG_WAITALL if whole else 0))

    def _receive(self, size: int, patience: float | None, flags: int) -> bytes | None:
        if patience != self._patience:
            if not flags & socket.MSG_WAITALL:
                try:
                    return self.socket.recv(size, flags | socket.MSG_DONTWAIT)
                except BlockingIOError:
                    pass  # nothing has come, so it is to wait
            self._patience = patience
            set_receive_timeout(self.socket, patience)
        try:
            return self.socket.recv(size, flags)
        except BlockingIOError:
            return None

    def receive_waiting(self, size: int) -> bytes | None:
        """See `Stream.receive_waiting`."""
        try:
            return self.socket.recv(size, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None

    def send(self, data: bytes | memoryview, answered: bool = False) -> int:
        """See `Stream.send`."""
        try:
            if answered:
                return send_holding_gil(self.socket, data)
            return self.socket.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0

    def end_output(self) -> None:
        """See `Stream.end_output`."""
        self.socket.shutdown(socket.SHUT_WR)

    def shut(self, how: int) -> None:
        """See `Stream.shut`."""
        self.socket.shutdown(how)

    def close(self) -> None:
        """See `Stream.close`."""
        self.socket.close()
