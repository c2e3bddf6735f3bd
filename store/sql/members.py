"""Floor 1: the logs and their members, and the cursors of members and clients."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, and_, bindparam, delete, func, insert, or_, select, update

from wire.clock import now
from wire.names import fold

from ..contract import Account, Kind, LogRow, Membership, private_key
from .accounts import ACCOUNT_COLUMNS, make_account, open_account
from .database import Database, SqlBase
from .schema import accounts, client_cursors, logs, members, runs
from .statement import Statement

_last = select(func.coalesce(func.max(runs.c.last), 0)).where(runs.c.log == logs.c.id).correlate(logs)
_tail = _last.scalar_subquery()
_log_columns = (logs.c.id, logs.c.kind, logs.c.key, logs.c.name, logs.c.other, logs.c.topic, _tail.label("tail"))

# Statements are built once: that takes several times longer than to run one.
LOG_ROWS = select(*_log_columns)
_CHANNELS = LOG_ROWS.where(logs.c.kind == "channel")
_LOG = LOG_ROWS.where(logs.c.id == bindparam("of"))
_LOGS = LOG_ROWS.where(logs.c.id.in_(bindparam("of", expanding=True)))
_FIND_LOG = LOG_ROWS.where(and_(logs.c.kind == bindparam("of_kind"), logs.c.key == bindparam("of")))
_INSERT_LOG = insert(logs).returning(logs.c.id)
_SET_TOPIC = update(logs).where(logs.c.id == bindparam("of")).values(topic=bindparam("to"), touched=bindparam("at"))
_TOUCH = update(logs).where(logs.c.id == bindparam("of")).values(touched=bindparam("at"))
_TAIL = select(_tail).where(logs.c.id == bindparam("of"))

_is_member = and_(members.c.log == bindparam("of_log"), members.c.user == bindparam("of"))
_CURSOR = Statement(select(members.c.cursor).where(_is_member))
_JOIN = insert(members).values(
    log=bindparam("of_log"),
    user=bindparam("of"),
    cursor=bindparam("at"),
    joined=select(func.coalesce(func.max(members.c.joined), 0) + 1)
    .where(members.c.user == bindparam("of"))
    .scalar_subquery(),
)
_LEAVE = delete(members).where(_is_member)
_MEMBERSHIPS = Statement(
    select(*_log_columns, members.c.cursor)
    .join(members, members.c.log == logs.c.id)
    .where(members.c.user == bindparam("of"))
    .where(or_(logs.c.kind == "channel", _tail > members.c.cursor))
    .order_by(members.c.joined)
)
_MEMBERS = (
    select(*ACCOUNT_COLUMNS)
    .join(members, members.c.user == accounts.c.key)
    .where(and_(members.c.log == bindparam("of_log"), members.c.user > bindparam("after")))
    .order_by(members.c.user)
    .limit(bindparam("most"))
)
_ALL = 2**53  # more than any log has members
_MEMBER_COUNTS = (
    select(logs.c.id, func.count())
    .join(members, members.c.log == logs.c.id)
    .where(logs.c.kind == "channel")
    .group_by(logs.c.id)
)

_MEMBER_COUNTS_OF = _MEMBER_COUNTS.where(logs.c.id.in_(bindparam("of", expanding=True)))
_JOINED_CHANNELS = (
    select(members.c.user, members.c.log)
    .join(logs, logs.c.id == members.c.log)
    .where(and_(logs.c.kind == "channel", members.c.user.in_(bindparam("of", expanding=True))))
    .order_by(members.c.user, members.c.joined)
)
_UNREAD_PRIVATE_LOGS = (
    select(logs.c.id)
    .join(members, members.c.log == logs.c.id)
    .where(and_(logs.c.kind == "direct", members.c.user.in_(bindparam("of", expanding=True)), _tail > members.c.cursor))
)

_AT_ONCE = 500  # logs or users in one query
_CURSOR_SIZE = 256  # bytes that a moved cursor writes, as many of them share a page


class SqlMembers(SqlBase):
    """The contract of members."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        text = database.dialect.text
        number: Any = bindparam("number")
        mine = and_(members.c.log == bindparam("of_log"), members.c.user == bindparam("of"), members.c.cursor < number)
        self._move_member = text(update(members).where(mine).values(cursor=number))
        self._move_client = text(database.dialect.insert_or_update(client_cursors, growing="cursor"))
        self._set_seen = text(update(accounts).where(accounts.c.key == bindparam("of")).values(seen=bindparam("at")))

    # Logs

    def channels(self) -> list[LogRow]:
        """Return every channel."""
        with self._database.reading() as db:
            return [make_log_row(row) for row in db.execute(_CHANNELS)]

    def log(self, id: int) -> LogRow | None:
        """Return the log with that id, None if it does not exist."""
        with self._database.reading() as db:
            found = db.execute(_LOG, {"of": id}).one_or_none()
            return None if found is None else make_log_row(found)

    def logs(self, ids: Collection[int]) -> list[LogRow]:
        """Return the logs with those ids, without those that do not exist."""
        with self._database.reading() as db:
            return [make_log_row(row) for some in _portions(ids) for row in db.execute(_LOGS, {"of": some})]

    def open_channel(self, name: str, opener: str = "") -> LogRow:
        """Return the channel of that name; create it for the user `opener` if it does not exist."""
        with self._database.transaction() as db:
            return self._open_log(db, "channel", fold(name), name, "", opener)

    def open_private_log(self, one: str, other: str) -> LogRow:
        """Return the private log of two users. Create it, with both as members, and their accounts if missing.

        Then `one` is who has opened it.
        """
        with self._database.transaction() as db:
            users = (open_account(db, one), open_account(db, other))
            first, second = sorted(users, key=lambda user: user.key)
            log = self._open_log(db, "direct", private_key(one, other), first.name, second.name, one)
            for user in {first.key, second.key}:
                self._join(db, log, user, 0)
            return log

    def find_private_log(self, one: str, other: str) -> LogRow | None:
        """Return the private log of two users, None if it does not exist."""
        with self._database.reading() as db:
            return _find_log(db, "direct", private_key(one, other))

    def _open_log(self, db: Connection, kind: Kind, key: str, name: str, other: str, opener: str) -> LogRow:
        found = _find_log(db, kind, key)
        if found is None:
            row: dict[str, Any] = {"kind": kind, "key": key, "name": name, "other": other, "topic": ""}
            row |= {"opener": fold(opener), "touched": now()}
            id = db.execute(_INSERT_LOG, row).scalar_one()
            found = LogRow(id, kind, key, name, other, "", 0)
        return found

    def set_topic(self, log: LogRow, topic: str) -> None:
        """Store a channel's topic."""
        with self._database.transaction() as db:
            db.execute(_SET_TOPIC, {"of": log.id, "to": topic, "at": now()})

    # Members

    def join(self, log: LogRow, user: str) -> tuple[int, bool]:
        """Make a user a member with the cursor at the tail; a member keeps the present cursor.

        Return the cursor, and True if the user was not a member before.
        """
        with self._database.transaction() as db:
            tail = db.execute(_TAIL, {"of": log.id}).scalar_one()
            return self._join(db, log, fold(user), tail)

    def _join(self, db: Connection, log: LogRow, key: str, cursor: int) -> tuple[int, bool]:
        found = _CURSOR.rows(db, of_log=log.id, of=key)
        if found:
            return cast("int", found[0][0]), False
        db.execute(_JOIN, {"of_log": log.id, "of": key, "at": cursor})
        return cursor, True

    def leave(self, log: LogRow, user: str) -> bool:
        """End a membership. Return False and do nothing if the user is not a member."""
        with self._database.transaction() as db:
            left = db.execute(_LEAVE, {"of_log": log.id, "of": fold(user)}).rowcount > 0
            if left:
                db.execute(_TOUCH, {"of": log.id, "at": now()})
            return left

    def memberships(self, user: str) -> list[Membership]:
        """Return a user's channels and the private logs with entries above the cursor, in the order of joining."""
        with self._database.reading() as db:
            found = _MEMBERSHIPS.rows(db, of=fold(user))
            return [Membership(LogRow(*row[:-1]), row[-1]) for row in found]

    def members(self, log: LogRow, after: str = "", limit: int | None = None) -> list[Account]:
        """Return the accounts of a log's members who follow the name `after`, sorted by key; at most `limit`."""
        values = {"of_log": log.id, "after": fold(after), "most": _ALL if limit is None else limit}
        with self._database.reading() as db:
            return [make_account(row) for row in db.execute(_MEMBERS, values)]

    def member_counts(self, ids: Collection[int] | None = None) -> dict[int, int]:
        """Return the number of members of each channel by its log id, without the channels that have no member.

        With `ids`, only those of the channels with these ids.
        """
        with self._database.reading() as db:
            if ids is None:
                return {row[0]: row[1] for row in db.execute(_MEMBER_COUNTS)}
            found = (row for some in _portions(ids) for row in db.execute(_MEMBER_COUNTS_OF, {"of": some}))
            return {row[0]: row[1] for row in found}

    def joined_channels(self, users: Collection[str]) -> dict[str, list[int]]:
        """Return the log ids of the channels of each user, by key, without the users who are in no channel."""
        joined: dict[str, list[int]] = {}
        with self._database.reading() as db:
            for some in _portions(users):
                for user, log in db.execute(_JOINED_CHANNELS, {"of": some}):
                    joined.setdefault(user, []).append(log)
        return joined

    def unread_private_logs(self, users: Collection[str]) -> list[int]:
        """Return the ids of the private logs with entries above the cursor of one of these users, by key."""
        with self._database.reading() as db:
            found = [id for some in _portions(users) for (id,) in db.execute(_UNREAD_PRIVATE_LOGS, {"of": some})]
        return sorted(set(found))

    # Cursors

    def cursor(self, log: LogRow, user: str) -> int | None:
        """Return the number of the last entry that the user acknowledged; None if the user is not a member."""
        with self._database.reading() as db:
            found = _CURSOR.rows(db, of_log=log.id, of=fold(user))
            return cast("int", found[0][0]) if found else None

    def move(self, cursors: Mapping[tuple[int, str], int], seen: Mapping[str, int]) -> None:
        """Move cursors forwards and set when users were last seen, in one transaction.

        `cursors` maps (log id, user key or client key) to a number; a cursor that is further already stays, and so
        does that of a user who is not a member. `seen` maps user keys to milliseconds since 1970.
        """
        ordered = sorted(cursors.items())  # two servers that lock the same rows do so in the same order
        of_users = [(to, log, key, to) for (log, key), to in ordered if "/" not in key]
        of_clients = [(key, log, to) for (log, key), to in ordered if "/" in key]
        with self._database.cursor_transaction() as cursor:
            if of_users:
                cursor.executemany(self._move_member, of_users)
            if of_clients:
                cursor.executemany(self._move_client, of_clients)
            if seen:
                cursor.executemany(self._set_seen, [(at, user) for user, at in sorted(seen.items())])
        self._database.wrote(_CURSOR_SIZE * len(cursors))


_T = TypeVar("_T")


def _portions(values: Collection[_T]) -> Iterator[list[_T]]:
    """Yield the values in lists that one query takes."""
    left = iter(values)
    while some := list(islice(left, _AT_ONCE)):
        yield some


def _find_log(db: Connection, kind: Kind, key: str) -> LogRow | None:
    found = db.execute(_FIND_LOG, {"of_kind": kind, "of": key}).one_or_none()
    return None if found is None else make_log_row(found)


def make_log_row(row: Any) -> LogRow:
    """Return the log in a row of LOG_ROWS."""
    return LogRow(row.id, row.kind, row.key, row.name, row.other, row.topic, row.tail)
