"""Floor 1: the connections that only read: a few of them, which threads use in turn."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import Connection


class _Turn:
    """A waiting thread, and the connection that it is given."""

    __slots__ = ("come", "connection")

    def __init__(self) -> None:
        self.connection: Connection | None = None
        self.come = threading.Lock()
        self.come.acquire()


class Readers:
    """A few open connections. Threads that find none free wait for as long as it takes, first come, first served."""

    def __init__(self, connections: Sequence[Connection]) -> None:
        self._lock = threading.Lock()
        self._free = list(connections)
        self._waiting: deque[_Turn] = deque()

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Return a block with a connection that no other thread uses meanwhile."""
        connection = self._take()
        try:
            yield connection
        finally:
            self._give(connection)

    def _take(self) -> Connection:
        with self._lock:
            if self._free:
                return self._free.pop()
            turn = _Turn()
            self._waiting.append(turn)
        turn.come.acquire()
        assert turn.connection is not None
        return turn.connection

    def _give(self, connection: Connection) -> None:
        """Hand the connection to the thread that has waited longest: a newcomer cannot overtake it."""
        with self._lock:
            if not self._waiting:
                self._free.append(connection)
                return
            turn = self._waiting.popleft()
        turn.connection = connection
        turn.come.release()

    def close(self) -> None:
        """Close the connections. No thread may read any more."""
        with self._lock:
            free, self._free = self._free, []
        for connection in free:
            connection.close()
