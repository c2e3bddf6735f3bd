"""Floor 2: expiry: a thread that waits until the next file expires, and ends it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from reporting import events, report
from store import StoreError
from wire.clock import now

_AGAIN = 60_000  # milliseconds until it tries again after an error


class Expiry:
    """Owns the thread `expiry`. All methods may be called from any thread. Times are milliseconds since 1970."""

    def __init__(self, sweep: Callable[[], int | None]) -> None:
        """`sweep` ends what is overdue and returns when the next is due, None for never. It is called at once."""
        self._sweep = sweep
        self._look()
        self._next: int | None = None  # when the thread looks next; None: never, or it is about to look
        self._wake = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="expiry", daemon=True)
        self._thread.start()

    def due(self, until: int) -> None:
        """Have the thread look at the time `until`, or earlier."""
        waiting = self._next
        if waiting is None or until < waiting or waiting <= now():  # the last one if the clock was set, or stood still
            self._wake.set()

    def _run(self) -> None:
        while True:
            self._next = None
            self._wake.clear()
            if self._over.is_set():
                return
            self._next = self._look()
            seconds = None if self._next is None else max(0.0, (self._next - now()) / 1000)
            self._wake.wait(None if seconds is None else min(seconds, threading.TIMEOUT_MAX))

    def _look(self) -> int | None:
        consequence = "Expired files stay for another minute."
        try:
            return self._sweep()
        except StoreError as error:
            report(events.StoreProblem(str(error), consequence))
        except Exception as error:  # noqa: BLE001 - reported, and tried again
            report(events.InternalError(part="expiry", consequence=consequence), error)
        return now() + _AGAIN

    def close(self) -> None:
        """End the thread."""
        self._over.set()
        self._wake.set()
        self._thread.join()
