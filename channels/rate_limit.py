"""Floor 2: a rate limit: how many posts a second one connection may make. Posts above it wait; none is lost."""

from __future__ import annotations

import threading
import time


class RateLimit:
    """A token bucket that holds the posts of one second. The connection's own thread calls all methods but `stop`."""

    __slots__ = ("_at", "_left", "_rate", "_stopped")

    def __init__(self, rate: int) -> None:
        """`rate` is in posts a second."""
        self._rate = rate
        self._left = float(rate)
        self._at = time.monotonic()
        self._stopped = threading.Event()

    @property
    def empty(self) -> bool:
        """True if the next post has to wait."""
        return self._left + (time.monotonic() - self._at) * self._rate < 1

    @property
    def full(self) -> bool:
        """True if a whole second's worth of posts may go at once."""
        return self._left + (time.monotonic() - self._at) * self._rate >= self._rate

    def take(self, wanted: int) -> int:
        """Return how many of `wanted` posts may go now, at least one; wait until one may."""
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
        """End the wait and the limit: the connection ends. Called by any thread."""
        self._rate = 1 << 30
        self._stopped.set()
