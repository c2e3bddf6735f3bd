"""Floor 1: the contract in SQLAlchemy Core, but for how a database opens, begins and closes (sqlite.py)."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, cast

import msgspec
from sqlalchemy import (
    Connection,
    Dialect,
    and_,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.sql import ClauseElement

from wire.frames import Entry, Msg, Say
from wire.names import fold

from .contract import (
    RUN,
    Account,
    Appended,
    Batch,
    Kind,
    LogRow,
    Membership,
    Part,
    direct_key,
)
from .schema import JOURNAL, accounts, ids, logs, members, runs

_encode = msgspec.json.Encoder().encode
_EntryRow = tuple[int, str, str, str | None]  # milliseconds since 1970, sender, text, the sender's id
_decode = msgspec.json.Decoder(list[_EntryRow]).decode

_ROW_COST = 8192  # bytes in the write-ahead log beside a row's own: the pages of its table and its index

_log_columns = (logs.c.id, logs.c.kind, logs.c.key, logs.c.name, logs.c.other, logs.c.topic, logs.c.tail)
_account_columns = (accounts.c.key, accounts.c.name, accounts.c.password, accounts.c.seen)


class SqlStore(ABC):
    """The statements; a database adds `_transaction`, `_reading`, `_wrote` and `close`."""

    _writer: Connection

    def __init__(self, dialect: Dialect) -> None:
        self._writing = threading.Lock()  # the one writer's

        def compiled(statement: ClauseElement) -> str:
            return str(statement.compile(dialect=dialect))

        self._advance = compiled(
            update(logs).where(logs.c.id == bindparam("log")).values(tail=logs.c.tail + bindparam("count"))
            .returning(logs.c.tail)
        )  # fmt: skip
        self._insert_run = compiled(insert(runs))
        self._insert_id = compiled(insert(ids))
        self._find_id = compiled(
            select(ids.c.number).where(and_(ids.c.sender == bindparam("sender"), ids.c.id == bindparam("id")))
        )
        self._runs_after = compiled(
            select(runs.c.seq, runs.c.last, runs.c.count, runs.c.body)
            .where(and_(runs.c.log == bindparam("log"), runs.c.last > bindparam("after")))
            .order_by(runs.c.last)
            .limit(bindparam("limit"))
        )

    @abstractmethod
    def _transaction(self) -> AbstractContextManager[Any]: ...

    @abstractmethod
    def _reading(self) -> AbstractContextManager[Connection]: ...

    @abstractmethod
    def _wrote(self, size: int) -> None: ...

    def append(self, parts: Sequence[Part], now: int) -> Appended:
        """Number the posts of all parts and keep them; see the contract."""
        size = 0
        with self._transaction() as cursor:
            fresh, known = self._sort_out(cursor, parts, now)
            batches: list[Batch] = []
            count = sum(len(rows) for _, rows in fresh.values())
            seq = self._number(cursor, JOURNAL, count) - count if count else 0
            for log, rows in fresh.values():
                last = self._number(cursor, log.id, len(rows))
                first = last - len(rows) + 1
                stored = [
                    (seq + at + len(piece), log.id, first + at + len(piece) - 1, len(piece), _encode(piece).decode())
                    for at, piece in _pieces(rows)
                ]
                cursor.executemany(self._insert_run, stored)
                seq += len(rows)
                bulk = sum(len(row[4]) for row in stored)
                batches.append(Batch(log, first, last, seq, _entries(log, first, rows), bulk))
                size += bulk + _ROW_COST * len(stored)
            numbers = _numbers(parts, batches, known)
            if known is not None:
                self._keep_ids(cursor, parts, numbers, known)
        self._wrote(size)
        return Appended(batches, numbers)

    def _number(self, cursor: Any, log: int, count: int) -> int:
        """Move a log's tail inside the transaction, so that no number is lost or given twice; the new tail."""
        return cast("int", cursor.execute(self._advance, (count, log)).fetchone()[0])

    def _sort_out(
        self, cursor: Any, parts: Sequence[Part], now: int
    ) -> tuple[dict[int, tuple[LogRow, list[_EntryRow]]], dict[tuple[str, str], int] | None]:
        """The rows that are new, a log; and the numbers of the ids that are known, None if no post has an id.

        An id that comes for the first time is known as 0 until its number is.
        """
        fresh: dict[int, tuple[LogRow, list[_EntryRow]]] = {}
        known: dict[tuple[str, str], int] | None = None
        for part in parts:
            sender = part.sender
            posts = part.posts
            if any([post.id is not None for post in posts]):
                known = {} if known is None else known
                posts = [post for post in posts if self._is_new(cursor, known, part.sender_key, post)]
            if posts:
                _, rows = fresh.setdefault(part.log.id, (part.log, []))
                rows.extend([(now, sender, post.text, post.id) for post in posts])
        return fresh, known

    def _is_new(self, cursor: Any, known: dict[tuple[str, str], int], sender: str, post: Say | Msg) -> bool:
        if post.id is None:
            return True
        key = (sender, post.id)
        if key in known:
            return False
        found = cursor.execute(self._find_id, key).fetchone()
        known[key] = found[0] if found else 0
        return found is None

    def _keep_ids(
        self, cursor: Any, parts: Sequence[Part], numbers: Sequence[Sequence[int]], known: dict[tuple[str, str], int]
    ) -> None:
        rows: dict[tuple[str, str], tuple[str, str, int, int]] = {}
        for part, given in zip(parts, numbers, strict=True):
            for post, number in zip(part.posts, given, strict=True):
                if post.id is not None and known[part.sender_key, post.id] == 0:
                    rows.setdefault((part.sender_key, post.id), (part.sender_key, post.id, part.log.id, number))
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

    def channels(self) -> list[LogRow]:
        """Every channel."""
        with self._reading() as db:
            return [_log(row) for row in db.execute(select(*_log_columns).where(logs.c.kind == "channel"))]

    def member_count(self, log: LogRow) -> int:
        """How many members a log has."""
        with self._reading() as db:
            return db.execute(select(func.count()).where(members.c.log == log.id)).scalar_one()

    def member_counts(self) -> dict[int, int]:
        """How many members each log has, by its id; logs without any are left out."""
        with self._reading() as db:
            counted = select(members.c.log, func.count()).group_by(members.c.log)
            return {row[0]: row[1] for row in db.execute(counted)}

    def open_channel(self, name: str) -> LogRow:
        """The channel of that name, made if it is new."""
        with self._transaction():
            return self._open_log("channel", fold(name), name, "")

    def open_direct(self, one: str, other: str) -> LogRow:
        """The direct log of two users, made if new with both as members; users never named before are, too."""
        with self._transaction():
            first, second = sorted((self._open_account(one), self._open_account(other)), key=lambda user: user.key)
            log = self._open_log("direct", direct_key(one, other), first.name, second.name)
            for user in {first.key, second.key}:
                self._join(log, user, 0)
            return log

    def find_direct(self, one: str, other: str) -> LogRow | None:
        """The direct log of two users, if they have one."""
        with self._reading() as db:
            return self._find_log(db, "direct", direct_key(one, other))

    def _find_log(self, db: Connection, kind: Kind, key: str) -> LogRow | None:
        found = db.execute(select(*_log_columns).where(and_(logs.c.kind == kind, logs.c.key == key))).one_or_none()
        return None if found is None else _log(found)

    def _open_log(self, kind: Kind, key: str, name: str, other: str) -> LogRow:
        found = self._find_log(self._writer, kind, key)
        if found is None:
            row = {"kind": kind, "key": key, "name": name, "other": other, "topic": "", "tail": 0}
            found = _log(self._writer.execute(insert(logs).values(row).returning(*_log_columns)).one())
        return found

    def set_topic(self, log: LogRow, topic: str) -> None:
        """Keep a channel's topic."""
        with self._transaction():
            self._writer.execute(update(logs).where(logs.c.id == log.id).values(topic=topic))

    def join(self, log: LogRow, user: str) -> int:
        """Make a user a member, with the cursor at the tail; answer with the cursor. A member keeps theirs."""
        with self._transaction():
            tail = self._writer.execute(select(logs.c.tail).where(logs.c.id == log.id)).scalar_one()
            return self._join(log, user, tail)

    def _join(self, log: LogRow, user: str, cursor: int) -> int:
        mine = and_(members.c.log == log.id, members.c.user == fold(user))
        found = self._writer.execute(select(members.c.cursor).where(mine)).scalar_one_or_none()
        if found is not None:
            return cast("int", found)
        joined = select(func.coalesce(func.max(members.c.joined), 0) + 1).where(members.c.user == fold(user))
        row = {"log": log.id, "user": fold(user), "cursor": cursor, "joined": joined.scalar_subquery()}
        self._writer.execute(insert(members).values(row))
        return cursor

    def leave(self, log: LogRow, user: str) -> None:
        """End a membership; no harm if there is none."""
        with self._transaction():
            mine = and_(members.c.log == log.id, members.c.user == fold(user))
            self._writer.execute(delete(members).where(mine))

    def memberships(self, user: str) -> list[Membership]:
        """Every channel of a user, in the order of joining, and each direct log whose tail is over the cursor."""
        with self._reading() as db:
            found = db.execute(
                select(*_log_columns, members.c.cursor)
                .join(members, members.c.log == logs.c.id)
                .where(members.c.user == fold(user))
                .where(or_(logs.c.kind == "channel", logs.c.tail > members.c.cursor))
                .order_by(members.c.joined)
            )
            return [Membership(_log(row), row.cursor) for row in found]

    def members(self, log: LogRow) -> list[Account]:
        """A log's members, sorted by key."""
        with self._reading() as db:
            found = db.execute(
                select(*_account_columns)
                .join(members, members.c.user == accounts.c.key)
                .where(members.c.log == log.id)
                .order_by(accounts.c.key)
            )
            return [_account(row) for row in found]

    def cursor(self, log: LogRow, user: str) -> int | None:
        """The last acknowledged number; None for one who is no member."""
        with self._reading() as db:
            mine = and_(members.c.log == log.id, members.c.user == fold(user))
            return db.execute(select(members.c.cursor).where(mine)).scalar_one_or_none()

    def move(self, cursors: Mapping[tuple[int, str], int], seen: Mapping[str, int]) -> None:
        """Move cursors, by (log id, user key), forwards only; and set when users were last seen, in milliseconds."""
        number: Any = bindparam("number")
        moved: Any = bindparam("moved_log")
        mine = and_(members.c.log == moved, members.c.user == bindparam("moved_user"), members.c.cursor < number)
        with self._transaction():
            if cursors:
                self._writer.execute(
                    update(members).where(mine).values(cursor=number),
                    [{"moved_log": log, "moved_user": user, "number": to} for (log, user), to in cursors.items()],
                )
            if seen:
                self._writer.execute(
                    update(accounts).where(accounts.c.key == bindparam("of")).values(seen=bindparam("at")),
                    [{"of": user, "at": at} for user, at in seen.items()],
                )
        self._wrote(256 * len(cursors))

    def account(self, user: str) -> Account | None:
        """The account of that name in any spelling."""
        with self._reading() as db:
            return self._find_account(db, user)

    def _find_account(self, db: Connection, user: str) -> Account | None:
        found = db.execute(select(*_account_columns).where(accounts.c.key == fold(user))).one_or_none()
        return None if found is None else _account(found)

    def open_account(self, name: str) -> Account:
        """The account of that name, made as a guest's if it is new."""
        return self.account(name) or self._make_account(name)

    def _make_account(self, name: str) -> Account:
        with self._transaction():
            return self._open_account(name)

    def _open_account(self, name: str) -> Account:
        found = self._find_account(self._writer, name)
        if found is None:
            found = Account(fold(name), name, None, 0)
            self._writer.execute(insert(accounts).values({"key": found.key, "name": name, "password": None, "seen": 0}))
        return found

    def set_password(self, user: str, password: str) -> None:
        """Keep the hash of a user's password."""
        with self._transaction():
            self._writer.execute(update(accounts).where(accounts.c.key == fold(user)).values(password=password))


def _log(row: Any) -> LogRow:
    return LogRow(row.id, row.kind, row.key, row.name, row.other, row.topic, row.tail)


def _account(row: Any) -> Account:
    return Account(row.key, row.name, row.password, row.seen)


def _entries(log: LogRow, first: int, rows: Sequence[_EntryRow]) -> list[Entry]:
    """Rows of one log as entries, numbered from `first`."""
    if log.kind == "channel":
        name = log.name
        return [Entry(n, time, sender, text, name, None, id) for n, (time, sender, text, id) in enumerate(rows, first)]
    to = {log.name: log.other, log.other: log.name}
    return [
        Entry(n, time, sender, text, None, to.get(sender, log.name), id)
        for n, (time, sender, text, id) in enumerate(rows, first)
    ]


def _pieces(rows: list[_EntryRow]) -> list[tuple[int, list[_EntryRow]]]:
    """The rows in runs, each with the index of its first."""
    return [(at, rows[at : at + RUN]) for at in range(0, len(rows), RUN)]


def _numbers(
    parts: Sequence[Part], batches: Sequence[Batch], known: dict[tuple[str, str], int] | None
) -> list[Sequence[int]]:
    """For each part its posts' numbers: a plain range where no id is in play."""
    following = {batch.log.id: batch.first for batch in batches}
    numbers: list[Sequence[int]] = []
    given: dict[tuple[str, str], int] = {}
    for part in parts:
        start = following.get(part.log.id, 0)
        if known is None:
            numbers.append(range(start, start + len(part.posts)))
            following[part.log.id] = start + len(part.posts)
            continue
        row: list[int] = []
        for post in part.posts:
            key = (part.sender_key, post.id or "")
            had = (known.get(key) or given.get(key, 0)) if post.id is not None else 0
            if not had:
                had, start = start, start + 1
                if post.id is not None:
                    given[key] = had
            row.append(had)
        numbers.append(row)
        following[part.log.id] = start
    return numbers
