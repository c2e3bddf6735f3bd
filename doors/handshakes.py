"""Floor 3: the turns of TLS handshakes: an address has a few at a time, since each takes memory until it is done."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_HURRIED = 2.0  # seconds that a handshake may take while an address uses half of its turns


class _Line:
    """The connections of one address that shake hands, or wait for that."""

    __slots__ = ("free", "size")

    def __init__(self, most: int) -> None:
        self.free = threading.Semaphore(most)
        self.size = 0


class HandshakeTurns:
    """Any thread may take a turn. Of other addresses, nobody waits for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: dict[str, _Line] = {}

    def __len__(self) -> int:
        """Return how many addresses have a handshake."""
        return len(self._lines)

    @contextmanager
    def turn(self, network: str, most: int, patience: float) -> Iterator[float]:
        """Return a block in which at most `most` connections of a network are at a time; 0 for any number.

        Its value is how many seconds the handshake may take: what is left of `patience`, but less while the network has
        many handshakes. Raises TimeoutError if the turn does not come until then.
        """
        if not most:
            yield patience
            return
        until = time.monotonic() + patience
        with self._lock:
            line = self._lines.get(network)
            if line is None:
                line = self._lines[network] = _Line(most)
            line.size += 1
        try:
            if not line.free.acquire(timeout=patience):
                raise TimeoutError(errno.ETIME, f"no turn for a TLS handshake within {patience:g} s")
            try:
                left = max(0.0, until - time.monotonic())
                yield min(left, _HURRIED) if line.size > most // 2 else left
            finally:
                line.free.release()
        finally:
            with self._lock:
                line.size -= 1
                if not line.size:
                    del self._lines[network]
