"""Floor 1: the sessions of clients, with their cursors and topic filters."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import Connection, and_, bindparam, delete, func, insert, or_, select, update

from ..contract import Client
from .again import again
from .database import Database, SqlBase
from .schema import accounts, client_cursors, client_filters, clients, ids
from .statement import Statement

_HIGHEST = chr(0x10FFFF)  # no key has it, so `prefix + _HIGHEST` follows every key that begins with the prefix

_FILTER_SIZE = 64  # bytes of the row of a filter and of its index, beside those of the texts
_FILTER_PAGES = 2  # that a change of filters writes at least

# Statements are built once: that takes several times longer than to run one.
_alive = and_(clients.c.key == bindparam("of"), or_(clients.c.until.is_(None), clients.c.until > bindparam("now")))
_ALIVE = Statement(select(clients.c.key, clients.c.expiry, clients.c.until, clients.c.state).where(_alive))
_BEGINNING = (
    select(clients)
    .where(and_(clients.c.key >= bindparam("prefix"), clients.c.key < bindparam("over")))
    .order_by(clients.c.key)
)
_CURSORS = Statement(
    select(client_cursors.c.log, client_cursors.c.cursor).where(client_cursors.c.client == bindparam("of"))
)
_RESUME = update(clients).where(_alive).values(expiry=bindparam("seconds"), until=None, state=bindparam("text"))
_FILTERS = Statement(
    select(client_filters.c.filter, client_filters.c.options).where(client_filters.c.client == bindparam("of"))
)
_EXISTS = select(clients.c.key).where(clients.c.key == bindparam("of")).with_for_update()  # nobody drops it meanwhile
_DROP_FILTER = delete(client_filters).where(
    and_(
        client_filters.c.client == bindparam("of"),
        client_filters.c.hash == bindparam("of_hash"),
        client_filters.c.filter == bindparam("of_filter"),
    )
)
_PART = (
    update(clients)
    .where(and_(clients.c.until.is_(None), clients.c.expiry.is_not(None)))
    .values(until=bindparam("now") + clients.c.expiry * 1000)
)
_OVER = select(clients.c.key).where(and_(clients.c.until.is_not(None), clients.c.until <= bindparam("now")))
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
_DROP_IDS = Statement(
    delete(ids).where(
        and_(ids.c.sender == bindparam("by"), ids.c.id >= bindparam("least"), ids.c.id < bindparam("over"))
    )
)


class SqlClients(SqlBase):
    """The contract of clients."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        text = database.dialect.text
        self._save = database.dialect.insert_or_update(clients)
        self._exists, self._drop_filter = text(_EXISTS), text(_DROP_FILTER)
        self._insert_filter = text(insert(client_filters))

    def client(self, key: str, now: int) -> Client | None:
        """Return the session with that key, None if it has ended by `now`, in milliseconds since 1970."""
        with self._database.reading() as db:
            found = _ALIVE.rows(db, of=key, now=now)
            return Client(*found[0]) if found else None

    def clients(self, prefix: str) -> list[Client]:
        """Return the sessions whose key begins with `prefix`, sorted by key, also those that have ended."""
        with self._database.reading() as db:
            found = db.execute(_BEGINNING, {"prefix": prefix, "over": prefix + _HIGHEST})
            return [Client(row.key, row.expiry, row.until, row.state) for row in found]

    @again
    def save_client(self, client: Client) -> None:
        """Store a session; it replaces the one with the same key, whose cursors and filters stay."""
        row = {"key": client.key, "expiry": client.expiry, "until": client.until, "state": client.state}
        with self._database.transaction() as db:
            db.execute(self._save, row)
        self._database.wrote(len(client.state))

    @again
    def resume_client(self, client: Client, now: int) -> bool:
        """Do the same for a client that is back. Return False and do nothing if its session has ended by `now`."""
        row = {"of": client.key, "seconds": client.expiry, "text": client.state, "now": now}
        with self._database.transaction() as db:
            return db.execute(_RESUME, row).rowcount > 0

    def client_filters(self, key: str) -> dict[str, int]:
        """Return the topic filters of a session, with their options."""
        with self._database.reading() as db:
            return dict(_FILTERS.rows(db, of=key))

    @again
    def change_client_filters(self, key: str, kept: Mapping[str, int], removed: Collection[str]) -> None:
        """Store filters of a session, in place of the same filters with other options, and remove others."""
        hashes = {each: filter_hash(each) for each in (*kept, *removed)}
        with self._database.cursor_transaction() as cursor:
            cursor.execute(self._exists, (key,))
            if cursor.fetchone() is None:
                return
            cursor.executemany(self._drop_filter, [(key, hashed, each) for each, hashed in hashes.items()])
            if kept:
                rows = [(key, hashes[each], each, options) for each, options in kept.items()]
                cursor.executemany(self._insert_filter, rows)
        self._database.wrote(sum([len(key) + len(each) + _FILTER_SIZE for each in hashes]), _FILTER_PAGES)

    @again
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

    @again
    def drop_away_guest(self, key: str) -> bool:
        """Remove a session as `drop_client` does. Return False and do nothing unless its client is away and a guest."""
        with self._database.transaction() as db:
            away = db.execute(_IS_AWAY, {"of": key}).first() is not None and _is_guest(db, key)
            if away:
                _drop(db, [key])
            return away

    @again
    def drop_client(self, key: str) -> None:
        """Remove a session with its cursors, its filters, and the post ids that begin with `/client id/`."""
        with self._database.transaction() as db:
            _drop(db, [key])

    def client_cursors(self, key: str) -> dict[int, int]:
        """Return a session's cursors, by log id."""
        with self._database.reading() as db:
            return dict(_CURSORS.rows(db, of=key))

    @again
    def part_clients(self, now: int) -> None:
        """Treat every client as disconnected: each session without an `until` ends `expiry` seconds after `now`."""
        with self._database.transaction() as db:
            db.execute(_PART, {"now": now})

    @again
    def end_clients(self, now: int) -> None:
        """Remove the sessions that have ended by `now`, in milliseconds since 1970, as `drop_client` does."""
        with self._database.transaction() as db:
            _drop(db, [row.key for row in db.execute(_OVER, {"now": now})])


def filter_hash(topic_filter: str) -> int:
    """Return the number in the column `hash`, of 64 bits. It is stored, so it never changes."""
    return int.from_bytes(hashlib.blake2b(topic_filter.encode(), digest_size=8).digest(), "big", signed=True)


def _user(key: str) -> str:
    return key.split("/", 1)[0]


def _is_guest(db: Connection, key: str) -> bool:
    return db.execute(_PASSWORD, {"of": _user(key)}).scalar() is None


def _drop(db: Connection, keys: Sequence[str]) -> None:
    for key in keys:
        user, client = key.split("/", 1)
        _DROP.rows(db, of=key)
        _DROP_CURSORS.rows(db, of=key)
        _DROP_FILTERS.rows(db, of=key)
        # "0" follows "/" in every encoding, so the range from /client/ to /client0 has all that begins with /client/.
        _DROP_IDS.rows(db, by=user, least=f"/{client}/", over=f"/{client}0")
