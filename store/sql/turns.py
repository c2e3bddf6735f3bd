"""Floor 1: a few things that threads use in turn, such as the connections that read."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, TypeVar

_T = TypeVar("_T")


class _Turn(Generic[_T]):
    """A waiting thread, and the thing that it is given."""

    __slots__ = ("come", "given")

    def __init__(self) -> None:
        self.given: list[_T] = []
        self.come = threading.Lock()
        self.come.acquire()


class Turns(Generic[_T]):
    """A few things. Threads that find none free wait for as long as it takes, first come, first served."""

    def __init__(self, things: Sequence[_T]) -> None:
        self._lock = threading.Lock()
        self._free = list(things)
        self._waiting: deque[_Turn[_T]] = deque()

    @contextmanager
    def one(self) -> Iterator[_T]:
        """Return a block with a thing that no other thread uses meanwhile."""
        thing = self._take()
        try:
            yield thing
        finally:
            self._give(thing)

    def _take(self) -> _T:
        with self._lock:
            if self._free:
                return self._free.pop()
            turn: _Turn[_T] = _Turn()
            self._waiting.append(turn)
        turn.come.acquire()
        return turn.given[0]

    def _give(self, thing: _T) -> None:
        """Hand the thing to the thread that has waited longest: a newcomer cannot overtake it."""
        with self._lock:
            if not self._waiting:
                self._free.append(thing)
                return
            turn = self._waiting.popleft()
        turn.given.append(thing)
        turn.come.release()

    def each_idle(self, call: Callable[[_T], None]) -> None:
        """Call a function with each thing that no thread uses now."""
        with self._lock:
            idle, self._free = self._free, []
        try:
            for thing in idle:
                call(thing)
        finally:
            for thing in idle:
                self._give(thing)

    def close(self) -> list[_T]:
        """Return the things that are free. No thread may take one any more."""
        with self._lock:
            free, self._free = self._free, []
        return free
