"""Many clients that come and stay: how fast they are let in, and what they weigh once they are idle."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

from .dialects import Dialect
from .pool import SETUP_SECONDS, RunFailed

WORKERS = 4  # clients on their way in at the same time


class LoginLoad:
    """Lets clients in, a few at a time: connect, log in, wait for the answer, stay."""

    def __init__(self, port: int, dialect: Dialect) -> None:
        self.socks: dict[int, socket.socket] = {}
        self._port = port
        self._dialect = dialect
        self._waiting: dict[int, bytes] = {}  # those that have no answer yet, with what they have got of it

    def log_in(self, count: int) -> float:
        """Let in so many more; gives the seconds that it took."""
        started = time.perf_counter()
        left = count
        with select.epoll() as epoll:
            while left or self._waiting:
                while left and len(self._waiting) < WORKERS:
                    epoll.register(self._connect(), select.EPOLLIN)
                    left -= 1
                events = epoll.poll(SETUP_SECONDS)
                if not events:
                    raise RunFailed(f"{len(self.socks)} clients are in, and the next one is not answered")
                for fd, _ in events:
                    if self._answered(fd):
                        epoll.unregister(fd)
        return time.perf_counter() - started

    def _connect(self) -> int:
        sock = socket.create_connection(("127.0.0.1", self._port), SETUP_SECONDS)
        self.socks[sock.fileno()] = sock
        self._waiting[sock.fileno()] = b""
        sock.sendall(self._dialect.login(f"u{len(self.socks):05d}"))
        return sock.fileno()

    def _answered(self, fd: int) -> bool:
        data = self.socks[fd].recv(65_536)
        if not data:
            raise RunFailed(f"client {len(self.socks)} was turned away: {self._waiting[fd]!r}")
        self._waiting[fd] += data
        if self._dialect.welcomed not in self._waiting[fd]:
            return False
        del self._waiting[fd]
        return True


@contextmanager
def logins(port: int, dialect: Dialect) -> Iterator[LoginLoad]:
    """A clients that leaves at the end."""
    clients = LoginLoad(port, dialect)
    try:
        yield clients
    finally:
        for sock in clients.socks.values():
            sock.close()
