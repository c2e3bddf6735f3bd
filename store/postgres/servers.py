"""Floor 1: the servers that use one PostgreSQL database: notices, who holds which name, and who has which duty."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Collection
from typing import Any

import psycopg
from sqlalchemy import Connection

from ..contract import MESSAGE, Durability, Held, Holding, ServerRow, StoreAway, StoreError
from ..sql import SqlBase
from .address import Address
from .connection import LimitedConnection, connect
from .database import PostgresDatabase
from .duties import key_of
from .errors import unreachable
from .listener import CHANNEL, HOLDER, INTRODUCE, LIVES, PULSE, REFERENCE, TEXT, Listener
from .wills import PostgresWills

_OTHERS = f"SELECT id, name, address, fingerprint, secret, folder FROM servers WHERE id <> %s AND {LIVES} ORDER BY id"
_NUMBERS = "SELECT id FROM servers ORDER BY id"
_FOLDER = "INSERT INTO folders (id, server) VALUES (%s, %s) ON CONFLICT (id) DO UPDATE SET server = excluded.server"
_LAST_SERVER = "SELECT server FROM folders WHERE id = %s"
_NOTIFY = f"SELECT pg_notify('{CHANNEL}', %s)"
# A message that is too large for a notification waits in a row for whoever hears of it.
_TELL_LARGE = (
    "WITH told AS (INSERT INTO server_messages (message) VALUES (%s) RETURNING id)"
    f" SELECT pg_notify('{CHANNEL}', %s || id) FROM told"
)
_DROP_LARGE = "DELETE FROM server_messages WHERE told < now() - interval '1 minute'"

_COLUMNS = "server, connection, key, name, transport, address, since, token, client"
_ACCOUNT = "SELECT password IS NOT NULL FROM accounts WHERE key = %s"
_OF_NAME = f"SELECT {_COLUMNS} FROM holdings WHERE key = %s"
_ALL = f"SELECT {_COLUMNS} FROM holdings"
_INSERT = (
    f"INSERT INTO holdings ({_COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)"
    " RETURNING EXISTS (SELECT FROM wills WHERE wills.client = %s)"
)
_REMOVE = "DELETE FROM holdings WHERE server = %s AND connection = ANY(%s::bigint[])"
_ELSEWHERE = (
    "SELECT holdings.key, CASE WHEN accounts.password IS NULL THEN NULL ELSE holdings.client END"
    " FROM holdings JOIN accounts ON accounts.key = holdings.key"
    " WHERE holdings.server <> %s AND holdings.key = ANY(%s::text[])"
)


class PostgresServers(SqlBase):
    """See `Servers`."""

    alone = False

    def __init__(self, database: PostgresDatabase, address: Address, durability: Durability) -> None:
        super().__init__(database)
        self._own = database.belong_to
        self._address = address
        self._durability = durability
        self.secret = secrets.token_urlsafe(32)
        self.wills = PostgresWills(database, lambda: self.here)
        self._listener = Listener(address, self._connect)
        self._sending = threading.Lock()  # held by the thread that uses the sender
        self._sender: LimitedConnection | None = None

    def _connect(self) -> LimitedConnection:
        return connect(self._address, self._durability)

    @property
    def here(self) -> int:
        """The number of this server, 0 before `start`."""
        return self._listener.here

    def start(self, hear: Callable[[int, str], None], gone: Callable[[int], None], missed: Callable[[], None]) -> None:
        """Be one of the servers from now on; clear up after those that have died before."""
        self._listener.start(hear, gone, missed)
        self._own(self.here)

    def introduce(self, name: str, address: str, fingerprint: str) -> None:
        """Store what the others are to know of this server."""
        folder = self._listener.introduced[-1]
        self._introduce(name, address, fingerprint, folder)
        if folder:
            with self._database.transaction() as db:
                db.exec_driver_sql(_FOLDER, (folder, name))

    def _introduce(self, name: str, address: str, fingerprint: str, folder: str) -> None:
        self._listener.introduced = (name, address, fingerprint, self.secret, folder)
        with self._database.transaction() as db:
            db.exec_driver_sql(INTRODUCE, (self.here, *self._listener.introduced))

    def use_folder(self, folder: str) -> None:
        """Store which data folder this server uses."""
        self._introduce("", "", "", folder)

    def last_server(self, folder: str) -> str:
        """Return the name of the server that has used a folder last, empty if it is not known."""
        with self._database.reading() as db:
            found = db.exec_driver_sql(_LAST_SERVER, (folder,)).scalar()
        return found or ""

    def others(self) -> list[ServerRow]:
        """Return the other servers that live, sorted by number."""
        with self._database.reading() as db:
            return [ServerRow(*row) for row in db.exec_driver_sql(_OTHERS, (self.here,))]

    def numbers(self) -> list[int]:
        """Return the numbers of the servers that are not gone, this one among them."""
        with self._database.reading() as db:
            return [number for (number,) in db.exec_driver_sql(_NUMBERS)]

    def tell(self, message: str) -> None:
        """Send a message to all other servers, by a connection that does nothing else."""
        self._tell(TEXT, message)

    def pulse(self, message: str) -> None:
        """Send a short message to all servers."""
        self._tell(PULSE, message)

    def _tell(self, kind: str, message: str) -> None:
        if not self._listener.connected:
            raise StoreAway("The database is away.")  # else the others would not hear it, since this one is gone
        with self._sending:
            try:
                if self._sender is None or not self._sender.is_usable():
                    self._sender = self._connect()
                self._send(self._sender, kind, message)
            except psycopg.Error as error:
                if self._sender is not None:
                    self._sender.close()
                    self._sender = None
                raise StoreError(str(unreachable(self._address, error))) from None  # of this connection alone, perhaps

    def _send(self, sender: LimitedConnection, kind: str, message: str) -> None:
        if len(message.encode()) <= MESSAGE:
            sender.execute(_NOTIFY, (f"{self.here} {kind}{message}",))
        else:
            sender.execute(_TELL_LARGE, (message, f"{self.here} {REFERENCE}"))
            sender.execute(_DROP_LARGE)

    def hold(self, holding: Holding, given: str | None, *, proven: bool, own: Collection[int]) -> Held:
        """Give a connection the name that it asks for, if it may have it."""
        with self._database.transaction() as db:
            account = db.exec_driver_sql(_ACCOUNT, (holding.key,)).one_or_none()
            if account is None:
                return Held("forgotten")
            registered: bool = account[0]
            found = _holdings(db, _OF_NAME, holding.key)
            stale = [each for each in found if each.server == self.here and each.connection not in own]
            kept = [each for each in found if each not in stale]
            matched = given is not None and any(each.token == given for each in kept)
            if registered and not proven and not matched:
                return Held("registered")
            if not registered and kept and not matched and not any(map(holding.may_replace, kept)):
                return Held("taken")
            replaced = [each for each in kept if not registered or holding.is_client_of(each)]
            for each in (*stale, *replaced):
                db.exec_driver_sql(_REMOVE, (each.server, [each.connection]))
            token = given if matched and given is not None else holding.token
            has_wills = _insert(db, self.here, holding, token)  # those that the replaced ones have armed, too
        return Held("held", tuple(replaced), matched, has_wills)

    def hold_again(self, holdings: Collection[Holding]) -> list[int]:
        """Restore holdings of this server; return the connections whose names others have now."""
        lost: list[int] = []
        with self._database.transaction() as db:
            found = db.exec_driver_sql(_ELSEWHERE, (self.here, [each.key for each in holdings]))
            taken = {(key, client) for key, client in found if client != ""}  # None: by a guest, with any client
            there = {each.connection for each in _holdings(db, _ALL) if each.server == self.here}
            for each in holdings:
                if not taken.isdisjoint({(each.key, None), (each.key, each.client)}):
                    lost.append(each.connection)
                elif each.connection not in there:
                    _insert(db, self.here, each, each.token)
        return lost

    def release(self, connections: Collection[int]) -> None:
        """Remove holdings of this server."""
        with self._database.cursor_transaction() as cursor:
            cursor.execute(_REMOVE, (self.here, list(connections)))

    def holdings(self, key: str | None = None) -> list[Holding]:
        """Return all holdings of all servers, or those of one name."""
        with self._database.reading() as db:
            return _holdings(db, _ALL) if key is None else _holdings(db, _OF_NAME, key)

    def share(self, duty: str, changed: Callable[[bool], None]) -> None:
        """Have a duty done by one of the servers that share it."""
        self._listener.share(duty, changed)

    def give_up(self, duty: str) -> None:
        """Leave a duty to the others from now on."""
        self._listener.give_up(duty)

    def on_duty(self, duty: str) -> ServerRow | None:
        """Return the server that has a duty; None if none has it at this moment."""
        with self._database.reading() as db:
            row = db.exec_driver_sql(HOLDER, (key_of(duty),)).first()
            return None if row is None else ServerRow(*row)

    def close(self) -> None:
        """Remove this server's holdings, and tell the others that it is gone."""
        try:
            self._listener.close()
        finally:
            with self._sending:
                if self._sender is not None:
                    self._sender.close()
                    self._sender = None


def _holdings(db: Connection, query: str, *values: Any) -> list[Holding]:
    return [Holding(*row) for row in db.exec_driver_sql(query, values)]


def _insert(db: Connection, here: int, holding: Holding, token: str) -> bool:
    """Insert a holding. Return True if there are wills of its client."""
    values = (holding.connection, holding.key, holding.name, holding.transport, holding.address, holding.since, token)
    found = db.exec_driver_sql(_INSERT, (here, *values, holding.client, holding.client_key))
    return bool(found.scalar_one())
