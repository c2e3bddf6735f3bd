"""How often a test repeats what it does: a few times, and far more often in `make campaign`, which sets variables."""

from __future__ import annotations

import os


def times(variable: str, few: int) -> int:
    """Return the number in an environment variable, `few` if it is not set."""
    return int(os.environ.get(variable, few))
