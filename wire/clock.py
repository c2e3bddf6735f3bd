"""Floor 0: the time of frames and stores, in milliseconds since 1970, UTC."""

from __future__ import annotations

import time


def now() -> int:
    """Return the current time."""
    return time.time_ns() // 1_000_000
