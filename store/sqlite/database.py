"""Floor 1: the store on SQLite: one file with a write-ahead log, one writer, some readers, one checkpointer.

The append is the hot path: its statements are built with SQLAlchemy and compiled once, then run on the driver's own
cursor, which takes a third of the time. A run is one row because the driver lets go of the interpreter at each row,
and to get it back among busy threads costs far more than the row does.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool

from store.sql.entries import SqlRuns
from store.sql.files import SqlFiles
from store.sql.members import SqlPeople

from ..blobs import FOLDER, Blobs
from ..contract import Durability, StoreError
from .migrations import migrate

log = logging.getLogger("partyline.store")

FILE = "partyline.db"
_CACHE_KIB = 16_384  # of the writer
_READERS = 4
_CHECKPOINT_BYTES = 4 << 20  # written since the last checkpoint
_STARVED_PAGES = 16_384  # 64 MiB of write-ahead log that a checkpoint beside the writer could not bring to an end


class _Driver(Protocol):
    """The part of the driver's connection that is used."""

    in_transaction: bool

    def cursor(self) -> sqlite3.Cursor: ...


class SqliteStore(SqlRuns, SqlPeople, SqlFiles):
    """A store in `folder`, which one process has at a time."""

    def __init__(self, folder: Path, durability: Durability = "process") -> None:
        self._file = folder / FILE
        self._blobs = Blobs(folder / FOLDER, synced=durability == "power")
        self._claim = _claim(folder)
        try:
            self._open(durability)
        except BaseException:
            os.close(self._claim)
            raise
        self._written = 0
        self._closing = False
        self._work = threading.Event()
        self._checkpointer = threading.Thread(target=self._checkpoints, name="store-checkpointer", daemon=True)
        self._checkpointer.start()

    def _open(self, durability: Durability) -> None:
        self._engine = _engine(self._file, durability)
        try:
            self._writer = self._engine.connect()
            self._driver: _Driver = self._writer.connection.driver_connection  # type: ignore[assignment]
            super().__init__(self._engine.dialect)
            with self._transaction():
                migrate(self._writer, str(self._file))
        except (DBAPIError, sqlite3.Error) as error:
            self._engine.dispose()
            raise StoreError(_sentence(self._file, error)) from error
        except StoreError:
            self._engine.dispose()
            raise

    def blobs(self) -> Blobs:
        """Where the bytes of files are."""
        return self._blobs

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Cursor]:
        """A write transaction, on the driver's cursor or on self._writer."""
        with self._writing:
            cursor = self._driver.cursor()
            try:
                cursor.execute("BEGIN IMMEDIATE")
                yield cursor
                cursor.execute("COMMIT")
            except BaseException as error:
                if self._driver.in_transaction:
                    cursor.execute("ROLLBACK")
                self._undone()
                if isinstance(error, DBAPIError | sqlite3.Error):
                    raise StoreError(_sentence(self._file, error)) from error
                raise

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        try:
            with self._engine.connect() as db:
                yield db
        except (DBAPIError, sqlite3.Error) as error:
            raise StoreError(_sentence(self._file, error)) from error

    def _wrote(self, size: int) -> None:
        """Count what went into the write-ahead log; in time, it is moved into the database."""
        self._written += size
        if self._written > _CHECKPOINT_BYTES:
            self._written = 0
            self._work.set()

    def _checkpoints(self) -> None:
        """Thread `store-checkpointer`: keeps the fsync of a checkpoint away from those who post."""
        while True:
            self._work.wait()
            self._work.clear()
            if self._closing:
                return
            try:
                self._checkpoint()
            except (StoreError, sqlalchemy.exc.SQLAlchemyError) as error:
                log.warning("the write-ahead log grows, because a checkpoint failed: %s", error)

    def _checkpoint(self) -> None:
        """Beside the writer; if it wrote faster than that, once more without it, so that the log starts anew."""
        with self._reading() as db:
            _, pages, _ = db.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)").one()
            if pages > _STARVED_PAGES:
                with self._writing:
                    db.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)").one()

    def close(self) -> None:
        """Let the checkpointer end, close the connections, which empties the write-ahead log, and free the folder."""
        self._closing = True
        self._work.set()
        self._checkpointer.join()
        self._writer.close()
        self._engine.dispose()
        os.close(self._claim)


def _claim(folder: Path) -> int:
    """Make the folder and hold its lock file, so that no second server writes there; the descriptor."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"The data folder {folder} cannot be used: {error.strerror}.") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.read(descriptor, 20).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise StoreError(f"The data folder {folder} is in use by another server (process {owner}).") from None
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except OSError:
        log.warning("the data folder %s has no room for a process number", folder)
    return descriptor


def _engine(file: Path, durability: Durability) -> Engine:
    engine = create_engine(
        sqlalchemy.URL.create("sqlite", database=str(file)),
        connect_args={"check_same_thread": False, "timeout": 10},
        isolation_level="AUTOCOMMIT",  # transactions are begun by _transaction alone
        poolclass=QueuePool,
        pool_size=_READERS + 1,
        max_overflow=0,
    )

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        # NORMAL is whole after a crash of the process, FULL after a loss of power, too: sqlite.org/pragma.html
        cursor.execute(f"PRAGMA synchronous = {'FULL' if durability == 'power' else 'NORMAL'}")
        cursor.execute("PRAGMA wal_autocheckpoint = 0")
        cursor.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        cursor.close()

    return engine


def _sentence(file: Path, error: Exception) -> str:
    """What went wrong, for the operator."""
    cause = str(error.orig if isinstance(error, DBAPIError) else error)
    known = {
        "file is not a database": "it is not a Partyline database, or it is damaged",
        "malformed": "it is damaged; restore it from a copy, or move it away to start anew",
        "disk is full": "the disk is full",
        "readonly database": "it cannot be written",
        "unable to open": "it cannot be opened or written",
    }
    reason = next((sentence for part, sentence in known.items() if part in cause), cause)
    return f"The store {file} failed: {reason}."
