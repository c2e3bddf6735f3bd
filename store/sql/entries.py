"""Floor 1: the entries: appending and reading runs. The append is the hot path, see sqlite.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import msgspec
from sqlalchemy import Dialect, and_, bindparam, delete, func, insert, select

from store.contract import RUN, Appended, Batch, LogRow, Part, file_of_post
from wire.frames import Entry, Msg, Say

from .database import SqlBase
from .schema import ids, runs

_encode = msgspec.json.Encoder().encode
_EntryRow = tuple[int, str, str, str | None]  # milliseconds since 1970, sender, text, the sender's id
# A post that may be sent again: its sender's key, its id, its log.
_Key = tuple[str, str, int]
_decode = msgspec.json.Decoder(list[_EntryRow]).decode

_ENTRY_COST = 400  # bytes in memory beside its text: as an object, and as bytes for whoever reads it
_ROW_COST = 8192  # bytes in the write-ahead log beside a row's own: the pages of its table and its index
_JOURNAL = 0  # stands for all logs together; no log has that id


class SqlRuns(SqlBase):
    """The half of the contract that is about entries."""

    def __init__(self, dialect: Dialect) -> None:
        super().__init__(dialect)
        compiled = self._compiled
        self._last = compiled(select(func.max(runs.c.last)).where(runs.c.log == bindparam("log")))
        self._last_of_all = compiled(select(func.max(runs.c.seq)))
        self._tails: dict[int, int] = {}  # by log id, as far as known; the one writer's
        self._insert_run = compiled(insert(runs))
        self._insert_id = compiled(insert(ids))
        self._find_id = compiled(
            select(ids.c.number).where(
                and_(ids.c.sender == bindparam("sender"), ids.c.id == bindparam("id"), ids.c.log == bindparam("of_log"))
            )
        )
        self._runs_after = compiled(
            select(runs.c.seq, runs.c.last, runs.c.count, runs.c.body)
            .where(and_(runs.c.log == bindparam("log"), runs.c.last > bindparam("after")))
            .order_by(runs.c.last)
            .limit(bindparam("limit"))
        )

    def append(self, parts: Sequence[Part], now: int) -> Appended:
        """Number the posts of all parts and keep them; see the contract."""
        size = 0
        with self._transaction() as cursor:
            fresh, known = self._sort_out(cursor, parts, now)
            batches: list[Batch] = []
            count = sum(len(rows) for _, rows in fresh.values())
            seq = self._number(cursor, _JOURNAL, count)
            for log, rows in fresh.values():
                first = self._number(cursor, log.id, len(rows)) + 1
                last = first + len(rows) - 1
                stored = [
                    (seq + at + len(piece), log.id, first + at + len(piece) - 1, len(piece), _encode(piece).decode())
                    for at, piece in _pieces(rows)
                ]
                cursor.executemany(self._insert_run, stored)
                seq += len(rows)
                bulk = sum(len(row[4]) for row in stored)
                size_in_memory = bulk + _ENTRY_COST * len(rows)
                batches.append(Batch(log, first, last, seq, _entries(log, first, rows), size_in_memory))
                size += bulk + _ROW_COST * len(stored)
            numbers = _numbers(parts, batches, known)
            if known is not None:
                self._keep_ids(cursor, parts, numbers, known)
        self._wrote(size)
        return Appended(batches, numbers)

    def _number(self, cursor: Any, log: int, count: int) -> int:
        """Move a log's tail, to be forgotten if the transaction comes to nothing; where it was before."""
        tail = self._tails.get(log)
        if tail is None:
            found = cursor.execute(self._last, (log,)) if log != _JOURNAL else cursor.execute(self._last_of_all)
            tail = cast("int", found.fetchone()[0] or 0)
        self._tails[log] = tail + count
        return tail

    def _undone(self) -> None:
        """What is stored is to be looked up again."""
        self._tails.clear()

    def _sort_out(
        self, cursor: Any, parts: Sequence[Part], now: int
    ) -> tuple[dict[int, tuple[LogRow, list[_EntryRow]]], dict[_Key, int] | None]:
        """The rows that are new, a log; and the numbers of the ids that are known, None if no post has an id.

        An id that comes for the first time is known as 0 until its number is.
        """
        fresh: dict[int, tuple[LogRow, list[_EntryRow]]] = {}
        known: dict[_Key, int] | None = None
        for part in parts:
            sender = part.sender
            posts = part.posts
            if any([post.id is not None for post in posts]):
                known = {} if known is None else known
                posts = [post for post in posts if self._is_new(cursor, known, part, post)]
            if posts:
                _, rows = fresh.setdefault(part.log.id, (part.log, []))
                rows.extend(
                    [(now, sender, post.text, _shown(post.id)) for post in posts]
                    if known is not None
                    else [(now, sender, post.text, None) for post in posts]
                )
        return fresh, known

    def _is_new(self, cursor: Any, known: dict[_Key, int], part: Part, post: Say | Msg) -> bool:
        if post.id is None:
            return True
        key = (part.sender_key, post.id, part.log.id)
        if key in known:
            return False
        found = cursor.execute(self._find_id, key).fetchone()
        known[key] = found[0] if found else 0
        return found is None

    def _keep_ids(
        self, cursor: Any, parts: Sequence[Part], numbers: Sequence[Sequence[int]], known: dict[_Key, int]
    ) -> None:
        rows: dict[_Key, tuple[str, str, int, int]] = {}
        for part, given in zip(parts, numbers, strict=True):
            for post, number in zip(part.posts, given, strict=True):
                key = (part.sender_key, post.id or "", part.log.id)
                if post.id is not None and known[key] == 0:
                    rows.setdefault(key, (*key, number))
        if rows:
            cursor.executemany(self._insert_id, list(rows.values()))

    def read(self, log: LogRow, after: int, limit: int) -> list[Entry]:
        """At most `limit` entries with numbers over `after`, ascending."""
        return [entry for batch in self.read_runs(log, after, limit) for entry in batch.entries]

    def read_runs(self, log: LogRow, after: int, limit: int) -> list[Batch]:
        """The same entries as they were committed: consecutive batches, the last one cut at the limit."""
        batches: list[Batch] = []
        with self._reading() as db:
            for seq, last, count, body in db.exec_driver_sql(self._runs_after, (log.id, after, limit, 0)):
                first = max(last - count, after) + 1
                rows = _decode(body)[first - last - 1 :][:limit]
                upto = first + len(rows) - 1
                batches.append(Batch(log, first, upto, seq - (last - upto), _entries(log, first, rows), len(body)))
                limit -= len(rows)
                if limit <= 0:
                    break
        return batches

    def forget_id(self, sender: str, id: str) -> None:
        """Let a sender's id be new again."""
        with self._transaction():
            self._writer.execute(delete(ids).where(and_(ids.c.sender == sender, ids.c.id == id)))


def _entries(log: LogRow, first: int, rows: Sequence[_EntryRow]) -> list[Entry]:
    """Rows of one log as entries, numbered from `first`."""
    if log.kind == "channel":
        name = log.name
        made = [Entry(n, time, sender, text, name, None, id) for n, (time, sender, text, id) in enumerate(rows, first)]
    else:
        to = {log.name: log.other, log.other: log.name}
        made = [
            Entry(n, time, sender, text, None, to.get(sender, log.name), id)
            for n, (time, sender, text, id) in enumerate(rows, first)
        ]
    for entry in made:
        if entry.id is not None and entry.id[0] == "/":
            entry.file, entry.id = file_of_post(entry.id), None
    return made


def _shown(id: str | None) -> str | None:
    """What is kept of a post's id with its entry: not one of a door's own."""
    return None if id is not None and id[0] == "/" and file_of_post(id) is None else id


def _pieces(rows: list[_EntryRow]) -> list[tuple[int, list[_EntryRow]]]:
    """The rows in runs, each with the index of its first."""
    return [(at, rows[at : at + RUN]) for at in range(0, len(rows), RUN)]


def _numbers(parts: Sequence[Part], batches: Sequence[Batch], known: dict[_Key, int] | None) -> list[Sequence[int]]:
    """For each part its posts' numbers: a plain range where no id is in play."""
    following = {batch.log.id: batch.first for batch in batches}
    numbers: list[Sequence[int]] = []
    given: dict[_Key, int] = {}
    for part in parts:
        start = following.get(part.log.id, 0)
        if known is None:
            numbers.append(range(start, start + len(part.posts)))
            following[part.log.id] = start + len(part.posts)
            continue
        row: list[int] = []
        for post in part.posts:
            key = (part.sender_key, post.id or "", part.log.id)
            had = (known.get(key) or given.get(key, 0)) if post.id is not None else 0
            if not had:
                had, start = start, start + 1
                if post.id is not None:
                    given[key] = had
            row.append(had)
        numbers.append(row)
        following[part.log.id] = start
    return numbers
