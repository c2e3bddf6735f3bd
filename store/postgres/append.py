"""Floor 1: the statements of an append on PostgreSQL: a few, however many logs, runs and ids there are.

Each statement costs a round trip, and whoever waits for one lets go of the interpreter. `cursor_transaction` sends
statements whose answers nobody asks for together, so an append without ids waits twice: for the tails, and for the
commit.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ..contract import StoreError
from ..sql import AppendStatements, IdKey, IdRow, RunRow
from .migrations import SEQ_BLOCK

_FRESH = 1.0  # seconds: numbers of the same time are near each other, whichever server has taken them
_TRIES = 10

_LOCK = "SELECT id, tail, pg_current_xact_id()::text FROM logs WHERE id = ANY(%b::bigint[]) ORDER BY id FOR UPDATE"
_FIND = (
    "SELECT ids.sender, ids.id, ids.log, ids.number"
    " FROM unnest(%b::text[], %b::text[], %b::bigint[]) AS wanted (sender, id, log)"
    " JOIN ids ON ids.sender = wanted.sender AND ids.id = wanted.id AND ids.log = wanted.log"
)
_RUNS = (
    "WITH added AS (INSERT INTO runs (seq, log, last, count, body, checksum)"
    " SELECT * FROM unnest(%b::bigint[], %b::bigint[], %b::bigint[], %b::integer[], %b::text[], %b::bigint[]))"
    " UPDATE logs SET tail = moved.tail FROM unnest(%b::bigint[], %b::bigint[]) AS moved (id, tail)"
    " WHERE logs.id = moved.id"
)
_IDS = (
    "INSERT INTO ids (sender, id, log, number) SELECT * FROM unnest(%b::text[], %b::text[], %b::bigint[], %b::bigint[])"
)
_SEQS = "SELECT nextval('run_seq') FROM generate_series(1, %b::bigint)"


class PostgresAppend(AppendStatements):
    """Nothing of the logs is kept in memory: other servers may append to them, too."""

    def __init__(self) -> None:
        self._seqs = _Seqs()

    def lock(self, cursor: Any, logs: Collection[int]) -> Mapping[int, int]:
        """Keep other writers from these logs until the transaction ends. Return their tails."""
        if not logs:
            return {}
        rows = cursor.execute(_LOCK, (list(logs),)).fetchall()
        if len(rows) < len(logs):
            raise StoreError("A channel is not in the database any more: another server has removed it.")
        cursor.connection.transaction_number = rows[0][2]
        return {log: tail for log, tail, _ in rows}

    def find_ids(self, cursor: Any, keys: Sequence[IdKey]) -> dict[IdKey, int]:
        """Return the number that is stored for each key, 0 for a key that is not stored. A key may occur twice."""
        numbers = dict.fromkeys(keys, 0)
        senders, ids, logs = zip(*numbers, strict=True)
        for sender, id, log, number in cursor.execute(_FIND, (list(senders), list(ids), list(logs))).fetchall():
            numbers[sender, id, log] = number
        return numbers

    def last_seq(self, cursor: Any, count: int) -> int:
        """Return a number that is followed by `count` numbers which no other entry has or gets."""
        return self._seqs.take(cursor, count)

    def insert(self, cursor: Any, runs: Sequence[RunRow], ids: Sequence[IdRow]) -> None:
        """Insert the new runs, ascending by `seq`, and the new ids; move the tails."""
        if runs:
            tails = {log: last for _, log, last, _, _, _ in runs}
            columns = [list(column) for column in zip(*runs, strict=True)]
            cursor.execute(_RUNS, (*columns, list(tails), list(tails.values())))
        if ids:
            cursor.execute(_IDS, [list(column) for column in zip(*ids, strict=True)])


class _Seqs:
    """Numbers of the journal that this server may give to entries: a block at a time, from a sequence.

    Nothing needs their order or their completeness; they make an MQTT client's packet identifiers, which is why two
    servers should not have blocks that are far from each other.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next = self._end = 0
        self._taken_at = 0.0

    def take(self, cursor: Any, count: int) -> int:
        """Return the number before `count` free ones."""
        with self._lock:
            if count > self._end - self._next or time.monotonic() - self._taken_at > _FRESH:
                first, last = _blocks(cursor, max(1, -(-count // SEQ_BLOCK)))
                self._next, self._end, self._taken_at = first * SEQ_BLOCK, (last + 1) * SEQ_BLOCK, time.monotonic()
            taken = self._next
            self._next += count
            return taken


def _blocks(cursor: Any, count: int) -> tuple[int, int]:
    """Return the first and the last of `count` blocks without a gap, which nobody else has."""
    for _ in range(_TRIES):
        found = [row[0] for row in cursor.execute(_SEQS, (count,)).fetchall()]
        if found[-1] - found[0] == count - 1:
            return found[0], found[-1]
    raise StoreError("The database failed: other servers were in the way each time.")
