"""Floor 2: arrivals: who only reads cannot acknowledge; a few seconds after a delivery it is noted how far they came.

It costs a delivery one look at a flag. Nothing is looked at while nobody is told anything.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Protocol

from .locks import leaf

log_ = logging.getLogger("partyline.arrivals")

PERIOD = 3.0  # seconds from a delivery to the look at what has arrived
_PORTION = 100  # people whose cursors go into one commit, so that those who post do not wait long for it


class Person(Protocol):
    """A connection of somebody who cannot acknowledge."""

    def note_arrived(self) -> bool:
        """Have the journal move the cursors over what has arrived; whether there is more on its way."""


class Arrivals:
    """Owns the thread `arrivals`. All methods may be called from any thread."""

    def __init__(self, carry: Callable[[], None]) -> None:
        """`carry` is the journal's: it commits what was noted."""
        self._carry = carry
        self._lock = leaf()
        self._people: set[Person] = set()
        self._stirred = False  # something was delivered since the last look
        self._wake = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="arrivals", daemon=True)
        self._thread.start()

    def add(self, person: Person) -> None:
        """Somebody has come, and is being sent what they have missed."""
        with self._lock:
            self._people.add(person)
        self.stir()

    def remove(self, person: Person) -> None:
        """Somebody goes."""
        with self._lock:
            self._people.discard(person)

    def stir(self) -> None:
        """Something was delivered, perhaps to people. On the way of every post."""
        if self._people and not self._stirred:
            self._stirred = True
            self._wake.set()

    def _run(self) -> None:
        while self._wake.wait():
            self._wake.clear()
            if self._over.wait(PERIOD):
                return
            self._stirred = False  # before the look: what is delivered from here on leads to another one
            try:
                self._look()
            except Exception:
                log_.exception("what people have read was not noted, so some of it may come twice")

    def _look(self) -> None:
        with self._lock:
            people = list(self._people)
        more = False
        for at, person in enumerate(people, 1):
            more |= person.note_arrived()
            if at % _PORTION == 0:
                self._carry()
        self._carry()
        if more:
            self.stir()

    def close(self) -> None:
        """End the thread; each connection has noted its own arrivals when it ended."""
        self._over.set()
        self._wake.set()
        self._thread.join()
