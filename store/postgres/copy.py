"""Floor 1: a PostgreSQL database as the source and as the target of a copy.

A copy takes as long as it takes, so its connections have no time limits but those of the network.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from itertools import islice
from typing import Any

import psycopg
from sqlalchemy import Table

from ..contract import StoreError
from ..sql import COPIED, CopySource, CopyTarget, Row, Run, columns, order, schema
from .address import Address
from .connection import LimitedConnection, connect
from .database import ALONE, PostgresDatabase
from .errors import is_lost, store_error, unreachable
from .listener import LIVES
from .migrations import SEQ_BLOCK
from .read_only import check_version, read_only_connection

_ROWS = 500  # that are read at once
_RUNS_AT_ONCE = 100  # each has up to some 64 KiB
_TAILS = 10_000  # that one statement sets
_NO_LIMITS = "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0"
_RUNS = "SELECT seq, log, last, count, convert_to(body, 'UTF8'), checksum FROM runs ORDER BY seq"
_SERVERS = f"SELECT count(*) FROM servers WHERE {LIVES}"
_SET_TAILS = (
    "UPDATE logs SET tail = found.tail FROM unnest(%s::bigint[], %s::bigint[]) AS found (id, tail)"
    " WHERE logs.id = found.id"
)
_COUNTERS = (
    f"SELECT setval('run_seq', (coalesce(max(seq), 0) + {SEQ_BLOCK - 1}) / {SEQ_BLOCK}, false) FROM runs",
    "SELECT setval(pg_get_serial_sequence('logs', 'id'), coalesce(max(id), 0) + 1, false) FROM logs",
)


class PostgresSource(CopySource):
    """The database as the transaction under way sees it."""

    counts = False

    def __init__(self, link: LimitedConnection, address: Address, *, beside: bool) -> None:
        self.beside = beside
        self._link = link
        self._address = address

    def count(self, table: Table) -> int:
        """Return the number of rows of a table."""
        (found,) = self._read(f"SELECT count(*) FROM {table.name}", 1)
        return int(found[0])

    def rows(self, table: Table) -> Iterator[Row]:
        """Yield the rows of a table."""
        return self._read(f"SELECT {columns(table)} FROM {table.name} ORDER BY {order(table)}", _ROWS)

    def runs(self) -> Iterator[Run]:
        """Yield the runs, ascending by `seq`."""
        return self._read(_RUNS, _RUNS_AT_ONCE)

    def tails(self) -> Mapping[int, int]:
        """Return the stored tail of each log."""
        return dict(self._read("SELECT id, tail FROM logs", _ROWS))

    def _read(self, query: str, at_once: int) -> Iterator[Any]:
        try:
            with self._link.cursor("copied", binary=True) as cursor:
                cursor.itersize = at_once
                yield from cursor.execute(query)
        except psycopg.Error as error:
            raise _failed(self._address, error) from None


class PostgresTarget(CopyTarget):
    """The database in a transaction that keeps all others out."""

    counts = False

    def __init__(self, link: LimitedConnection, address: Address) -> None:
        self._link = link
        self._address = address

    def write(self, table: Table, rows: Iterable[Row]) -> None:
        """Insert rows."""
        try:
            with self._link.cursor().copy(f"COPY {table.name} ({columns(table)}) FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
        except psycopg.Error as error:
            raise _failed(self._address, error) from None

    def finish(self, tails: Mapping[int, int]) -> None:
        """Set the tails of the logs, and the counters of what others will add."""
        try:
            moved = iter(tails.items())
            while some := list(islice(moved, _TAILS)):
                self._link.execute(_SET_TAILS, [list(column) for column in zip(*some, strict=True)])
            for statement in (*_COUNTERS, f"ANALYZE {', '.join(_tables())}"):
                self._link.execute(statement)
        except psycopg.Error as error:
            raise _failed(self._address, error) from None

    def written(self) -> PostgresSource:
        """Return what was written."""
        return PostgresSource(self._link, self._address, beside=False)

    def commit(self) -> None:
        """Keep what was written."""
        try:
            self._link.execute("COMMIT")
        except psycopg.Error as error:
            raise _failed(self._address, error) from None


@contextmanager
def postgres_source(address: Address) -> Iterator[PostgresSource]:
    """Return a block with one state of the database, which servers may use. Raises StoreError."""
    with read_only_connection(address) as link:
        _without_limits(link)
        check_version(link, address)
        yield PostgresSource(link, address, beside=_count(link, _SERVERS) > 0)


@contextmanager
def postgres_target(address: Address) -> Iterator[PostgresTarget]:
    """Return a block with an empty database, in a transaction that ends with it. Raises StoreError."""
    PostgresDatabase(address).close()  # makes the tables
    try:
        link = connect(address, "power")
    except psycopg.Error as error:
        raise unreachable(address, error) from None
    with closing(link):  # which ends the transaction, unless it was committed
        try:
            _without_limits(link)
            link.execute(f"BEGIN; SELECT pg_advisory_xact_lock({ALONE})")  # a server that starts waits for its end
            _check_empty(link, address)
        except psycopg.Error as error:
            raise _failed(address, error) from None
        yield PostgresTarget(link, address)


def _check_empty(link: LimitedConnection, address: Address) -> None:
    if _count(link, _SERVERS):
        raise StoreError(f"A server is using {address.shown}. Stop it first.")
    link.execute(f"LOCK TABLE {', '.join(_tables())} IN ACCESS EXCLUSIVE MODE")
    for table in _tables():
        if _count(link, f"SELECT count(*) FROM (SELECT FROM {table} LIMIT 1) AS found"):
            raise StoreError(f"{address.shown} is not empty: it has {table}. Name an empty database.")


def _tables() -> list[str]:
    return [table.name for table in (*COPIED, schema.runs)]


def _without_limits(link: LimitedConnection) -> None:
    link.limit = None
    link.execute(_NO_LIMITS)


def _count(link: LimitedConnection, query: str) -> int:
    row = link.execute(query).fetchone()
    assert row is not None
    return int(row[0])


def _failed(address: Address, error: psycopg.Error) -> StoreError:
    return unreachable(address, error) if is_lost(error) else store_error(address, error)
