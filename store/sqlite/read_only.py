"""Floor 1: read the database from another process, which may run while a server has it open."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from wire.names import fold

from ..contract import Account, StoreError
from .database import FILE, LOG
from .errors import store_error
from .folder import lock_for_reading
from .migrations import STEPS

_TIMEOUT = 5  # seconds to wait for a locked database


def read_sqlite_account(folder: Path, user: str) -> Account | None:
    """Return the account of that name in any spelling as it is now, None if the name was never used.

    The database in `folder` is opened for reading only. Raises StoreError if it cannot be read.
    """
    uri = f"{(folder / FILE).resolve().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=_TIMEOUT)) as db:
            query = "SELECT key, name, password, seen FROM accounts WHERE key = ?"
            found = db.execute(query, (fold(user),)).fetchone()
    except sqlite3.Error as error:
        raise StoreError(f"The accounts in {folder} cannot be read: {error}.") from error
    return None if found is None else Account(*found)


@contextmanager
def opened_beside(folder: Path) -> Iterator[tuple[sqlite3.Connection, bool]]:
    """Return a block with the database opened for reading only, and True if a server uses it.

    No server can start meanwhile. Raises StoreError if there is no database, or if it is of another version.
    """
    lock = lock_for_reading(folder)
    try:
        with closing(_open(folder, beside=lock is None)) as db:
            _check_version(db, folder / FILE)
            yield db, lock is None
    finally:
        if lock is not None:
            os.close(lock)


def _open(folder: Path, *, beside: bool) -> sqlite3.Connection:
    if not (folder / FILE).is_file():
        raise StoreError(f"{folder} has no database {FILE}.")
    # Without a write-ahead log nothing has to be recovered, and no file is made that would stay.
    unchanging = not beside and not (folder / LOG).exists()
    uri = f"{(folder / FILE).resolve().as_uri()}?mode=ro{'&immutable=1' if unchanging else ''}"
    return sqlite3.connect(uri, uri=True, timeout=_TIMEOUT, isolation_level=None)


def _check_version(db: sqlite3.Connection, file: Path) -> None:
    try:
        number = db.execute("SELECT number FROM version").fetchone()[0]
    except (sqlite3.Error, TypeError) as error:
        raise store_error(file, error) from error
    if number != len(STEPS):
        raise StoreError(
            f"{file} has schema {number}, and this Partyline has {len(STEPS)}. Start this server with it once, or use"
            " the version that has written it."
        )
