"""Floor 2: a pace: how many posts a second one connection may make; what is above it waits, nothing is lost."""

from __future__ import annotations

import threading
import time


class Pace:
    """A bucket of a second's worth of posts. Used by the connection's own thread; `stop` ends its wait."""

    __slots__ = ("_at", "_left", "_rate", "_stopped")

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._left = float(rate)
        self._at = time.monotonic()
        self._stopped = threading.Event()

    def spent(self) -> bool:
        """Whether the next post has to wait."""
        return self._left + (time.monotonic() - self._at) * self._rate < 1

    def rested(self) -> bool:
        """Whether as many may go at once as ever."""
        return self._left + (time.monotonic() - self._at) * self._rate >= self._rate

    def take(self, wanted: int) -> int:
        """How many of `wanted` may go now, at least one; waits until one may."""
        now = time.monotonic()
        self._left = min(float(self._rate), self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            self._stopped.wait((1 - self._left) / self._rate)
            now = time.monotonic()
            self._left, self._at = self._left + (now - self._at) * self._rate, now
        count = max(1, min(wanted, int(self._left)))
        self._left -= count
        return count

    def stop(self) -> None:
        """Wait no more: the server goes down."""
        self._rate = 1 << 30
        self._stopped.set()
