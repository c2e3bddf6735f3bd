"""Floor 3: what is to be done later, by one thread: wills that are delayed, for one."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable

log_ = logging.getLogger("partyline.mqtt")


class Later:
    """Owns the thread `mqtt-later`, which does things when their time has come."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: list[tuple[float, int]] = []  # when (time.monotonic), and the number; also of what was cancelled
        self._tasks: dict[int, Callable[[], None]] = {}
        self._numbers = itertools.count(1)
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="mqtt-later", daemon=True)
        self._thread.start()

    def do(self, seconds: float, what: Callable[[], None]) -> int:
        """Do it after so many seconds; the number to cancel it with."""
        with self._changed:
            number = next(self._numbers)
            self._tasks[number] = what
            heapq.heappush(self._due, (time.monotonic() + seconds, number))
            self._changed.notify()
            return number

    def cancel(self, number: int) -> Callable[[], None] | None:
        """Do it not at all; None if it was done already."""
        with self._changed:
            what = self._tasks.pop(number, None)
            if len(self._due) > 2 * len(self._tasks) + 64:
                self._due = [due for due in self._due if due[1] in self._tasks]
                heapq.heapify(self._due)
            return what

    def _next(self) -> Callable[[], None] | None:
        """Wait for what is due next; None at the end."""
        with self._changed:
            while not self._closing:
                wait = self._due[0][0] - time.monotonic() if self._due else None
                if wait is None or wait > 0:
                    self._changed.wait(None if wait is None else min(wait, threading.TIMEOUT_MAX))
                    continue
                what = self._tasks.pop(heapq.heappop(self._due)[1], None)
                if what is not None:
                    return what
        return None

    def _run(self) -> None:
        while (what := self._next()) is not None:
            try:
                what()
            except Exception:
                log_.exception("something that was to be done later failed")

    def close(self) -> None:
        """End the thread; what is not due yet is not done."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()
