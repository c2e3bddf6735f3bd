"""Floor 4: slots: a limited number of transfers work at a time; a transfer that waits for a person frees its slot."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol


class SlotHolder(Protocol):
    """A transfer that has a slot or waits for one."""

    @property
    def stopped(self) -> bool:
        """True if it needs no slot any more."""


class Slots:
    """A fixed number of slots. Any thread may call any method."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._changed = threading.Condition()
        self._taken: set[SlotHolder] = set()

    def acquire(self, holder: SlotHolder, full: Callable[[], None]) -> bool:
        """Wait for a slot; False if the holder was stopped meanwhile. Call `full` if no slot is free at once."""
        if self._try(holder):
            return True
        full()
        with self._changed:
            while len(self._taken) >= self._count and not holder.stopped:
                self._changed.wait()
            if not holder.stopped:
                self._taken.add(holder)
            return not holder.stopped

    def _try(self, holder: SlotHolder) -> bool:
        with self._changed:
            free = len(self._taken) < self._count
            if free:
                self._taken.add(holder)
            return free

    def release(self, holder: SlotHolder) -> None:
        """Free the holder's slot, if it has one."""
        with self._changed:
            self._taken.discard(holder)
            self._changed.notify_all()

    @contextmanager
    def released(self, holder: SlotHolder, full: Callable[[], None]) -> Iterator[None]:
        """Free the slot for the duration of the block, and wait for one again at its end."""
        self.release(holder)
        try:
            yield
        finally:
            self.acquire(holder, full)

    def wake(self) -> None:
        """Make all that wait look again; call it after a holder was stopped."""
        with self._changed:
            self._changed.notify_all()
