"""The load of logins: clients that log in, a few at a time, and stay connected."""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from .dialects import Dialect
from .pool import SETUP_SECONDS, RunFailed

AT_ONCE = 4  # clients that log in at the same time


class LoginLoad:
    """Connects clients, a few at a time: connect, log in, wait for the answer, stay."""

    def __init__(self, port: int, dialect: Dialect, at_once: int, secure: ssl.SSLContext | None = None) -> None:
        self.socks: dict[int, socket.socket] = {}
        self._port = port
        self._dialect = dialect
        self._at_once = at_once
        self._secure = secure
        self._pending: dict[int, bytes] = {}  # bytes received, of the clients without a full answer

    def log_in(self, names: Iterable[str]) -> float:
        """Log in further clients; return the seconds that this took. Raises RunFailed."""
        started = time.perf_counter()
        left = list(names)[::-1]
        with select.epoll() as epoll:
            while left or self._pending:
                while left and len(self._pending) < self._at_once:
                    epoll.register(self._connect(left.pop()), select.EPOLLIN)
                events = epoll.poll(SETUP_SECONDS)
                if not events:
                    raise RunFailed(
                        f"{len(self.socks)} clients are connected, and the server does not answer the next one"
                    )
                for fd, _ in events:
                    if self._answered(fd):
                        epoll.unregister(fd)
        return time.perf_counter() - started

    def _connect(self, name: str) -> int:
        sock = socket.create_connection(("127.0.0.1", self._port), SETUP_SECONDS)
        if self._secure is not None:
            sock = self._secure.wrap_socket(sock, server_hostname="127.0.0.1")
        self.socks[sock.fileno()] = sock
        self._pending[sock.fileno()] = b""
        sock.sendall(self._dialect.login(name))
        return sock.fileno()

    def _answered(self, fd: int) -> bool:
        data = self.socks[fd].recv(65_536)
        if not data:
            raise RunFailed(f"client {len(self.socks)} was refused: {self._pending[fd]!r}")
        self._pending[fd] += data
        if self._dialect.welcomed not in self._pending[fd]:
            return False
        del self._pending[fd]
        return True


def names(letter: str, count: int) -> list[str]:
    """Return names of equal length, a letter and a number."""
    return [f"{letter}{number:05d}" for number in range(count)]


@contextmanager
def logins(
    port: int, dialect: Dialect, at_once: int = AT_ONCE, *, secure: ssl.SSLContext | None = None
) -> Iterator[LoginLoad]:
    """Yield a LoginLoad, in TLS with `secure`; disconnect its clients afterwards."""
    clients = LoginLoad(port, dialect, at_once, secure)
    try:
        yield clients
    finally:
        for sock in clients.socks.values():
            sock.close()
