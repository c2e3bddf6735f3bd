"""How tests wait."""

from __future__ import annotations

import time
from collections.abc import Callable

DEADLINE = 60.0  # seconds without a sign of life, on the slowest machine; no test waits that long for a success


def eventually(fits: Callable[[], bool], what: Callable[[], str]) -> None:
    """Look until it fits: for what another process does, of which no event reaches us."""
    deadline = time.monotonic() + DEADLINE
    while not fits():
        assert time.monotonic() < deadline, what()
        time.sleep(0.005)
