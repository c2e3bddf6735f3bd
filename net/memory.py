"""Floor 0: memory that the process has freed, given back to the system."""

from __future__ import annotations

import ctypes

# malloc_trim(3). glibc keeps freed memory that lies between used memory; other C libraries lack the function.
_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)


def release_free_memory() -> None:
    """Give the freed memory of the process back to the system. Takes some milliseconds; other threads run meanwhile."""
    if _trim is not None:
        _trim(0)
