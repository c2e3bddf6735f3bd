"""Floor 2: the cleanup: once an hour, what nobody uses leaves the store: empty logs, and guests who stay away."""

from __future__ import annotations

import threading
from collections.abc import Callable

from reporting import events, report
from store import LogRow, Unused
from wire.clock import now
from wire.limits import Limits

PERIOD = 3_600.0  # seconds from one cleanup to the next one
_DAY = 86_400_000  # milliseconds
_PORTION = 500  # guests that are looked up at once


class Cleanup:
    """Owns the thread `cleanup`. All methods may be called from any thread."""

    def __init__(
        self,
        store: Unused,
        limits: Limits,
        begin: Callable[[], None],
        forget_guest: Callable[[str, int], bool],
        remove_log: Callable[[LogRow, int], bool],
    ) -> None:
        """`begin` is called before each sweep.

        The other functions remove one guest, by key, or one log, if nobody has used it since a time. They return False
        if somebody has.
        """
        self._store = store
        self._limits = limits
        self._begin = begin
        self._forget_guest = forget_guest
        self._remove_log = remove_log
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cleanup", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(PERIOD):
            try:
                self.sweep(now())
            except Exception as error:  # noqa: BLE001 - it is reported, and tried again
                report(events.StoreProblem(str(error), "Unused names and channels are removed later."))

    def sweep(self, at: int) -> None:
        """Remove what is unused at a time, in milliseconds since 1970. Raises StoreError.

        Guests come first, since their channels may be empty then.
        """
        self._begin()
        before = at - self._limits.guest_days * _DAY
        removed = True
        while removed and not self._over.is_set():
            guests = self._store.idle_guests(before, _PORTION)
            removed = any([self._forget_guest(key, before) for key in guests])
        before = at - self._limits.channel_days * _DAY
        for row in self._store.empty_logs(before):
            if self._over.is_set():
                return
            self._remove_log(row, before)

    def close(self) -> None:
        """End the thread."""
        self._over.set()
        self._thread.join()
