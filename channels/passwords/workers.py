"""Floor 2: the workers: a few threads that have passwords hashed, for all addresses in turn."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from wire.errors import Refused

from ..locks import leaf
from .hash_process import HashProcess

_REST_AFTER = 60.0  # seconds without work after which a worker ends its process

T = TypeVar("T")
_Job = tuple[Future[Any], Callable[[HashProcess], Any]]


class PasswordWorkers:
    """Threads `password-…`, one less than there are cores and at least one. Any thread may call every method.

    They start with the first work and end with `close`. Each has a `HashProcess`, which it gives to every work. Work of
    one source is done in order. The sources (addresses) take turns, so a source with much work does not hold up the
    others.
    """

    def __init__(self, most: int, count: int | None = None, process: Callable[[], HashProcess] = HashProcess) -> None:
        """`most` is the number of works that may wait; `count` that of the threads; `process` makes one for each."""
        self._most = most
        self._new_process = process
        self._count = count or max(1, len(os.sched_getaffinity(0)) - 1 if hasattr(os, "sched_getaffinity") else 1)
        self._lock = leaf()
        self._there = threading.Semaphore(0)  # at least as often as there are works
        self._waiting: dict[str, deque[_Job]] = {}  # by source, in the order of their turns
        self._size = 0
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._closing = False

    def submit(self, source: str, work: Callable[[HashProcess], T]) -> Future[T]:
        """Have a worker do some work for a source, and return its future. Callbacks of the future run in the worker.

        Raises Refused if too much waits. The source that has the most work waiting loses its last one to another.
        """
        future: Future[T] = Future()
        with self._lock:
            if self._closing:
                raise _busy()
            lost = self._make_room_locked(source)
            self._waiting.setdefault(source, deque()).append((future, work))
            self._size += 1
            starts = not self._idle and len(self._threads) < self._count
            if starts:
                thread = threading.Thread(target=self._run, name=f"password-{len(self._threads)}", daemon=True)
                self._threads.append(thread)
        self._there.release()
        if starts:
            thread.start()
        if lost is not None:
            lost.set_exception(_busy())
        return future

    def _make_room_locked(self, source: str) -> Future[Any] | None:
        """Return the future that gives its place to the source, None if there is room. Raises Refused."""
        if self._size < self._most:
            return None
        longest = max(self._waiting, key=lambda each: len(self._waiting[each]))
        if len(self._waiting[longest]) <= len(self._waiting.get(source, ())) + 1:
            raise _busy()
        self._size -= 1
        return self._waiting[longest].pop()[0]

    def _next(self) -> _Job | None:
        with self._lock:
            source = next(iter(self._waiting), None)
            if source is None:
                return None
            jobs = self._waiting.pop(source)
            job = jobs.popleft()
            if jobs:
                self._waiting[source] = jobs  # at the end
            self._size -= 1
            return job

    def _run(self) -> None:
        """Thread `password-…`."""
        process = self._new_process()
        try:
            while not (self._closing and not self._waiting):
                with self._lock:
                    self._idle += 1
                there = self._there.acquire(timeout=_REST_AFTER if process.holds else None)
                with self._lock:
                    self._idle -= 1
                job = self._next()
                if job is not None:
                    _do(*job, process)
                elif not there:
                    process.rest()
        finally:
            process.rest()

    def close(self) -> None:
        """Refuse what waits, and end the threads."""
        with self._lock:
            self._closing = True
            left = [future for jobs in self._waiting.values() for future, _ in jobs]
            self._waiting.clear()
            self._size = 0
        for future in left:
            future.set_exception(_busy())
        for _ in self._threads:
            self._there.release()
        for thread in self._threads:
            thread.join()


def _do(future: Future[Any], work: Callable[[HashProcess], Any], process: HashProcess) -> None:
    try:
        result = work(process)
    except Exception as error:  # noqa: BLE001 - whoever waits for the future gets it
        future.set_exception(error)
    else:
        future.set_result(result)


def _busy() -> Refused:
    return Refused("busy", "The server has too many passwords to check. Try again in a moment.")
