"""Floor 1: open the store that a URL names, or read from it. A further database adds its scheme here."""

from __future__ import annotations

import os
import re
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType

from .blobs import FOLDER, Blobs
from .contract import Account, Alone, Durability, Servers, Store, StoreError
from .sql import Database, SqlStore
from .sqlite import SqliteDatabase, read_sqlite_account, share_folder

_POSTGRES = ("postgresql", "postgres")
_INSTALL = "pip install 'psycopg[binary]'."
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)


def open_store(url: str | Path, durability: Durability = "process", *, folder: Path | None = None) -> Store:
    """Open the store at a URL: a folder, `sqlite:///FOLDER`, or `postgresql://user:password@host/database`.

    `sqlite:///data` is the folder `data` in the working directory, `sqlite:////srv/chat` is `/srv/chat`. The URL names
    the folder and not SQLite's file, since the store is that file and a lock beside it. The bytes of files are in
    `folder`; without one, in the same folder. Raises StoreError.
    """
    if is_postgres(url):
        if folder is None:
            raise StoreError("A store on PostgreSQL needs a folder for the bytes of files.")
        return _open_postgres(str(url), durability, folder)
    own = data_folder(url)
    database, folder = SqliteDatabase(own, durability), folder or own
    return SqlStore(database, Blobs(folder / FOLDER, synced=durability == "power"), Alone())


def _open_postgres(url: str, durability: Durability, folder: Path) -> Store:
    """Open a store that several servers may use, and whose folder they may share."""
    address = postgres().parse_address(url)
    lock = share_folder(folder)
    try:
        database: Database = postgres().PostgresDatabase(address, durability)
    except BaseException:
        os.close(lock)
        raise
    servers: Servers = postgres().PostgresServers(database, address, durability)
    blobs = Blobs(folder / FOLDER, synced=durability == "power", shared=True)
    return SqlStore(database, blobs, servers, partial(os.close, lock))


def read_account(url: str | Path, user: str) -> Account | None:
    """Return the account of that name in any spelling as it is now, None if the name was never used.

    `url` is as for `open_store`. Another process may have the store open; nothing is written. Raises StoreError.
    """
    if is_postgres(url):
        found: Account | None = postgres().read_postgres_account(postgres().parse_address(str(url)), user)
        return found
    return read_sqlite_account(data_folder(url), user)


def is_postgres(url: str | Path) -> bool:
    """Return True for the URL of a PostgreSQL database."""
    found = _SCHEME.fullmatch(url) if isinstance(url, str) else None
    return found is not None and found[1].lower() in _POSTGRES


def absolute_url(url: str | Path) -> str:
    """Return the URL for a process that may run in another folder."""
    return str(url) if is_postgres(url) else str(data_folder(url).absolute())


def shown_url(url: str | Path) -> str:
    """Return the URL without its password and its user. Raises StoreError."""
    return str(postgres().parse_address(str(url)).shown) if is_postgres(url) else str(url)


def url_has_password(url: str | Path) -> bool:
    """Return True if a password is written in the URL. Raises StoreError."""
    return is_postgres(url) and "password" in postgres().parse_address(str(url)).parameters


def postgres() -> ModuleType:
    """Return store/postgres/: it is imported where it is used, since the driver is not always installed."""
    try:
        return import_module(f"{__package__}.postgres")
    except ImportError as error:
        raise StoreError(f"A database on PostgreSQL needs the package psycopg ({error}): {_INSTALL}") from error


def data_folder(url: str | Path) -> Path:
    """Return the folder that `sqlite:///FOLDER` or a path names. Raises StoreError for another scheme."""
    found = _SCHEME.fullmatch(url) if isinstance(url, str) else None
    if found is None:
        return Path(url)
    scheme, rest = found.groups()
    if scheme.lower() != "sqlite":
        # The URL may carry a password, so the sentence has only its scheme.
        raise StoreError(f"{scheme}:// is no folder; name a folder, or sqlite:///FOLDER.")
    if not rest.startswith("/") or rest == "/":
        raise StoreError(f"{url} names no folder; write sqlite:///FOLDER, or sqlite:////FOLDER for an absolute path.")
    return Path(rest[1:])
