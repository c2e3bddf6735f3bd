"""Floor 2: expiry: what is kept for a time is ended after it, by a thread that sleeps until the next is due."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from wire.clock import now

log_ = logging.getLogger("partyline.files")

_AGAIN = 60_000  # milliseconds until what could not be ended is tried again


class Expiry:
    """Owns the thread `expiry`. All methods may be called from any thread. Times are milliseconds since 1970."""

    def __init__(self, sweep: Callable[[], int | None]) -> None:
        """`sweep` ends what is overdue, and says when the next is due, or None: nothing is. It is called at once."""
        self._sweep = sweep
        self._look()
        self._next: int | None = None  # what the thread waits for; None: it may not have looked since it was woken
        self._wake = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="expiry", daemon=True)
        self._thread.start()

    def due(self, until: int) -> None:
        """Something new is to be ended then."""
        waiting = self._next
        if waiting is None or until < waiting or waiting <= now():  # the last, if the clock was set, or stood still
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
        try:
            return self._sweep()
        except Exception:
            log_.exception("files whose time is over are still there")
            return now() + _AGAIN

    def close(self) -> None:
        """End the thread."""
        self._over.set()
        self._wake.set()
        self._thread.join()
