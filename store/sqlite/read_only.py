"""Floor 1: what a process beside the server may read of its store, while the server has it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from wire.names import fold

from ..contract import Account, StoreError
from .database import FILE

_PATIENCE = 5  # seconds that a locked database is waited for


def read_account(folder: Path, user: str) -> Account | None:
    """The account of that name in any spelling, as it is at this moment; the store is opened for reading only.

    Raises StoreError if it cannot be read.
    """
    where = f"{(folder / FILE).resolve().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(where, uri=True, timeout=_PATIENCE)) as db:
            query = "SELECT key, name, password, seen FROM accounts WHERE key = ?"
            found = db.execute(query, (fold(user),)).fetchone()
    except sqlite3.Error as error:
        raise StoreError(f"The accounts in {folder} cannot be read: {error}.") from error
    return None if found is None else Account(*found)
