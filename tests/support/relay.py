"""The common part of proxies: they accept connections, open one to the server for each, and pass both ways on."""

from __future__ import annotations

import contextlib
import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Self

from tests.support.waiting import DEADLINE

Way = Callable[[], None]


class Relay(ABC):
    """Listens at `port` of 127.0.0.1. A context manager. A subclass says what happens on a connection."""

    def __init__(self, server: tuple[str, int]) -> None:
        """Called when everything that the methods below use is there: it accepts at once."""
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, name="relay", daemon=True)]
        self._threads[0].start()

    def _admits(self) -> bool:
        """Return False to refuse the next connection. It may wait."""
        return True

    @abstractmethod
    def _open(self, client: socket.socket, server: socket.socket) -> Sequence[Way]:
        """Return a function for each way, which a thread of its own runs."""

    @abstractmethod
    def cut(self) -> None:
        """End all connections."""

    @abstractmethod
    def _release(self) -> None:
        """Let all go on that waits: it is over."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._release()
        self.cut()
        for thread in self._threads:
            thread.join(DEADLINE)

    def _accept(self) -> None:
        while True:
            try:
                client = self._listener.accept()[0]
            except OSError:
                return
            try:
                if not self._admits():
                    raise ConnectionRefusedError
                server = socket.create_connection(self._server, DEADLINE)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            for way in self._open(client, server):
                self._threads.append(threading.Thread(target=way, name="relay", daemon=True))
                self._threads[-1].start()


def end(*socks: socket.socket) -> None:
    """End connections both ways, whatever state they are in."""
    for sock in socks:
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
