"""Floor 1: an open SQL database, as the parts of the store use it. store/sqlite/ implements it for SQLite."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from types import FunctionType
from typing import Any

from sqlalchemy import Connection

from .again import again
from .dialect import AppendStatements, SqlDialect


class Database(ABC):
    """One database. Any thread may call any method; every method raises StoreError if the database fails."""

    dialect: SqlDialect
    append_statements: AppendStatements
    page_rows: int | None = None  # rows to ask for at first, where the driver loads all rows of an answer at once

    @abstractmethod
    def transaction(self) -> AbstractContextManager[Connection]:
        """Return a block that is one write transaction. It commits at its end, and rolls back on an exception.

        Such blocks of all processes run one at a time, so that what a block has read still holds when it writes; but
        for what `cursor_transaction` changes: whoever depends on the entries of a log locks its row first.
        """

    @abstractmethod
    def cursor_transaction(self) -> AbstractContextManager[Any]:
        """Return the same with a cursor of the driver, which runs compiled statements in a third of the time.

        Two of these blocks may run at the same time: an append locks its logs, and a cursor moves in one statement.
        """

    @abstractmethod
    def reading(self) -> AbstractContextManager[Connection]:
        """Return a block with a connection that only reads, beside a write transaction of another thread."""

    @abstractmethod
    def wrote(self, size: int, pages: int = 0) -> None:
        """Note that a commit wrote about `size` bytes of rows, and `pages` pages of tables and indexes beside them."""

    def release_memory(self) -> None:  # noqa: B027 - most drivers keep nothing
        """Let go of what the driver keeps of earlier statements, if it keeps anything. Never fails."""

    @abstractmethod
    def close(self) -> None:
        """Close all connections."""


class SqlBase:
    """The database that the parts of the store share.

    Each public method of a part that runs a write transaction is made again after a Conflict. Such a method must do
    nothing but one transaction, and reading before it.
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for name, method in list(vars(cls).items()):
            if isinstance(method, FunctionType) and not name.startswith("_") and _writes(method):
                setattr(cls, name, again(method))

    def __init__(self, database: Database) -> None:
        self._database = database


def _writes(method: FunctionType) -> bool:
    """Return True if a method opens a write transaction by itself."""
    opens = {Database.transaction.__name__, Database.cursor_transaction.__name__}
    return not opens.isdisjoint(method.__code__.co_names)
