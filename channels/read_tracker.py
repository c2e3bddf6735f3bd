"""Floor 2: the read tracker: moves the cursors of people, whose text dialect has no acknowledgements.

A few seconds after a delivery it asks each connection how far the peer's machine has taken the bytes. A delivery costs
one look at a flag, and while nothing is delivered the thread waits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from reporting import events, report

from .locks import leaf

PERIOD = 3.0  # seconds from a delivery to the look at what was read
_PORTION = 100  # sessions whose cursors go into one commit, so that those who post do not wait long for it


class TrackedSession(Protocol):
    """A session whose peer cannot acknowledge."""

    def note_read(self) -> bool:
        """Have the journal move the cursors over what was read. Return True if more is on its way to the peer."""


class ReadTracker:
    """Owns the thread `read-tracker`. All methods may be called from any thread."""

    def __init__(self, carry: Callable[[], None]) -> None:
        """`carry` is the journal's: it commits the moved cursors."""
        self._carry = carry
        self._lock = leaf()
        self._sessions: set[TrackedSession] = set()
        self._delivered = False  # since the last look
        self._wake = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="read-tracker", daemon=True)
        self._thread.start()

    def add(self, session: TrackedSession) -> None:
        """Track a session, which is being sent what its user has missed."""
        with self._lock:
            self._sessions.add(session)
        self.delivered()

    def remove(self, session: TrackedSession) -> None:
        """Track a session no longer. No-op for one that is not tracked."""
        with self._lock:
            self._sessions.discard(session)

    def delivered(self) -> None:
        """Look at all sessions soon, since something was delivered. Every post comes by here."""
        if self._sessions and not self._delivered:
            self._delivered = True
            self._wake.set()

    def _run(self) -> None:
        while self._wake.wait():
            self._wake.clear()
            if self._over.wait(PERIOD):
                return
            self._delivered = False  # before the look: what is delivered from here on leads to another one
            try:
                self._look()
            except Exception as error:  # noqa: BLE001 - reported, and tried again after the next delivery
                consequence = "People may get some entries twice."
                report(events.InternalError(part="read-tracker", consequence=consequence), error)

    def _look(self) -> None:
        with self._lock:
            sessions = list(self._sessions)
        more = False
        for at, session in enumerate(sessions, 1):
            more |= session.note_read()
            if at % _PORTION == 0:
                self._carry()
        self._carry()
        if more:
            self.delivered()

    def close(self) -> None:
        """End the thread. Each session has called `note_read` itself when it ended."""
        self._over.set()
        self._wake.set()
        self._thread.join()
