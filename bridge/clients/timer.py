"""Floor 3: a timer: calls functions after a delay, on one thread."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable

from reporting import events, report


class Timer:
    """Owns the thread `mqtt-timer`, which calls each function when it is due. Any thread may use it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: list[tuple[float, int]] = []  # a heap of times (time.monotonic) and numbers; cancelled ones, too
        self._calls: dict[int, Callable[[], None]] = {}
        self._numbers = itertools.count(1)
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="mqtt-timer", daemon=True)
        self._thread.start()

    def call_later(self, seconds: float, call: Callable[[], None]) -> int:
        """Call the function after `seconds`. Return the number to cancel it with."""
        with self._changed:
            number = next(self._numbers)
            self._calls[number] = call
            heapq.heappush(self._due, (time.monotonic() + seconds, number))
            self._changed.notify()
            return number

    def cancel(self, number: int) -> Callable[[], None] | None:
        """Cancel a call. Return its function, or None if it has been called."""
        with self._changed:
            call = self._calls.pop(number, None)
            if len(self._due) > 2 * len(self._calls) + 64:
                self._due = [due for due in self._due if due[1] in self._calls]
                heapq.heapify(self._due)
            return call

    def _next(self) -> Callable[[], None] | None:
        """Wait for the next function that is due and return it; None when the timer is closed."""
        with self._changed:
            while not self._closing:
                wait = self._due[0][0] - time.monotonic() if self._due else None
                if wait is None or wait > 0:
                    self._changed.wait(None if wait is None else min(wait, threading.TIMEOUT_MAX))
                    continue
                call = self._calls.pop(heapq.heappop(self._due)[1], None)
                if call is not None:
                    return call
        return None

    def _run(self) -> None:
        while (call := self._next()) is not None:
            try:
                call()
            except Exception as error:  # noqa: BLE001 - reported; the next calls are made
                report(events.InternalError(part="mqtt-timer", consequence="A delayed will or end is lost."), error)

    def close(self) -> None:
        """End the thread. Functions that are not due yet are not called."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()
