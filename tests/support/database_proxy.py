"""A proxy between a server and its database: it passes bytes, until a test has it stop, cut, or lose an answer."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Sequence
from functools import partial

from tests.support.relay import Relay, Way, end

_CHUNK = 1 << 16
COMMIT = b"COMMIT"


class _Line:
    """One connection through the proxy."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.muted = False  # the next answer is lost, and the connection with it
        self.ended = 0  # ways that have come to their end

    def cut(self) -> None:
        """End it, both ways."""
        end(self.client, self.server)


class DatabaseProxy(Relay):
    """Passes bytes to the database at a port of this machine."""

    def __init__(self, port: int) -> None:
        self._lock = threading.Lock()
        self._lines: list[_Line] = []
        self._moving = threading.Event()
        self._moving.set()
        self._lost: bytes | None = None
        self._stopped: bytes | None = None
        self.refuse_after_loss = False  # a lost answer is followed by a time without any connection
        self.accepts = threading.Event()
        self.accepts.set()
        self.done = threading.Event()  # what `lose_answer` or `stop_before` waits for has happened
        super().__init__(("127.0.0.1", port))

    def stall(self) -> None:
        """Pass nothing any more, and end no connection."""
        self._moving.clear()

    def go_on(self) -> None:
        """Pass everything again; end the connections from before, of which both ends know nothing."""
        self.cut()
        self._moving.set()

    def resume(self) -> None:
        """Pass everything again, also what was held up, as a network does that was slow."""
        self._moving.set()

    def cut(self) -> None:
        """End all connections."""
        with self._lock:
            lines, self._lines = self._lines, []
        for line in lines:
            line.cut()

    def lose_answer(self, request: bytes = COMMIT) -> None:
        """Pass the next request that has these bytes, and cut its connection when the answer comes."""
        self.done.clear()
        self._lost = request

    def stop_before(self, request: bytes = COMMIT) -> None:
        """Cut the connection of the next request that has these bytes, before the request has passed."""
        self.done.clear()
        self._stopped = request

    def _release(self) -> None:
        self._moving.set()

    def _admits(self) -> bool:
        return self.accepts.is_set()

    def _open(self, client: socket.socket, server: socket.socket) -> Sequence[Way]:
        for sock in (client, server):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line = _Line(client, server)
        with self._lock:
            self._lines.append(line)
        return [partial(self._pass, line, way) for way in (self._up, self._down)]

    def _pass(self, line: _Line, way: Callable[[_Line], None]) -> None:
        with contextlib.suppress(OSError):
            way(line)
        line.cut()
        with self._lock:
            line.ended += 1
            last = line.ended == 2
        if last:
            line.client.close()
            line.server.close()

    def _up(self, line: _Line) -> None:
        while data := line.client.recv(_CHUNK):
            self._moving.wait()
            if self._stopped is not None and self._stopped in data:
                self._stopped = None
                self.done.set()
                return
            if self._lost is not None and self._lost in data:
                self._lost = None
                line.muted = True
            line.server.sendall(data)

    def _down(self, line: _Line) -> None:
        while data := line.server.recv(_CHUNK):
            self._moving.wait()
            if line.muted:
                if self.refuse_after_loss:
                    self.accepts.clear()
                self.done.set()
                return
            line.client.sendall(data)
