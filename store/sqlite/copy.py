"""Floor 1: an SQLite database as the source and as the target of a copy."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import Table, create_engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from ..contract import StoreError
from ..sql import CopySource, CopyTarget, Row, Run, columns, migrate, order
from .database import FILE
from .errors import store_error
from .folder import DataFolder
from .migrations import STEPS
from .read_only import opened_beside

_NEW = f"{FILE}.new"  # a copy that is not whole: no server opens it, and the next copy removes it
_ROWS, _RUNS_AT_ONCE = 500, 100  # that are read at once; a run has up to some 64 KiB
_RUNS = "SELECT seq, log, last, count, CAST(body AS BLOB), checksum FROM runs ORDER BY seq"
_SETTINGS = "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -65536"


class SqliteSource(CopySource):
    """The database as the transaction under way sees it."""

    counts = True

    def __init__(self, db: sqlite3.Connection, file: Path, *, beside: bool) -> None:
        self.beside = beside
        self._db = db
        self._file = file

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

    def tails(self) -> None:
        """Return None: a tail is the number of the last entry."""

    def _read(self, query: str, at_once: int) -> Iterator[Any]:
        try:
            cursor = self._db.execute(query)
            while rows := cursor.fetchmany(at_once):
                yield from rows
        except sqlite3.Error as error:
            raise store_error(self._file, error) from error


class SqliteTarget(CopyTarget):
    """A new database, which gets its name when it is whole."""

    counts = True

    def __init__(self, db: sqlite3.Connection, folder: Path) -> None:
        self._db = db
        self._folder = folder
        self._file = folder / _NEW

    def write(self, table: Table, rows: Iterable[Row]) -> None:
        """Insert rows."""
        places = ", ".join("?" * len(table.columns))
        try:
            self._db.executemany(f"INSERT INTO {table.name} ({columns(table)}) VALUES ({places})", rows)
        except sqlite3.Error as error:
            raise store_error(self._file, error) from error

    def finish(self, tails: Mapping[int, int]) -> None:
        """Do nothing: the tables have everything."""

    def written(self) -> SqliteSource:
        """Return what was written."""
        return SqliteSource(self._db, self._file, beside=False)

    def commit(self) -> None:
        """Write the file to the disk, and give it its name."""
        try:
            self._db.execute("COMMIT")
            self._db.close()
            _sync(self._file)
            self._file.rename(self._folder / FILE)
            _sync(self._folder)
        except sqlite3.Error as error:
            raise store_error(self._file, error) from error
        except OSError as error:
            raise StoreError(f"{self._file} cannot be written: {error.strerror}.") from error


@contextmanager
def sqlite_source(folder: Path) -> Iterator[SqliteSource]:
    """Return a block with one state of the database in a folder, which a server may use. Raises StoreError."""
    with opened_beside(folder) as (db, beside):
        try:
            db.execute("BEGIN")
            db.execute("SELECT count(*) FROM version")  # the first read chooses the state
        except sqlite3.Error as error:
            raise store_error(folder / FILE, error) from error
        yield SqliteSource(db, folder / FILE, beside=beside)


@contextmanager
def sqlite_target(folder: Path) -> Iterator[SqliteTarget]:
    """Return a block with a new database in a folder, in which no server can start. Raises StoreError."""
    locked = DataFolder(folder)
    new = folder / _NEW
    try:
        if (folder / FILE).exists():
            raise StoreError(f"{folder} has a database {FILE} already. Name a folder without one.")
        try:
            new.unlink(missing_ok=True)
            with closing(_created(new)) as db:
                yield SqliteTarget(db, folder)
        except OSError as error:
            raise StoreError(f"{new} cannot be written: {error.strerror}.") from error
        finally:
            new.unlink(missing_ok=True)
    finally:
        locked.release()


def _created(file: Path) -> sqlite3.Connection:
    """Return a connection to a new database with all tables, in a transaction."""
    engine = create_engine(
        sqlalchemy.URL.create("sqlite", database=str(file)), isolation_level="AUTOCOMMIT", poolclass=NullPool
    )
    try:
        with engine.connect() as made:
            migrate(made, STEPS, str(file))
        db = sqlite3.connect(file, isolation_level=None)
        db.executescript(_SETTINGS)
        db.execute("BEGIN IMMEDIATE")
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise store_error(file, error) from error
    return db


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
