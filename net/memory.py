"""Floor 0: memory that the process has freed: how much it keeps for itself, and how the system gets the rest back."""

from __future__ import annotations

import ctypes
import gc
import sys

# glibc keeps freed memory, in as many pools as there were busy threads; other C libraries lack these functions.
_libc = ctypes.CDLL(None)
_trim = getattr(_libc, "malloc_trim", None)  # malloc_trim(3)
_mallopt = getattr(_libc, "mallopt", None)  # mallopt(3)
_clear_type_cache = getattr(sys, "_clear_type_cache", lambda: None)  # it keeps names that were looked up in types
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # malloc.h

_POOLS = 2  # pools of memory; the interpreter lock lets one thread allocate at a time, a commit runs beside it
_KEPT = 1 << 20  # freed bytes at the end of a pool above which it shrinks; more than one recv and one send take
# Bytes from which a piece of memory goes back when it is freed. Without these numbers glibc raises both, up to the size
# of the largest piece that was freed: a password's hash takes 19 MiB, and the server would keep 38.
_PIECE = 4 << 20


def limit_free_memory() -> None:
    """Limit the freed memory that the process keeps. Called once, before the process has threads."""
    if _mallopt is not None:
        for setting, value in ((_ARENA_MAX, _POOLS), (_MMAP_THRESHOLD, _PIECE), (_TRIM_THRESHOLD, _KEPT)):
            _mallopt(setting, value)


def release_free_memory(*, collect: bool) -> None:
    """Give the freed memory of the process back to the system. Takes some milliseconds; other threads run meanwhile.

    `collect`: collect garbage first, which also frees what Python keeps for further objects: a single one holds a whole
    mebibyte. No other thread runs meanwhile, for about a millisecond for each 10,000 objects that came after
    `gc.freeze`.
    """
    if collect:
        gc.collect()
        _clear_type_cache()
    if _trim is not None:
        _trim(0)
