"""Floor 1: one connection to PostgreSQL: its settings, its time limits, and how it writes text.

A wait for the server has an end: PostgreSQL ends a statement that takes too long, and what PostgreSQL or the network
leaves unanswered ends here, with the connection. That holds for a connection that is cut without a sign, too.

PostgreSQL's text cannot hold NUL. Text is escaped character by character, so what is read is what was written, and
what began with a prefix still does: NUL is stored as SUB and `0`, and SUB as SUB and `1`.
"""

from __future__ import annotations

import logging
import select
from typing import Any, TypeVar

import psycopg
from psycopg import pq
from psycopg.abc import PQGen
from psycopg.adapt import Buffer, Loader
from psycopg.types.numeric import Int8BinaryDumper, Int8Dumper
from psycopg.types.string import StrBinaryDumper, StrDumperUnknown

from ..contract import Durability, StoreError
from .address import Address

TIMEOUT = 5.0  # seconds without an answer after which a connection counts as lost
LEAST_VERSION = 14
_STATEMENT = 4_500  # milliseconds that a statement may take: the server ends it before we give the connection up
_IDLE_IN_TRANSACTION = 10_000  # milliseconds after which the server ends a transaction that nobody goes on with
_SETTINGS = (
    # A machine that vanishes holds no lock for long, whatever its server was doing.
    "SET tcp_keepalives_idle = 2; SET tcp_keepalives_interval = 1; SET tcp_keepalives_count = 2;"
    " SET tcp_user_timeout = 4000;"
    " SET standard_conforming_strings = on; SET statement_timeout = {statement}; SET lock_timeout = 0;"
    " SET idle_in_transaction_session_timeout = {idle}; SET synchronous_commit = {synchronous};"
    " SET default_transaction_isolation = 'read committed'; SET jit = off"
)
_SERVER = 0x436F_6E6E  # of the shared advisory locks that say whose a connection is, in this database: "Conn"
BELONG = f"SELECT pg_advisory_lock_shared({_SERVER}, %s::integer)"
END_CONNECTIONS = (  # of a server that is dead, and may have left a transaction that holds others up
    "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_stat_activity USING (pid)"
    " WHERE usename = current_user AND locktype = 'advisory' AND granted AND objsubid = 2"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    f" AND classid::bigint = {_SERVER} AND objid::bigint = %s"
)
_PARAMETERS: dict[str, Any] = {  # unless the URL has others
    "application_name": "partyline",
    "connect_timeout": round(TIMEOUT),
    "tcp_user_timeout": round(TIMEOUT * 1000),
    "keepalives_idle": round(TIMEOUT),
    "keepalives_interval": 1,
    "keepalives_count": round(TIMEOUT),
}
_SUB = "\x1a"
_ZERO, _ONE = f"{_SUB}0", f"{_SUB}1"

_T = TypeVar("_T")

logging.getLogger("psycopg").setLevel(logging.CRITICAL)  # it raises what it logs, too


class NoAnswer(psycopg.OperationalError):
    """The server has not answered in time."""

    def __init__(self, limit: float | None) -> None:
        super().__init__(f"it gave no answer for {limit or 0:g} seconds")


class LimitedConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection on which no wait for the server takes longer than `limit` seconds. A longer one closes it."""

    limit: float | None = TIMEOUT
    gave_no_answer = False
    transaction_number: str | None = None  # of the transaction under way, as far as it is known

    def wait(self, gen: PQGen[_T], interval: float = TIMEOUT, timeout: float | None = None) -> _T:
        """Wait for the server's answer. Raises OperationalError for one that does not come in time."""
        limit = self.limit if timeout is None else timeout
        try:
            return psycopg.Connection.wait(self, gen, interval=interval, timeout=limit)
        except psycopg.errors._WaitTimeout:
            self.gave_no_answer = True
            self.close()
            raise NoAnswer(limit) from None

    def is_usable(self) -> bool:
        """Return False if the server has ended the connection, or if something is left of its last use."""
        if self.closed or self.pgconn.transaction_status != pq.TransactionStatus.IDLE:
            return False
        look = select.poll()
        look.register(self.pgconn.socket, select.POLLIN)
        return not look.poll(0)


def connect(address: Address, durability: Durability) -> LimitedConnection:
    """Return a new connection. Raises psycopg.Error if there is none, StoreError if the server cannot be used."""
    parameters = _PARAMETERS | address.parameters | {"client_encoding": "UTF8"}
    made = LimitedConnection.connect(**parameters, autocommit=True)
    try:
        if made.info.server_version < LEAST_VERSION * 10_000:
            raise StoreError(f"The database needs PostgreSQL {LEAST_VERSION} or newer.")
        encoding = (made.pgconn.parameter_status(b"server_encoding") or b"").decode()
        if encoding != "UTF8":
            raise StoreError(f"The database has the encoding {encoding}. Create it with ENCODING 'UTF8'.")
        made.execute(
            _SETTINGS.format(
                statement=_STATEMENT,
                idle=_IDLE_IN_TRANSACTION,
                synchronous="on" if durability == "power" else "off",
            )
        )
        _adapt(made)
    except BaseException:
        made.close()
        raise
    return made


class _EscapingDumper(StrDumperUnknown):
    """Writes text without NUL."""

    def dump(self, obj: str) -> Buffer | None:
        return super().dump(_escaped(obj))


class _EscapingBinaryDumper(StrBinaryDumper):
    """Writes text without NUL, as PostgreSQL's type text."""

    def dump(self, obj: str) -> Buffer | None:
        return super().dump(_escaped(obj))


class _EscapedLoader(Loader):
    """Reads what the dumpers above have written."""

    def load(self, data: Buffer) -> str:
        text = str(data, "utf-8")
        return text.replace(_ZERO, "\0").replace(_ONE, _SUB) if _SUB in text else text


class _EscapedBinaryLoader(_EscapedLoader):
    """Reads the same in the binary format, in which text has the same form."""

    format = pq.Format.BINARY


def _escaped(text: str) -> str:
    if "\0" in text or _SUB in text:
        return text.replace(_SUB, _ONE).replace("\0", _ZERO)
    return text


def _adapt(connection: LimitedConnection) -> None:
    adapters = connection.adapters
    for dumper in (_EscapingBinaryDumper, _EscapingDumper):  # the last one is the default
        adapters.register_dumper(str, dumper)
    for name in ("text", "varchar"):
        for loader in (_EscapedLoader, _EscapedBinaryLoader):
            adapters.register_loader(name, loader)
    # A type for each size of number would make as many prepared statements of each statement.
    for number in (Int8BinaryDumper, Int8Dumper):
        adapters.register_dumper(int, number)
