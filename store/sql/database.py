"""Floor 1: what the two halves of the SQL store share: the writer, the readers, statements compiled once."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from typing import Any

from sqlalchemy import Connection, Dialect
from sqlalchemy.sql import ClauseElement


class SqlBase(ABC):
    """A database adds `_transaction`, `_reading`, `_wrote` and `close`."""

    _writer: Connection

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._writing = threading.Lock()  # the one writer's

    def _compiled(self, statement: ClauseElement) -> str:
        """The statement for the driver's own cursor; its parameters in the order of the columns as written."""
        return str(statement.compile(dialect=self._dialect))

    @abstractmethod
    def _transaction(self) -> AbstractContextManager[Any]:
        """A write transaction, on the driver's cursor that it gives or on self._writer; StoreError if it fails."""

    @abstractmethod
    def _reading(self) -> AbstractContextManager[Connection]:
        """A connection to read with; StoreError if it fails."""

    @abstractmethod
    def _undone(self) -> None:
        """Take note that a transaction came to nothing. Called by `_transaction`, while nobody else writes."""

    @abstractmethod
    def _wrote(self, size: int) -> None:
        """Take note that about so many bytes were written."""
