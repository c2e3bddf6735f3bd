"""Floor 1: the duties that one of the servers on a database has: each is an advisory lock on a server's connection.

So PostgreSQL gives a duty free when the server's connection ends. Whoever gets the lock begins one look later: until
then, the server that has lost its connection has noticed that, too.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

from .connection import LimitedConnection

_CLASS = 0x4475_7479  # of the advisory locks of duties, in this database: "Duty"
_LOCK = f"SELECT pg_try_advisory_lock({_CLASS}, %s::integer), EXISTS (SELECT FROM servers WHERE id <> %s)"
_UNLOCK = f"SELECT pg_advisory_unlock({_CLASS}, %s::integer)"
_OF_LOCK = (
    "{0}.locktype = 'advisory' AND {0}.granted AND {0}.objsubid = 2 AND {0}.classid::bigint = {1}"
    " AND {0}.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


def key_of(duty: str) -> int:
    """Return the number of a duty's lock, from 0 to 2**31 - 1."""
    return zlib.crc32(duty.encode()) & 0x7FFF_FFFF


def holder_query(servers: int) -> str:
    """Return the query for the server that has a duty; `servers` is the class of the servers' own locks."""
    return (
        "SELECT servers.id, name, address, fingerprint, secret FROM pg_locks AS duty"
        " JOIN pg_locks AS life ON life.pid = duty.pid JOIN servers ON servers.id = life.objid::bigint"
        f" WHERE {_OF_LOCK.format('duty', _CLASS)} AND duty.objid::bigint = %s AND {_OF_LOCK.format('life', servers)}"
    )


@dataclass(slots=True)
class _Duty:
    """A duty that this server shares. `locked`: its lock is ours; `begun`: `changed` was told so."""

    changed: Callable[[bool], None]
    locked: bool = False
    begun: bool = False
    tried: threading.Event = field(default_factory=threading.Event)


class Duties:
    """Any thread calls `add` and `remove`. The thread that owns the connection calls the rest."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # of the two dictionaries
        self._shared: dict[str, _Duty] = {}
        self._removed: dict[str, _Duty] = {}  # whose locks are to be given free

    def add(self, duty: str, changed: Callable[[bool], None]) -> threading.Event:
        """Share a duty from the next look on. Return an event that is set after that."""
        made = _Duty(changed)
        with self._lock:
            self._shared[duty] = made
        return made.tried

    def remove(self, duty: str) -> None:
        """Share a duty no longer; its lock is free after the next look."""
        with self._lock:
            removed = self._shared.pop(duty, None)
            if removed is not None:
                self._removed[duty] = removed

    @property
    def held(self) -> bool:
        """True if the lock of a duty is ours."""
        return any([duty.locked for duty in list(self._shared.values())])

    def look(self, link: LimitedConnection, here: int) -> None:
        """Try to get the locks that others have, and begin with what is ours since the last look."""
        with self._lock:
            shared, removed = dict(self._shared), self._removed
            self._removed = {}
        for duty, gone in removed.items():
            if gone.locked:
                link.execute(_UNLOCK, (key_of(duty),))
        for duty, mine in shared.items():
            if mine.locked:
                self._begin(duty, mine)
                continue
            row = link.execute(_LOCK, (key_of(duty), here)).fetchone()
            assert row is not None
            mine.locked, others = row
            if mine.locked and not others:
                self._begin(duty, mine)
            mine.tried.set()

    def _begin(self, duty: str, mine: _Duty) -> None:
        with self._lock:  # so that `remove` is not between the look and the call
            if not mine.begun and self._shared.get(duty) is mine:
                mine.begun = True
                mine.changed(True)

    def end(self) -> None:
        """Tell that no duty is ours: the connection is about to end, or to give the locks free."""
        for mine in list(self._shared.values()):
            begun, mine.locked, mine.begun = mine.begun, False, False
            mine.tried.set()
            if begun:
                mine.changed(False)

    def lapse(self, link: LimitedConnection) -> None:
        """Give up what is ours for now: this server was away for so long that others may take it for dead."""
        keys = [key_of(duty) for duty, mine in list(self._shared.items()) if mine.locked]
        self.end()
        for key in keys:
            link.execute(_UNLOCK, (key,))
