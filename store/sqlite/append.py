"""Floor 1: the statements of an append on SQLite, one row at a time: SQLite runs inside the process.

A run is one row because the driver lets go of the interpreter at each row, and to get it back among busy threads costs
far more than the row does.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import and_, bindparam, func, insert, select

from ..sql import AppendStatements, IdKey, IdRow, RunRow, SqlDialect, schema

_TAILS = 20_000  # tails that are remembered


class SqliteAppend(AppendStatements):
    """Called inside the one write transaction, which keeps other writers from all logs; so the tails can be cached."""

    def __init__(self, dialect: SqlDialect) -> None:
        text, runs, ids = dialect.text, schema.runs, schema.ids
        self._last = text(select(func.max(runs.c.last)).where(runs.c.log == bindparam("log")))
        self._last_of_all = text(select(func.max(runs.c.seq)))
        self._find_id = text(
            select(ids.c.number).where(
                and_(ids.c.sender == bindparam("sender"), ids.c.id == bindparam("id"), ids.c.log == bindparam("of_log"))
            )
        )
        self._insert_run = text(insert(runs))
        self._insert_id = text(insert(ids))
        self._tails: dict[int, int] = {}  # by log id, as far as known
        self._seq: int | None = None

    def forget(self) -> None:
        """Forget the tails: called after a rollback."""
        self._tails.clear()
        self._seq = None

    def lock(self, cursor: sqlite3.Cursor, logs: Collection[int]) -> Mapping[int, int]:
        """Return the tails of at least these logs."""
        tails = self._tails
        if len(tails) > _TAILS:
            tails.clear()
        for log in logs:
            if log not in tails:
                tails[log] = cursor.execute(self._last, (log,)).fetchone()[0] or 0
        return tails

    def find_ids(self, cursor: sqlite3.Cursor, keys: Sequence[IdKey]) -> dict[IdKey, int]:
        """Return the number that is stored for each key, 0 for a key that is not stored. A key may occur twice."""
        numbers: dict[IdKey, int] = {}
        for key in keys:
            found = cursor.execute(self._find_id, key).fetchone()
            numbers[key] = found[0] if found else 0
        return numbers

    def last_seq(self, cursor: sqlite3.Cursor, count: int) -> int:
        """Return the journal's number of the last entry of all logs: here the journal has no gaps."""
        if self._seq is None:
            self._seq = int(cursor.execute(self._last_of_all).fetchone()[0] or 0)
        return self._seq

    def insert(self, cursor: sqlite3.Cursor, runs: Sequence[RunRow], ids: Sequence[IdRow]) -> None:
        """Insert the new runs, ascending by `seq`, and the new ids."""
        cursor.executemany(self._insert_run, runs)
        if ids:
            cursor.executemany(self._insert_id, ids)
        tails = self._tails
        for seq, log, last, _, _, _ in runs:
            tails[log] = last
            self._seq = seq
