"""Floor 1: the PostgreSQL database: a few connections that threads use in turn, and what happens when one is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from sqlalchemy import BigInteger, Boolean, Connection, Engine, create_engine, func, inspect, literal_column
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from reporting import events, report

from ..contract import Durability, StoreAway, StoreError
from ..sql import Database, SqlDialect, Turns, migrate
from .address import Address
from .append import PostgresAppend
from .connection import BELONG, LimitedConnection, NoAnswer, connect
from .errors import is_lost, store_error, unreachable
from .migrations import STEPS

_READERS = 4
_APPENDERS = 2  # an append, and beside it the ranges of an upload
ALONE = 0x5061_7274_796C_696E  # of all servers' transactions, in this database: "Partylin"
_BEGIN_ALONE = f"BEGIN; SELECT pg_advisory_xact_lock({ALONE}); SELECT pg_current_xact_id()::text"
_STATUS = "SELECT pg_xact_status(%s::text::xid8)"
_END_BACKEND = "SELECT pg_terminate_backend(%s::integer, 3000)"
CLOCK = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
_SILENT = 1.0  # seconds after a wait without an answer in which nobody waits again
_LOOKS = 3  # for the outcome of a commit


class _Link:
    """A place for one connection, which is made when a thread needs it."""

    __slots__ = ("_driver", "backend", "connection", "owner")

    def __init__(self) -> None:
        self.owner = 0  # the server that the connection is known to belong to
        self.connection: Connection | None = None
        self._driver: LimitedConnection | None = None
        self.backend = 0  # the number of the server's process

    def take(self, connection: Connection) -> None:
        """Take a connection that was made just now."""
        self.connection, self.owner = connection, 0
        self._driver = connection.connection.driver_connection
        self.backend = self.driver.info.backend_pid

    @property
    def driver(self) -> LimitedConnection:
        """The driver's connection. It must be there."""
        assert self._driver is not None
        return self._driver

    @property
    def gave_no_answer(self) -> bool:
        """True if the connection was given up because an answer did not come."""
        return self._driver is not None and self._driver.gave_no_answer

    def drop(self) -> None:
        """Close the connection."""
        if self.connection is not None:
            self.driver.close()
            if not self.connection.invalidated:
                self.connection.invalidate()
            self.connection.close()
            self.connection = self._driver = None


class PostgresDatabase(Database):
    """A database that any number of servers may use at the same time."""

    page_rows = 16

    def __init__(self, address: Address, durability: Durability = "process") -> None:
        """Connect; create or update the tables. Raises StoreError."""
        self.address = address
        self._owner = 0  # the server that uses the database here; 0 before it is one of several
        self._durability = durability
        self._state = threading.Lock()  # of the following
        self._failed_at = 0.0  # by time.monotonic, when the database could not be reached for the last time
        self._failure = ""  # the sentence of that time; empty while the database can be reached
        self._silent_until = 0.0  # by time.monotonic
        self._engine = self._make_engine()
        self._readers, self._appenders, self._writer = [
            Turns([_Link() for _ in range(count)]) for count in (_READERS, _APPENDERS, 1)
        ]
        self.dialect = SqlDialect(
            self._engine.dialect,
            insert,
            lambda column: func.convert_to(column, literal_column("'UTF8'")),
            clock=literal_column(CLOCK, BigInteger),
            unserved=literal_column("NOT EXISTS (SELECT FROM servers WHERE servers.id = clients.server)", Boolean),
            holding="SELECT 1 FROM holdings WHERE server = %s AND connection = %s FOR KEY SHARE",
        )
        self.append_statements = PostgresAppend()
        try:
            self._migrate()
        except BaseException:
            self.close()
            raise

    def _make_engine(self) -> Engine:
        return create_engine(
            "postgresql+psycopg://",
            creator=lambda: connect(self.address, self._durability),
            paramstyle="format",
            isolation_level="AUTOCOMMIT",  # the methods below begin transactions
            poolclass=NullPool,
            use_native_hstore=False,
        )

    def _migrate(self) -> None:
        """Create or update the tables; other servers wait meanwhile."""
        with self._writer.one() as link, self._answers(link):
            db = self._open(link, time.monotonic())
            link.driver.limit = None
            db.exec_driver_sql("SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0")
            db.exec_driver_sql(_BEGIN_ALONE)
            try:
                self._check_owner(db)
                migrate(db, STEPS, self.address.shown)
                db.exec_driver_sql("COMMIT")
            finally:
                link.drop()  # its limits are other ones

    def _check_owner(self, db: Connection) -> None:
        """Raise StoreError if the database has tables of another program."""
        tables = inspect(db).get_table_names()
        ours = {"version", "runs", "run_seq"} <= {*tables, *inspect(db).get_sequence_names()}
        columns = {column["name"] for column in inspect(db).get_columns("version")} if ours else {"number"}
        if (tables and not ours) or columns != {"number"}:
            raise StoreError(
                f"{self.address.shown} has tables of another program. Create a database for Partyline alone."
            )

    # Connections

    def _open(self, link: _Link, since: float) -> Connection:
        """Return the link's connection; make a new one if it has none or a lost one.

        `since` is when the caller began to wait for its turn: an attempt that has failed after that counts for it, too.
        After a time without an answer, all calls fail at once for a moment: so those that come one after the other do
        not wait for as many times.
        """
        with self._state:
            if self._failure and time.monotonic() < self._silent_until:
                raise StoreAway(self._failure)
        if link.connection is not None:
            if link.driver.is_usable():
                return self._owned(link, link.connection)
            link.drop()
        with self._state:
            if self._failure and self._failed_at > since:
                raise StoreAway(self._failure)
        try:
            made = self._engine.connect()
        except (psycopg.Error, SQLAlchemyError) as error:
            raise self._lost(error) from None  # the cause may have the password
        link.take(made)
        return self._owned(link, made)

    def belong_to(self, server: int) -> None:
        """Let other servers know whose connections these are."""
        self._owner = server

    def _owned(self, link: _Link, connection: Connection) -> Connection:
        """Return a connection that others find by the lock of its server, and end when that is dead."""
        if link.owner != self._owner:
            link.driver.execute(BELONG, (self._owner,))
            link.owner = self._owner
        return connection

    def _lost(self, error: Exception) -> StoreAway:
        """Note that the database cannot be reached; report it, unless that was done."""
        failure = unreachable(self.address, error)
        with self._state:
            first = not self._failure
            self._failure, self._failed_at = str(failure), time.monotonic()
            if isinstance(error, NoAnswer | psycopg.errors.ConnectionTimeout):
                self._silent_until = self._failed_at + _SILENT
        if first:
            report(events.DatabaseLost(self.address.shown, str(failure)))
        return failure

    def _reached(self) -> None:
        with self._state:
            failed, self._failure = bool(self._failure), ""
        if failed:
            report(events.DatabaseReached(self.address.shown))

    @contextmanager
    def _answers(self, link: _Link) -> Iterator[None]:
        """Raise errors of the block as StoreError. Close the link's connection if it is lost or in disorder."""
        try:
            yield
        except (SQLAlchemyError, psycopg.Error) as error:
            lost = link.gave_no_answer or is_lost(error)
            failure = (
                self._lost(NoAnswer(link.driver.limit) if link.gave_no_answer else error)
                if lost
                else store_error(self.address, error)
            )
            if lost:
                link.drop()
            self._roll_back(link)
            raise failure from None  # the cause may have values of rows
        except BaseException:
            self._roll_back(link)
            raise
        if self._failure:
            self._reached()

    @staticmethod
    def _roll_back(link: _Link) -> None:
        """End the transaction of a block that has failed, or else the connection."""
        if link.connection is None:
            return
        try:
            if link.driver.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
                link.driver.execute("ROLLBACK")
        except psycopg.Error:
            link.drop()

    # Transactions

    @contextmanager
    def cursor_transaction(self) -> Iterator[Any]:
        """Run the block as a write transaction, with a cursor that sends statements together."""
        since = time.monotonic()
        with self._appenders.one() as link, self._answers(link):
            self._open(link, since)
            driver = link.driver
            driver.transaction_number = None  # an append sets it; a move can be made again
            cursor, sent = driver.cursor(binary=True), False
            try:
                with driver.pipeline():
                    cursor.execute("BEGIN")
                    yield cursor
                    sent = True
                    cursor.execute("COMMIT")
            except psycopg.Error as error:
                self._settle(link, error, sent=sent)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Run the block as a write transaction, while no other such block runs, of this server or of another one."""
        since = time.monotonic()
        with self._writer.one() as link, self._answers(link):
            db = self._open(link, since)
            driver = link.driver
            begun = driver.execute(_BEGIN_ALONE)
            begun.nextset()
            begun.nextset()
            driver.transaction_number = _only(begun)
            yield db
            try:
                driver.execute("COMMIT")
            except psycopg.Error as error:
                self._settle(link, error, sent=True)

    def _settle(self, link: _Link, error: psycopg.Error, *, sent: bool) -> None:
        """Return if the transaction has been committed after all: only the answer was lost. Else raise.

        `sent`: the commit was sent.
        """
        if not sent or not (link.gave_no_answer or is_lost(error)):
            raise error
        committed = self._has_committed(link)
        if committed is None:
            failure = self._lost(error)
            raise StoreAway(
                f"{str(failure).rstrip('.')}, and it may have stored the last change.", unsure=True
            ) from None
        if not committed:
            raise error

    def _has_committed(self, link: _Link) -> bool | None:
        """Look whether a transaction was committed whose connection was lost; None if that cannot be found out."""
        number, backend = link.driver.transaction_number, link.backend
        link.drop()
        try:
            for _ in range(_LOOKS if number is not None else 0):
                self._open(link, time.monotonic())
                status = _only(link.driver.execute(_STATUS, (number,)))
                if status != "in progress":
                    return bool(status == "committed")
                link.driver.execute(_END_BACKEND, (backend,))
        except (psycopg.Error, StoreError):
            return None
        return None

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Run the block with a connection that reads, which is one of a few; wait until it is this thread's turn."""
        since = time.monotonic()
        with self._readers.one() as link, self._answers(link):
            yield self._open(link, since)

    def wrote(self, size: int, pages: int = 0) -> None:
        """Do nothing: PostgreSQL has its own checkpoints."""

    def close(self) -> None:
        """Close all connections."""
        for turns in (self._readers, self._appenders, self._writer):
            for link in turns.close():
                link.drop()
        self._engine.dispose()


def _only(cursor: psycopg.Cursor[tuple[Any, ...]]) -> Any:
    """Return the first value of the first row."""
    row = cursor.fetchone()
    assert row is not None
    return row[0]
