"""Floor 2: a meter: token buckets of one limit for many users or addresses, one number for each."""

from __future__ import annotations

import time

from ..locks import leaf

_FIRST_SWEEP = 64  # buckets before the meter looks for full ones for the first time
_ROUNDING = 1e-9  # seconds by which a sum of times may be wrong


class Meter:
    """Token buckets by key. Any thread may call it.

    It keeps for each key the time at which the bucket is full again (the generic cell rate algorithm of ITU-T I.371).
    A bucket that is full is not kept. Above `most` keys, the oldest ones are forgotten, as if their buckets were full.
    """

    __slots__ = ("_full_at", "_lock", "_most", "_step", "_sweep_at", "_tolerance")

    def __init__(self, rate: float, burst: int, most: int) -> None:
        """`rate` is in tokens a second; a full bucket has `burst` tokens."""
        self._step = 1 / rate  # seconds in which a bucket gets a token
        self._tolerance = burst / rate  # seconds in which an empty bucket is full again
        self._most = most
        self._lock = leaf()
        self._full_at: dict[str, float] = {}
        self._sweep_at = min(_FIRST_SWEEP, most + 1)

    def __len__(self) -> int:
        """Return for how many keys something is kept."""
        return len(self._full_at)

    def take(self, key: str, count: int = 1) -> float:
        """Take so many tokens and return 0.0, or take none and return the seconds until they are there.

        A full bucket is enough for any number of them.
        """
        now = time.monotonic()
        with self._lock:
            full_at = max(now, self._full_at.get(key, 0.0)) + min(count * self._step, self._tolerance)
            wait = full_at - now - self._tolerance
            if wait > _ROUNDING:
                return wait
            self._set_locked(key, full_at, now)
            return 0.0

    def spend(self, key: str, count: int) -> float:
        """Take so many tokens, also those that are not there yet. Return the seconds until all of them are there."""
        now = time.monotonic()
        with self._lock:
            full_at = max(now, self._full_at.get(key, 0.0)) + count * self._step
            self._set_locked(key, full_at, now)
        return max(0.0, full_at - now - self._tolerance)

    def give_back(self, key: str, count: int = 1) -> None:
        """Return tokens that were taken."""
        with self._lock:
            if key in self._full_at:
                self._full_at[key] -= count * self._step

    def there(self, key: str) -> float:
        """Return how many tokens the bucket has; below 0 if threads wait for some."""
        return (self._tolerance - max(0.0, self._full_at.get(key, 0.0) - time.monotonic())) / self._step

    def full(self, key: str) -> bool:
        """Return True if a whole burst may go."""
        return self._full_at.get(key, 0.0) <= time.monotonic()

    def reserve(self, key: str, wanted: int) -> tuple[int, float]:
        """Take the tokens that are there, at most `wanted`, or else the next one that will be there.

        Return how many they are, and the seconds until the last one is there.
        """
        now = time.monotonic()
        step, latest = self._step, now + self._tolerance + _ROUNDING
        with self._lock:
            start = max(now, self._full_at.get(key, 0.0))
            full_at = start + wanted * step
            if full_at <= latest:  # nearly every post comes by here
                self._set_locked(key, full_at, now)
                return wanted, 0.0
            count = min(wanted, max(1, int((latest - start) / step)))
            full_at = start + count * step
            self._set_locked(key, full_at, now)
            return count, max(0.0, full_at - latest)

    def _set_locked(self, key: str, full_at: float, now: float) -> None:
        buckets = self._full_at
        buckets[key] = full_at
        if len(buckets) >= self._sweep_at:
            self._sweep_locked(now)

    def _sweep_locked(self, now: float) -> None:
        """Forget full buckets, and the oldest eighth if there are still too many. Costs a constant time per new key."""
        left = {key: at for key, at in self._full_at.items() if at > now}
        if len(left) > self._most * 7 // 8:
            kept = list(left.items())[-max(1, self._most * 7 // 8) :]
            left = dict(kept)
        self._full_at = left
        self._sweep_at = min(max(_FIRST_SWEEP, 2 * len(left)), self._most + 1)
