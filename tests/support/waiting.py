"""Tests wait for an event, with one deadline that counts from the last sign of life.

A test blocks on what happens: bytes of a socket, a line of a process, an event, a queue, the end of a thread.
Each of these takes DEADLINE as its limit, anew for each thing that comes, so a slow machine only makes tests slower.
`eventually` is for the state of something that tells nobody when it changes: an attribute of the server, /proc, a file.
It is the only place that looks again; tests/project/test_floors.py checks that.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Sequence

DEADLINE = 60.0  # seconds without a sign of life, on the slowest machine; no test waits that long for a success
_LOOK = 0.005  # seconds between two looks at what tells nobody


def eventually(fits: Callable[[], bool], what: Callable[[], str]) -> None:
    """Return when `fits` is true. Raise AssertionError when DEADLINE has passed since `what()` changed."""
    end, last = time.monotonic() + DEADLINE, ""
    while not fits():
        if time.monotonic() > end:
            assert what() != last, last
            end, last = time.monotonic() + DEADLINE, what()
        time.sleep(_LOOK)


def ended(threads: Sequence[threading.Thread], progress: Callable[[], object]) -> None:
    """Return when the threads have ended. The deadline counts from the last change of `progress()`."""
    eventually(
        lambda: not any([thread.is_alive() for thread in threads]),
        lambda: f"{[thread.name for thread in threads if thread.is_alive()]} do not end: {progress()}",
    )


def random_moment() -> None:
    """Let the other threads and processes run for a random while, before something is done to them."""
    for _ in range(random.randrange(1_000)):
        os.sched_yield()
