"""Floor 1: open the store that a URL names, or read from it. A further database adds its scheme here."""

from __future__ import annotations

import re
from pathlib import Path

from .blobs import FOLDER, Blobs
from .contract import Account, Durability, Store, StoreError
from .sql import SqlStore
from .sqlite import SqliteDatabase, read_sqlite_account

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)


def open_store(url: str | Path, durability: Durability = "process") -> Store:
    """Open the store in a folder, given by its path or as `sqlite:///FOLDER`; create the folder if it is missing.

    `sqlite:///data` is the folder `data` in the working directory, `sqlite:////srv/chat` is `/srv/chat`. The URL names
    the folder and not SQLite's file, since the store is the file with the bytes of the files and a lock beside it.
    Raises StoreError.
    """
    folder = data_folder(url)
    return SqlStore(SqliteDatabase(folder, durability), Blobs(folder / FOLDER, synced=durability == "power"))


def read_account(url: str | Path, user: str) -> Account | None:
    """Return the account of that name in any spelling as it is now, None if the name was never used.

    `url` is as for `open_store`. Another process may have the store open; nothing is written. Raises StoreError.
    """
    return read_sqlite_account(data_folder(url), user)


def data_folder(url: str | Path) -> Path:
    """Return the folder of the store that `open_store` opens with this URL. Raises StoreError for another scheme."""
    found = _SCHEME.fullmatch(url) if isinstance(url, str) else None
    if found is None:
        return Path(url)
    scheme, rest = found.groups()
    if scheme.lower() != "sqlite":
        # The URL may carry a password, so the sentence has only its scheme.
        raise StoreError(f"A store at {scheme}:// is not supported; name a folder, or sqlite:///FOLDER.")
    if not rest.startswith("/") or rest == "/":
        raise StoreError(f"{url} names no folder; write sqlite:///FOLDER, or sqlite:////FOLDER for an absolute path.")
    return Path(rest[1:])
