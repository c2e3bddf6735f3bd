"""Floor 0: the time as frames and stores have it: milliseconds since 1970."""

from __future__ import annotations

import time


def now() -> int:
    """The time now."""
    return time.time_ns() // 1_000_000
