"""Floor 1: the sessions of clients, with their cursors and topic filters."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    not_,
    or_,
    select,
    update,
)

from wire import clock

from ..contract import Client
from .database import Database, SqlBase
from .schema import accounts, client_cursors, client_filters, clients, ids
from .statement import Statement

_HIGHEST = chr(0x10FFFF)  # no key has it, so `prefix + _HIGHEST` follows every key that begins with the prefix

_FILTER_SIZE = 64  # bytes of the row of a filter and of its index, beside those of the texts
_FILTER_PAGES = 2  # that a change of filters writes at least

# Statements are built once: that takes several times longer than to run one.
_BEGINNING = (
    select(clients)
    .where(and_(clients.c.key >= bindparam("prefix"), clients.c.key < bindparam("over")))
    .order_by(clients.c.key)
)
_CURSORS = Statement(
    select(client_cursors.c.log, client_cursors.c.cursor).where(client_cursors.c.client == bindparam("of"))
)
_FILTERS = Statement(
    select(client_filters.c.filter, client_filters.c.options).where(client_filters.c.client == bindparam("of"))
)
_is_owner = and_(clients.c.server == bindparam("of_server"), clients.c.connection == bindparam("of_connection"))
# Nobody drops it meanwhile.
_OWNED = select(clients.c.key).where(and_(clients.c.key == bindparam("of"), _is_owner)).with_for_update()
_FOREIGN = Statement(select(clients.c.key).where(and_(clients.c.key == bindparam("of"), not_(_is_owner))))
_DROP_FILTER = delete(client_filters).where(
    and_(
        client_filters.c.client == bindparam("of"),
        client_filters.c.hash == bindparam("of_hash"),
        client_filters.c.filter == bindparam("of_filter"),
    )
)
_RETURN = (
    update(clients)
    .where(
        and_(
            clients.c.server == bindparam("of_server"),
            clients.c.connection.in_(bindparam("of_connections", expanding=True)),
            clients.c.expiry.is_not(None),
        )
    )
    .values(until=None)
)
_COUNT = select(func.count()).select_from(clients)
_own = and_(clients.c.key >= bindparam("prefix"), clients.c.key < bindparam("over"))
_COUNT_OF = _COUNT.where(_own)
_AWAY = select(clients.c.key).where(clients.c.until.is_not(None)).order_by(clients.c.until, clients.c.key)
_AWAY_OF = _AWAY.where(_own).limit(1)
_IS_AWAY = select(clients.c.key).where(and_(clients.c.key == bindparam("of"), clients.c.until.is_not(None)))
_PASSWORD = select(accounts.c.password).where(accounts.c.key == bindparam("of"))
_DROP = Statement(delete(clients).where(clients.c.key == bindparam("of")))
_DROP_CURSORS = Statement(delete(client_cursors).where(client_cursors.c.client == bindparam("of")))
_DROP_FILTERS = Statement(delete(client_filters).where(client_filters.c.client == bindparam("of")))
_own_ids = and_(ids.c.sender == bindparam("by"), ids.c.id >= bindparam("least"), ids.c.id < bindparam("over"))
_DROP_IDS = Statement(delete(ids).where(_own_ids))
_HAS_ANYTHING = Statement(
    select(
        or_(
            exists().where(clients.c.key == bindparam("of")),
            exists().where(client_cursors.c.client == bindparam("of")),
            exists().where(client_filters.c.client == bindparam("of")),
            exists().where(_own_ids),
        )
    )
)


class SqlClients(SqlBase):
    """The contract of clients."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        text = database.dialect.text
        self._save = database.dialect.insert_or_update(clients)
        self._owned, self._drop_filter = text(_OWNED), text(_DROP_FILTER)
        self._build(database.dialect.clock, database.dialect.unserved)
        self._insert_filter = text(insert(client_filters))

    def _build(self, of_all: ColumnElement[int] | None, unserved: ColumnElement[bool] | None) -> None:
        """Build the statements that use the time."""
        now: Any = bindparam("now", type_=BigInteger)
        now = now if of_all is None else func.coalesce(now, of_all)
        self._clock = None if of_all is None else select(of_all)
        alive = and_(clients.c.key == bindparam("of"), or_(clients.c.until.is_(None), clients.c.until > now))
        self._alive = Statement(select(clients).where(alive))
        owner: dict[str, Any] = {"server": bindparam("by_server"), "connection": bindparam("by_connection")}
        new: dict[str, Any] = {"expiry": bindparam("seconds"), "state": bindparam("text")}
        self._resume = update(clients).where(alive).values(until=None, **new, **owner)
        mine = and_(clients.c.key == bindparam("of"), _is_owner)
        self._part = update(clients).where(mine).values(until=now + bindparam("length", type_=BigInteger), **new)
        gone = and_(clients.c.until.is_(None), clients.c.expiry.is_not(None))
        parted = update(clients).values(until=now + clients.c.expiry * 1000)
        self._part_server = parted.where(and_(gone, clients.c.server == bindparam("of_server")))
        self._part_unserved = parted.where(gone if unserved is None else and_(gone, unserved))
        over = and_(clients.c.until.is_not(None), clients.c.until <= now - bindparam("spare", type_=BigInteger))
        self._over = select(clients.c.key).where(over)

    def _at(self, now: int | None) -> int | None:
        """Return the time for a statement: None if the database has a clock for all servers, and that counts."""
        return clock.now() if now is None and self._clock is None else now

    def _has_name(self, db: Connection, server: int, connection: int) -> bool:
        """Return True if a connection holds its name, and keep it from losing the name in this transaction."""
        holding = self._database.dialect.holding
        return not holding or not server or db.exec_driver_sql(holding, (server, connection)).first() is not None

    def clock(self) -> int:
        """Return the time by the store's clock."""
        if self._clock is None:
            return clock.now()
        with self._database.reading() as db:
            return db.execute(self._clock).scalar_one()

    def client(self, key: str, now: int | None = None) -> Client | None:
        """Return the session with that key, None if it has ended by `now`."""
        with self._database.reading() as db:
            found = self._alive.rows(db, of=key, now=self._at(now))
            return Client(*found[0]) if found else None

    def clients(self, prefix: str) -> list[Client]:
        """Return the sessions whose key begins with `prefix`, sorted by key, also those that have ended."""
        with self._database.reading() as db:
            return [Client(*row) for row in db.execute(_BEGINNING, {"prefix": prefix, "over": prefix + _HIGHEST})]

    def save_client(self, client: Client) -> bool:
        """Store a session; it replaces the one with the same key, whose cursors and filters stay."""
        row = {column.name: getattr(client, column.name) for column in clients.columns}
        with self._database.transaction() as db:
            if not self._has_name(db, client.server, client.connection):
                return False
            db.execute(self._save, row)
        self._database.wrote(len(client.state))
        return True

    def resume_client(self, client: Client, now: int | None = None) -> bool:
        """Do the same for a client that is back. Return False and do nothing also if its session has ended."""
        row = {"of": client.key, "seconds": client.expiry, "text": client.state, "now": self._at(now)}
        row |= {"by_server": client.server, "by_connection": client.connection}
        with self._database.transaction() as db:
            if not self._has_name(db, client.server, client.connection):
                return False
            return db.execute(self._resume, row).rowcount > 0

    def part_client(self, client: Client, now: int | None = None) -> bool:
        """Store that the connection of a session has ended."""
        row = {"of": client.key, "seconds": client.expiry, "text": client.state, "now": self._at(now)}
        row |= {"length": None if client.expiry is None else client.expiry * 1000}
        row |= {"of_server": client.server, "of_connection": client.connection}
        with self._database.transaction() as db:
            parted = db.execute(self._part, row).rowcount > 0
        self._database.wrote(len(client.state))
        return parted

    def client_filters(self, key: str) -> dict[str, int]:
        """Return the topic filters of a session, with their options."""
        with self._database.reading() as db:
            return dict(_FILTERS.rows(db, of=key))

    def change_client_filters(
        self, key: str, kept: Mapping[str, int], removed: Collection[str], server: int = 0, connection: int = 0
    ) -> None:
        """Store filters of a session, in place of the same filters with other options, and remove others."""
        hashes = {each: filter_hash(each) for each in (*kept, *removed)}
        with self._database.cursor_transaction() as cursor:
            cursor.execute(self._owned, (key, server, connection))
            if cursor.fetchone() is None:
                return
            cursor.executemany(self._drop_filter, [(key, hashed, each) for each, hashed in hashes.items()])
            if kept:
                rows = [(key, hashes[each], each, options) for each, options in kept.items()]
                cursor.executemany(self._insert_filter, rows)
        self._database.wrote(sum([len(key) + len(each) + _FILTER_SIZE for each in hashes]), _FILTER_PAGES)

    def make_room(self, key: str, per_user: int, in_all: int) -> Sequence[str] | None:
        """Make room for a new session with that key. Return the keys of those removed; None if it has no room."""
        prefix = f"{_user(key)}/"
        own = {"prefix": prefix, "over": prefix + _HIGHEST}
        removed: list[str] = []
        with self._database.transaction() as db:
            if per_user and db.execute(_COUNT_OF, own).scalar_one() >= per_user:
                oldest = db.execute(_AWAY_OF, own).scalars().first()
                if oldest is None:
                    return None
                removed.append(oldest)
            if in_all and db.execute(_COUNT).scalar_one() - len(removed) >= in_all:
                away = db.execute(_AWAY).scalars()
                oldest = next((each for each in away if each not in removed and _is_guest(db, each)), None)
                if oldest is None:
                    return None
                removed.append(oldest)
            _drop(db, removed)
            return removed

    def drop_away_guest(self, key: str) -> bool:
        """Remove a session as `drop_client` does. Return False and do nothing unless its client is away and a guest."""
        with self._database.transaction() as db:
            away = db.execute(_IS_AWAY, {"of": key}).first() is not None and _is_guest(db, key)
            if away:
                _drop(db, [key])
            return away

    def drop_client(self, key: str, server: int = 0, connection: int = 0) -> bool:
        """Remove a session with its cursors, its filters, and the post ids that begin with `/client id/`."""
        with self._database.reading() as db:  # nearly every client that logs in for a clean session has nothing
            if not _HAS_ANYTHING.rows(db, of=key, **_range_of_ids(key))[0][0]:
                return self._has_name(db, server, connection)
        with self._database.transaction() as db:
            has_name = self._has_name(db, server, connection)
            if has_name:
                _drop(db, [key])
            return has_name

    def end_client(self, key: str, server: int, connection: int) -> None:
        """Do the same after that connection, unless the session exists and has another owner."""
        with self._database.transaction() as db:
            if not _FOREIGN.rows(db, of=key, of_server=server, of_connection=connection):
                _drop(db, [key])

    def client_cursors(self, key: str) -> dict[int, int]:
        """Return a session's cursors, by log id."""
        with self._database.reading() as db:
            return dict(_CURSORS.rows(db, of=key))

    def part_clients(self, server: int | None = None, now: int | None = None) -> None:
        """Treat the clients of a server, or of all that do not live, as disconnected."""
        with self._database.transaction() as db:
            if server is None:
                db.execute(self._part_unserved, {"now": self._at(now)})
            else:
                db.execute(self._part_server, {"now": self._at(now), "of_server": server})

    def return_clients(self, server: int, connections: Collection[int]) -> None:
        """Treat clients as connected again whose server was taken for dead."""
        with self._database.transaction() as db:
            db.execute(_RETURN, {"of_server": server, "of_connections": list(connections)})

    def end_clients(self, now: int | None = None, spare: int = 0) -> None:
        """Remove the sessions that have ended `spare` milliseconds before `now`, as `drop_client` does."""
        with self._database.transaction() as db:
            _drop(db, [row.key for row in db.execute(self._over, {"now": self._at(now), "spare": spare})])


def filter_hash(topic_filter: str) -> int:
    """Return the number in the column `hash`, of 64 bits. It is stored, so it never changes."""
    return int.from_bytes(hashlib.blake2b(topic_filter.encode(), digest_size=8).digest(), "big", signed=True)


def _user(key: str) -> str:
    return key.split("/", 1)[0]


def _is_guest(db: Connection, key: str) -> bool:
    return db.execute(_PASSWORD, {"of": _user(key)}).scalar() is None


def _drop(db: Connection, keys: Sequence[str]) -> None:
    for key in keys:
        _DROP.rows(db, of=key)
        _DROP_CURSORS.rows(db, of=key)
        _DROP_FILTERS.rows(db, of=key)
        _DROP_IDS.rows(db, **_range_of_ids(key))


def _range_of_ids(key: str) -> dict[str, str]:
    """Return the sender of a client's posts, and the range of their ids, which begin with `/client/`."""
    user, client = key.split("/", 1)
    return {"by": user, "least": f"/{client}/", "over": f"/{client}0"}  # "0" follows "/" in every encoding
