"""Floor 2: the logs in memory: at most one object for each log, as long as somebody uses it.

A reader, a post on its way and a request hold the log that they use; nothing else does, so what is idle leaves memory.
Two objects for one log would be delivered separately. So an object is made by one thread at a time, from a row that is
read in that turn: with no object there is no post on its way to the log, and the tail in the store is the last one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol
from weakref import WeakValueDictionary

from store import LogRow

from .locks import nothing_held
from .log import Log


class LogRows(Protocol):
    """The part of the store that finds a log."""

    def log(self, id: int) -> LogRow | None:
        """Return the log with that id, None if it does not exist."""


class OpenLogs:
    """The log objects. Any thread may call any method, with no lock held."""

    def __init__(self, rows: LogRows, opened: Callable[[Log], None]) -> None:
        """`opened` is called once for each object, before anybody else has it."""
        self._rows = rows
        self._opened = opened
        self._turn = threading.Lock()  # a baton: its holder reads the store
        self._by_id: WeakValueDictionary[int, Log] = WeakValueDictionary()
        self._by_key: WeakValueDictionary[str, Log] = WeakValueDictionary()  # of private logs

    def __len__(self) -> int:
        """Return how many logs are in memory."""
        return len(self._by_id)

    def private(self, key: str) -> Log | None:
        """Return the private log with that key if it is in memory."""
        return self._by_key.get(key)

    def open(self, id: int) -> Log | None:
        """Return the log with that id, from memory or as it is in the store; None for an unknown id."""
        log = self._by_id.get(id)
        if log is not None:
            return log
        nothing_held("open a log")
        with self._turn:
            log = self._by_id.get(id)
            if log is None and (row := self._rows.log(id)) is not None:
                log = self._add(row)
            return log

    def find(self, id: int) -> Log | None:
        """Return the log with that id if it is in memory. Wait for the thread that is opening a log, if one is."""
        log = self._by_id.get(id)
        if log is None:
            with self._turn:
                log = self._by_id.get(id)
        return log

    def everything(self) -> list[Log]:
        """Return all logs in memory."""
        return list(self._by_id.values())

    def open_first(self, row: LogRow) -> Log:
        """Return a log of which no thread can have an object yet, as at the start of the server."""
        return self._add(row)

    def _add(self, row: LogRow) -> Log:
        log = Log(row)
        self._opened(log)
        if not row.is_channel:
            self._by_key[row.key] = log
        self._by_id[row.id] = log
        return log

    def remove(self, log: Log, removed: Callable[[Log], None]) -> None:
        """Let go of a log that has left the store; `removed` undoes `opened`."""
        with self._turn:
            removed(log)
            self._by_id.pop(log.row.id, None)

    def while_idle(self, id: int, call: Callable[[], bool]) -> bool:
        """Return what a function returns, while nobody has the log of that id or can open it; False if somebody has."""
        with self._turn:
            return self._by_id.get(id) is None and call()
