"""Freed memory goes back to the system. Each test runs in a process of its own, whose C library it configures."""

from __future__ import annotations

import gc
import multiprocessing
import os
import platform
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from net import limit_free_memory, release_free_memory
from tests.support.processes import memory

_SPAWN = multiprocessing.get_context("spawn")
_LARGE = 19 << 20  # bytes that the hash of a password takes
_LEFT = 2 << 20  # bytes that may be left
_POOL_SIZE = 64 << 20  # to which glibc aligns the pools of threads
pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have nothing to set")


def _in_thread(work: Callable[[], object]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def _fill_large() -> None:
    for _ in range(3):
        assert b"x" * _LARGE


def _grown(fill: Callable[[], None], after: Callable[[], None] = lambda: None) -> int:
    """Return how many bytes are left of the memory that a thread has used and freed."""
    limit_free_memory()
    _in_thread(lambda: None)
    before = memory(os.getpid())
    _in_thread(fill)
    after()
    return memory(os.getpid()) - before


def _grown_large() -> int:
    return _grown(_fill_large)


def _grown_garbage() -> int:
    """Garbage in circles, of which each mebibyte of Python's objects has some."""

    def fill() -> None:
        for _ in range(50_000):
            circle: list[Any] = [b"x" * 200]
            circle.append(circle)

    gc.disable()
    return _grown(fill, lambda: release_free_memory(collect=True))


def _grown_pools() -> int:
    """Return how many pools of glibc there are, beside the main one, when some threads have memory at the same time."""
    limit_free_memory()
    together = threading.Barrier(8)

    def work() -> None:
        piece = b"x" * 10_000
        together.wait()
        assert piece

    threads = [threading.Thread(target=work) for _ in range(together.parties)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    starts = [line.split("-")[0] for line in Path("/proc/self/maps").read_text().splitlines() if " rw-p " in line]
    return sum(1 for start in starts if int(start, 16) % _POOL_SIZE == 0)


@pytest.mark.parametrize("measure", [_grown_large, _grown_garbage], ids=lambda each: each.__name__)
def test_memory_that_was_freed_goes_back(measure: Callable[[], int]) -> None:
    with _SPAWN.Pool(1) as pool:
        assert pool.apply(measure) < _LEFT


def test_a_few_pools_serve_all_threads() -> None:
    with _SPAWN.Pool(1) as pool:
        assert pool.apply(_grown_pools) <= 1
