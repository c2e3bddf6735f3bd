"""Floor 4: places: so many transfers are at work at a time, and who waits for somebody else gives their place up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol


class Worker(Protocol):
    """Who has a place, or waits for one."""

    @property
    def stopped(self) -> bool:
        """Whether they need none any more."""


class Places:
    """All methods may be called from any thread."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._changed = threading.Condition()
        self._taken: set[Worker] = set()

    def take(self, worker: Worker, full: Callable[[], None]) -> bool:
        """Wait for a place; False if the worker was stopped meanwhile. `full` is called if there is none at once."""
        if self._try(worker):
            return True
        full()
        with self._changed:
            while len(self._taken) >= self._count and not worker.stopped:
                self._changed.wait()
            if not worker.stopped:
                self._taken.add(worker)
            return not worker.stopped

    def _try(self, worker: Worker) -> bool:
        with self._changed:
            free = len(self._taken) < self._count
            if free:
                self._taken.add(worker)
            return free

    def leave(self, worker: Worker) -> None:
        """Give a place up; no harm if there is none to give."""
        with self._changed:
            self._taken.discard(worker)
            self._changed.notify_all()

    @contextmanager
    def aside(self, worker: Worker, full: Callable[[], None]) -> Iterator[None]:
        """Let others have the place meanwhile."""
        self.leave(worker)
        try:
            yield
        finally:
            self.take(worker, full)

    def stir(self) -> None:
        """A worker was stopped."""
        with self._changed:
            self._changed.notify_all()
