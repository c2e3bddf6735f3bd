"""Floor 1: everything but the entries: which logs there are, who is in them and how far, accounts, clients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from sqlalchemy import Connection, Dialect, and_, bindparam, delete, func, insert, or_, select, update
from sqlalchemy.dialects.sqlite import insert as insert_or_update

from store.contract import Account, Client, Kind, LogRow, Membership, direct_key
from wire.names import fold

from .database import SqlBase
from .schema import accounts, client_cursors, clients, ids, logs, members, runs

_last = select(func.coalesce(func.max(runs.c.last), 0)).where(runs.c.log == logs.c.id).correlate(logs)
_tail = _last.scalar_subquery()
_log_columns = (logs.c.id, logs.c.kind, logs.c.key, logs.c.name, logs.c.other, logs.c.topic, _tail.label("tail"))
_account_columns = (accounts.c.key, accounts.c.name, accounts.c.password, accounts.c.seen)


class SqlPeople(SqlBase):
    """The half of the contract that is about logs as a whole, members, accounts and clients."""

    def __init__(self, dialect: Dialect) -> None:
        super().__init__(dialect)
        compiled = self._compiled
        number: Any = bindparam("number")
        mine = and_(members.c.log == bindparam("of_log"), members.c.user == bindparam("of"), members.c.cursor < number)
        self._move_member = compiled(update(members).where(mine).values(cursor=number))
        moving = insert_or_update(client_cursors)
        further = func.max(client_cursors.c.cursor, moving.excluded.cursor)
        self._move_client = compiled(
            moving.on_conflict_do_update(index_elements=["client", "log"], set_={"cursor": further})
        )

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

    def log(self, id: int) -> LogRow | None:
        """The log of that id."""
        with self._reading() as db:
            found = db.execute(select(*_log_columns).where(logs.c.id == id)).one_or_none()
            return None if found is None else _log(found)

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
            row = {"kind": kind, "key": key, "name": name, "other": other, "topic": ""}
            id = self._writer.execute(insert(logs).values(row).returning(logs.c.id)).scalar_one()
            found = LogRow(id, kind, key, name, other, "", 0)
        return found

    def set_topic(self, log: LogRow, topic: str) -> None:
        """Keep a channel's topic."""
        with self._transaction():
            self._writer.execute(update(logs).where(logs.c.id == log.id).values(topic=topic))

    def join(self, log: LogRow, user: str) -> int:
        """Make a user a member, with the cursor at the tail; answer with the cursor. A member keeps theirs."""
        with self._transaction():
            tail = self._writer.execute(select(_tail).where(logs.c.id == log.id)).scalar_one()
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
                .where(or_(logs.c.kind == "channel", _tail > members.c.cursor))
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
        """Move cursors, by (log id, user key or client key), forwards only; and set when users were last seen."""
        users = [(to, log, key, to) for (log, key), to in cursors.items() if "/" not in key]
        of_clients = [(key, log, to) for (log, key), to in cursors.items() if "/" in key]
        with self._transaction() as cursor:
            if users:
                cursor.executemany(self._move_member, users)
            if of_clients:
                cursor.executemany(self._move_client, of_clients)
            if seen:
                self._writer.execute(
                    update(accounts).where(accounts.c.key == bindparam("of")).values(seen=bindparam("at")),
                    [{"of": user, "at": at} for user, at in seen.items()],
                )
        self._wrote(256 * len(cursors))

    def client(self, key: str, now: int) -> Client | None:
        """The client of that key, unless its time is over; `now` in milliseconds since 1970."""
        alive = or_(clients.c.until.is_(None), clients.c.until > now)
        with self._reading() as db:
            found = db.execute(select(clients).where(and_(clients.c.key == key, alive))).one_or_none()
            return None if found is None else Client(found.key, found.expiry, found.until, found.state)

    def clients(self, prefix: str) -> list[Client]:
        """The clients whose key begins so, sorted by key."""
        begins = and_(clients.c.key >= prefix, clients.c.key < prefix + chr(0x10FFFF))
        with self._reading() as db:
            found = db.execute(select(clients).where(begins).order_by(clients.c.key))
            return [Client(row.key, row.expiry, row.until, row.state) for row in found]

    def save_client(self, client: Client) -> None:
        """Keep a client's session, or what has changed of it."""
        row = {"key": client.key, "expiry": client.expiry, "until": client.until, "state": client.state}
        with self._transaction():
            self._writer.execute(
                insert_or_update(clients).values(row).on_conflict_do_update(index_elements=["key"], set_=row)
            )

    def drop_client(self, key: str) -> None:
        """End a client's session: its cursors, and the ids of the door's own that it has left."""
        with self._transaction():
            self._drop_clients([key])

    def _drop_clients(self, keys: Sequence[str]) -> None:
        if not keys:
            return
        split = [(key, *key.split("/", 1)) for key in keys]
        # The client's own ids begin with /client id/, and "0" follows "/".
        rows = [{"of": key, "by": user, "least": f"/{client}/", "over": f"/{client}0"} for key, user, client in split]
        own = and_(ids.c.sender == bindparam("by"), ids.c.id >= bindparam("least"), ids.c.id < bindparam("over"))
        for statement in (
            delete(clients).where(clients.c.key == bindparam("of")),
            delete(client_cursors).where(client_cursors.c.client == bindparam("of")),
            delete(ids).where(own),
        ):
            self._writer.execute(statement, rows)

    def client_cursors(self, key: str) -> dict[int, int]:
        """A client's cursors, by log id."""
        with self._reading() as db:
            found = db.execute(
                select(client_cursors.c.log, client_cursors.c.cursor).where(client_cursors.c.client == key)
            )
            return {row.log: row.cursor for row in found}

    def part_clients(self, now: int) -> None:
        """Nobody is connected: the time of every session runs, from `now` if it did not yet."""
        connected = and_(clients.c.until.is_(None), clients.c.expiry.is_not(None))
        with self._transaction():
            self._writer.execute(update(clients).where(connected).values(until=now + clients.c.expiry * 1000))

    def end_clients(self, now: int) -> None:
        """Drop the sessions whose time is over."""
        over = and_(clients.c.until.is_not(None), clients.c.until <= now)
        with self._transaction():
            keys = [row.key for row in self._writer.execute(select(clients.c.key).where(over))]
            self._drop_clients(keys)

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
