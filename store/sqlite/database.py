"""Floor 1: the SQLite database: one file with a write-ahead log, one writer, some readers, one checkpointer."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy
from sqlalchemy import Connection, Engine, LargeBinary, cast, create_engine, event
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from reporting import events, report

from ..contract import Durability, StoreError
from ..sql import Database, SqlDialect, Turns, migrate
from .append import SqliteAppend
from .errors import store_error
from .folder import DataFolder
from .migrations import STEPS

FILE = "partyline.db"
LOG, _SHARED = f"{FILE}-wal", f"{FILE}-shm"  # beside it, while it is open: https://www.sqlite.org/walformat.html
_CACHE_KIB = 16_384  # of the writer
_READER_CACHE_KIB = 2_048  # of each reader
_PAGE = 4_096  # bytes
_READERS = 4
_CURSORS = 201  # after which the driver looks for cursors that have gone (CPython, Modules/_sqlite/connection.c)
_CHECKPOINT_BYTES = 4 << 20  # written since the last checkpoint
_TRANSACTION_PAGES = 2  # that a transaction writes at least
_STARVED_PAGES = 16_384  # 64 MiB of write-ahead log that a checkpoint beside the writer could not bring to an end


class _Driver(Protocol):
    """The part of the driver's connection that is used."""

    in_transaction: bool

    def cursor(self) -> sqlite3.Cursor: ...


class SqliteDatabase(Database):
    """The database in a folder, which one process opens at a time."""

    def __init__(self, folder: Path, durability: Durability = "process") -> None:
        """Open the database; create the folder and the file if missing. Raises StoreError."""
        self.file = folder / FILE
        self._folder = DataFolder(folder)
        try:
            self._open(durability)
        except BaseException:
            self._folder.release()
            raise
        self._written = 0  # bytes since the last checkpoint
        self._closing = False
        self._work = threading.Event()
        self._checkpointer = threading.Thread(target=self._checkpoints, name="store-checkpointer", daemon=True)
        self._checkpointer.start()

    def _open(self, durability: Durability) -> None:
        self.engine = _engine(self.file, durability)
        opened: list[Connection] = []
        try:
            opened += [self.engine.connect() for _ in range(1 + _READERS)]
            self._writer, *readers = opened
            for reader in readers:
                reader.exec_driver_sql(f"PRAGMA cache_size = -{_READER_CACHE_KIB}")
            self._readers = Turns(readers)
            self._driver: _Driver = self._writer.connection.driver_connection  # type: ignore[assignment]
            self._cursor = self._driver.cursor()
            self._writing = threading.Lock()  # held by the thread that uses the writer
            self.dialect = SqlDialect(self.engine.dialect, insert, lambda text: cast(text, LargeBinary))
            self.append_statements = self._append = SqliteAppend(self.dialect)
            self._writer.exec_driver_sql("BEGIN IMMEDIATE")
            migrate(self._writer, STEPS, str(self.file))
            self._writer.exec_driver_sql("COMMIT")
            self._folder.watch([FILE, LOG], _SHARED)
        except (SQLAlchemyError, sqlite3.Error, StoreError, OSError) as error:
            for connection in opened:
                connection.close()
            if isinstance(error, StoreError):
                raise
            raise store_error(self.file, error) from error

    @contextmanager
    def cursor_transaction(self) -> Iterator[sqlite3.Cursor]:
        """Run the block as a write transaction on a cursor of the writer."""
        with self._writing:
            self._folder.check()
            cursor = self._cursor
            try:
                cursor.execute("BEGIN IMMEDIATE")
                yield cursor
                cursor.execute("COMMIT")
            except BaseException as error:
                self._roll_back(cursor)
                if isinstance(error, SQLAlchemyError | sqlite3.Error):
                    raise store_error(self.file, error) from error
                raise

    def _roll_back(self, cursor: sqlite3.Cursor) -> None:
        """End the transaction, if the error has not ended it, and forget what it has left in memory."""
        self._append.forget()
        if self._driver.in_transaction:
            try:
                cursor.execute("ROLLBACK")
            except sqlite3.Error as error:
                report(events.StoreProblem(str(store_error(self.file, error)), "The transaction stays open."))

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Run the block as a write transaction on the writer."""
        with self.cursor_transaction():
            yield self._writer
        self.wrote(0, _TRANSACTION_PAGES)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Run the block with a connection that reads, which is one of a few; wait until it is this thread's turn."""
        with self._readers.one() as db:
            self._folder.check()
            try:
                yield db
            except (SQLAlchemyError, sqlite3.Error) as error:
                raise store_error(self.file, error) from error

    def wrote(self, size: int, pages: int = 0) -> None:
        """Count the bytes that a commit added to the write-ahead log; wake the checkpointer after enough of them."""
        self._written += size + pages * _PAGE
        if self._written > _CHECKPOINT_BYTES:
            self._written = 0
            self._work.set()

    def _checkpoints(self) -> None:
        """Thread `store-checkpointer`: keeps the fsync of a checkpoint away from the threads that post."""
        while True:
            self._work.wait()
            self._work.clear()
            if self._closing:
                return
            try:
                self._checkpoint()
            except StoreError as error:
                report(events.StoreProblem(str(error), "The write-ahead log grows."))

    def _checkpoint(self) -> None:
        """Move the log into the file beside the writer; if the writer was faster, once more while it waits.

        Only a checkpoint that reaches the log's end lets the log start anew.
        """
        with self.reading() as db:
            _, pages, _ = db.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)").one()
            if pages > _STARVED_PAGES:
                with self._writing:
                    db.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)").one()

    def release_memory(self) -> None:
        """See `Database.release_memory`."""
        with self._writing:
            if self._closing:  # a connection's thread may be late
                return
            _forget_cursors(self._writer)
        self._readers.each_idle(_forget_cursors)

    def close(self) -> None:
        """End the checkpointer, close the connections, which empties the write-ahead log, and release the folder."""
        self._closing = True
        self._work.set()
        self._checkpointer.join()
        for reader in self._readers.close():
            reader.close()
        with self._writing:
            self._writer.close()
        self._folder.release()


def _forget_cursors(connection: Connection) -> None:
    """Have the driver forget cursors that have gone.

    It keeps a weak reference to each one until there are so many. They are from all of the time since then, and a
    single one holds the mebibyte of Python's objects that it is in.
    """
    driver: _Driver = connection.connection.driver_connection  # type: ignore[assignment]
    for _ in range(_CURSORS):
        driver.cursor()


def _engine(file: Path, durability: Durability) -> Engine:
    engine = create_engine(
        sqlalchemy.URL.create("sqlite", database=str(file)),
        connect_args={"check_same_thread": False, "timeout": 10},
        isolation_level="AUTOCOMMIT",  # only cursor_transaction begins a transaction
        poolclass=NullPool,
    )

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        # With NORMAL, commits survive a crash of the process; with FULL, a loss of power too: sqlite.org/pragma.html
        cursor.execute(f"PRAGMA synchronous = {'FULL' if durability == 'power' else 'NORMAL'}")
        cursor.execute("PRAGMA wal_autocheckpoint = 0")
        cursor.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        cursor.close()

    return engine
