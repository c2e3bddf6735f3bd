"""Floor 1: read from the database with a connection of one's own, beside the servers that use it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from wire.names import fold

from ..contract import Account, StoreError
from .address import Address
from .connection import LimitedConnection, connect
from .errors import is_lost, store_error, unreachable
from .migrations import STEPS

_ACCOUNT = "SELECT key, name, password, seen FROM accounts WHERE key = %s"


@contextmanager
def read_only_connection(address: Address) -> Iterator[LimitedConnection]:
    """Return a block with a connection that writes nothing, and whose reads agree with each other.

    Raises StoreError.
    """
    try:
        connection = connect(address, "process")
    except psycopg.Error as error:
        raise unreachable(address, error) from None
    with connection:
        try:
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield connection
        except psycopg.Error as error:
            raise unreachable(address, error) if is_lost(error) else store_error(address, error) from None


def read_postgres_account(address: Address, user: str) -> Account | None:
    """Return the account of that name in any spelling as it is now, None if the name was never used."""
    with read_only_connection(address) as db:
        found = db.execute(_ACCOUNT, (fold(user),)).fetchone()
    return None if found is None else Account(*found)


def check_version(db: LimitedConnection, address: Address) -> None:
    """Raise StoreError if the database is of another version."""
    found = db.execute("SELECT number FROM version").fetchone()
    if found is None or found[0] != len(STEPS):
        number = found[0] if found else "none"
        raise StoreError(
            f"{address.shown} has schema {number}, and this Partyline has {len(STEPS)}. Start this server with it once,"
            " or use the version that has written it."
        )
