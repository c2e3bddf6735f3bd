"""Floor 1: read an account from another process while the server has the database open."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from wire.names import fold

from ..contract import Account, StoreError
from .database import FILE

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
