"""Floor 1: the entries: appending and reading runs. The append is the hot path: statements are compiled once."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

from sqlalchemy import Connection, and_, bindparam, delete, func, select

from reporting import events, report
from wire.frames import Entry, Msg, Say

from ..contract import Appended, Batch, LogRow, NewPosts, file_of_post, log_title
from .database import Database, SqlBase
from .dialect import IdKey, IdRow
from .runs import EntryRow, RunRow, damaged_numbers, decode_run, encode_runs
from .schema import ids, runs

# Bytes in memory, as measured with tracemalloc: of an entry beside its text, and of a batch beside its entries. A text
# that is not ASCII takes up to four bytes a character, and as many again as UTF-8, which Python keeps with it.
_ENTRY_COST, _BATCH_COST, _NOT_ASCII = 180, 250, 3
_RUN_PAGES = 2  # of the table and of its index
_REPORTED = 1_000  # damaged runs that are reported
_NAMED = 10  # of them, in one event, with the numbers of their entries
_FIRST_ROWS = 2  # read at once, and then twice as many each time: full runs have 256 entries, and lone posts one


class SqlEntries(SqlBase):
    """The contract of entries."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._statements = database.append_statements
        self._page = database.page_rows
        self._damaged: set[int] = set()  # runs that were reported, by `seq`
        self._runs_after = database.dialect.query(
            select(runs.c.seq, runs.c.last, runs.c.count, database.dialect.utf8(runs.c.body), runs.c.checksum)
            .where(and_(runs.c.log == bindparam("log"), runs.c.last > bindparam("after")))
            .order_by(runs.c.last)
            .limit(bindparam("limit"))
        )
        of_log = runs.c.log == bindparam("log")
        upto: Any = bindparam("upto")
        last_of_page = select(func.min(runs.c.last)).where(and_(of_log, runs.c.last >= upto)).scalar_subquery()
        self._runs_before = database.dialect.query(
            select(runs.c.seq, runs.c.last, runs.c.count, database.dialect.utf8(runs.c.body), runs.c.checksum)
            .where(and_(of_log, runs.c.last <= func.coalesce(last_of_page, upto)))
            .order_by(runs.c.last.desc())
            .limit(bindparam("limit"))
        )

    def append(self, postings: Sequence[NewPosts], now: int) -> Appended:
        """Number the posts of all postings and store them, all or none; `now` in milliseconds since 1970."""
        statements = self._statements
        with self._database.cursor_transaction() as cursor:
            tails = statements.lock(cursor, {posting.log.id for posting in postings})
            keys = [
                (posting.sender_key, post.id, posting.log.id)
                for posting in postings
                for post in posting.posts
                if post.id is not None
            ]
            known = statements.find_ids(cursor, keys) if keys else None
            numbers: list[Sequence[int]] = []
            new: dict[int, _NewEntries] = {}
            for posting in postings:
                entries = new.get(posting.log.id)
                if entries is None:
                    entries = new[posting.log.id] = _NewEntries(posting.log, tails[posting.log.id] + 1)
                numbers.append(entries.add(posting, now) if known is None else entries.add_once(posting, now, known))
            new_runs: list[RunRow] = []
            batches: list[Batch] = []
            seq = statements.last_seq(cursor, sum([len(entries.rows) for entries in new.values()]))
            for entries in new.values():
                if entries.rows:
                    batches.append(entries.batch(seq, new_runs))
                    seq = batches[-1].seq
            new_ids = [row for entries in new.values() for row in entries.ids] if keys else ()
            statements.insert(cursor, new_runs, new_ids)
        self._database.wrote(sum([len(run[4]) for run in new_runs]), _RUN_PAGES * len(new_runs))
        return Appended(batches, numbers)

    def read(self, log: LogRow, after: int, limit: int, size: int | None = None) -> list[Entry]:
        """Return at most `limit` entries with numbers above `after`, ascending.

        With `size`, load no further run after those that have so many bytes.
        """
        return [entry for batch in self.read_batches(log, after, limit, size) for entry in batch.entries]

    def read_back(self, log: LogRow, before: int, limit: int, size: int | None = None) -> list[Entry]:
        """Return the last entries with numbers below `before`, ascending; everything else is as in `read`."""
        pieces: list[list[Entry]] = []
        damaged: list[tuple[int, str]] = []
        with self._database.reading() as db:
            for seq, last, count, body, checksum in self._rows_before(db, log.id, before - 1, limit):
                rows = decode_run(seq, log.id, last, count, body, checksum)
                if rows is None:
                    damaged.append((seq, damaged_numbers(last, count)))
                    continue
                first, end = last - count + 1, max(0, min(last, before - 1))
                start = max(first, end - limit + 1)
                rows = rows[start - first : end - first + 1]
                pieces.append(_entries(log, start, rows))
                limit -= len(rows)
                size = None if size is None else size - len(body)
                if limit <= 0 or (size is not None and size <= 0):
                    break
        if damaged:
            self._report(log, damaged)
        return [entry for piece in reversed(pieces) for entry in piece]

    def read_batches(self, log: LogRow, after: int, limit: int, size: int | None = None) -> list[Batch]:
        """Return the same as `read` as batches, as they were committed; the first and last may be cut."""
        batches: list[Batch] = []
        damaged: list[tuple[int, str]] = []
        with self._database.reading() as db:
            for seq, last, count, body, checksum in self._rows(db, log.id, after, limit):
                rows = decode_run(seq, log.id, last, count, body, checksum)
                if rows is None:
                    damaged.append((seq, damaged_numbers(last, count)))
                    continue
                first = max(last - count, after) + 1
                rows = rows[first - last - 1 :][:limit]
                upto = first + len(rows) - 1
                batches.append(Batch(log, first, upto, seq - (last - upto), _entries(log, first, rows), len(body)))
                limit -= len(rows)
                size = None if size is None else size - len(body)
                if limit <= 0 or (size is not None and size <= 0):
                    break
        if damaged:
            self._report(log, damaged)
        return batches

    def _rows(self, db: Connection, log: int, after: int, limit: int) -> Iterator[Sequence[Any]]:
        """Yield the rows of the runs that follow number `after`, as long as the caller wants more."""
        query, page = self._runs_after, self._page or limit
        while limit > 0:
            asked, found, last = min(limit, page), 0, after
            for row in _fetch(db, query.text, query.values(log=log, after=after, limit=asked)):
                yield row
                found, last = found + 1, row[1]
            if found < asked or not isinstance(last, int) or last <= after:
                return
            after, page = last, 2 * page

    def _rows_before(self, db: Connection, log: int, upto: int, limit: int) -> Iterator[Sequence[Any]]:
        """Yield the rows of the last runs that begin at number `upto` or before it, the last one first."""
        query, page = self._runs_before, self._page or limit
        while limit > 0:
            asked, found, before = min(limit, page), 0, upto
            for row in _fetch(db, query.text, query.values(log=log, upto=upto, limit=asked)):
                yield row
                found += 1
                before = row[1] - row[2] if isinstance(row[1], int) and isinstance(row[2], int) else upto
            if found < asked or asked == limit or before >= upto or before <= 0:
                return
            upto, page = before, 2 * page

    def _report(self, log: LogRow, damaged: Sequence[tuple[int, str]]) -> None:
        """Report runs whose checksum does not fit, each once: its `seq`, and the numbers of its entries in words."""
        fresh = [numbers for seq, numbers in sorted(damaged) if seq not in self._damaged]
        if fresh and len(self._damaged) < _REPORTED:
            self._damaged.update([seq for seq, _ in damaged])
            more = [f"and {len(fresh) - _NAMED} more runs"] if len(fresh) > _NAMED else []
            where, numbers = log_title(log.id, log.kind, log.name), ", ".join([*fresh[:_NAMED], *more])
            consequence = "They are left out. `server.py check` lists all damage."
            report(events.StoreProblem(f"Damaged messages in {where}: {numbers}.", consequence))

    def forget_id(self, sender: str, id: str) -> None:
        """Forget an id of the sender with that key, in every log: the next post that carries it is a new one."""
        with self._database.transaction() as db:
            db.execute(delete(ids).where(and_(ids.c.sender == sender, ids.c.id == id)))


def _fetch(db: Connection, query: str, values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Yield the rows of a query, as long as the caller wants more. SQLAlchemy's rows take twice as long."""
    with closing(db.connection.cursor()) as cursor:
        cursor.execute(query, values)
        size = _FIRST_ROWS
        while rows := cursor.fetchmany(size):
            yield from rows
            size *= 2


class _NewEntries:
    """The entries that one append adds to one log, from number `first` on."""

    __slots__ = ("first", "ids", "log", "rows")

    def __init__(self, log: LogRow, first: int) -> None:
        self.log = log
        self.first = first
        self.rows: list[EntryRow] = []
        self.ids: list[IdRow] = []

    def add(self, posting: NewPosts, now: int) -> Sequence[int]:
        """Add posts none of which has an id; return their numbers."""
        start = self.first + len(self.rows)
        sender = posting.sender
        self.rows.extend([(now, sender, post.text, None) for post in posting.posts])
        return range(start, start + len(posting.posts))

    def add_once(self, posting: NewPosts, now: int, known: dict[IdKey, int]) -> Sequence[int]:
        """Add the posts whose ids have no number yet, and note their numbers in `known`; return the numbers of all."""
        numbers: list[int] = []
        for post in posting.posts:
            key = None if post.id is None else (posting.sender_key, post.id, self.log.id)
            number = 0 if key is None else known[key]
            if not number:
                number = self.first + len(self.rows)
                self.rows.append((now, posting.sender, post.text, _shown(post)))
                if key is not None:
                    known[key] = number
                    self.ids.append((*key, number))
            numbers.append(number)
        return numbers

    def batch(self, seq: int, runs: list[RunRow]) -> Batch:
        """Add the rows to `runs`, for which the journal's numbers follow `seq`; return the entries."""
        log, first, rows, before = self.log, self.first, self.rows, len(runs)
        size = _BATCH_COST + _ENTRY_COST * len(rows)
        runs.extend(encode_runs(seq, log.id, first - 1, rows))
        size += sum([_cost(run[4]) for run in runs[before:]])
        return Batch(log, first, first + len(rows) - 1, seq + len(rows), _entries(log, first, rows), size)


def _cost(text: str) -> int:
    """Return how many bytes the text of a run takes in memory."""
    return len(text) if text.isascii() else _NOT_ASCII * sys.getsizeof(text)


def _entries(log: LogRow, first: int, rows: Sequence[EntryRow]) -> list[Entry]:
    """Return rows of one log as entries, numbered from `first`."""
    if log.is_channel:
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


def _shown(post: Say | Msg) -> str | None:
    """Return the id to store with an entry: the sender's own one, or one that points at a file."""
    id = post.id
    return None if id is not None and id[0] == "/" and file_of_post(id) is None else id
