"""Floor 1: the SQL that differs between databases. Each has a `SqlDialect` and its own `AppendStatements`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy
from sqlalchemy import ColumnElement, Insert, Table
from sqlalchemy.sql import ClauseElement
from sqlalchemy.sql.compiler import SQLCompiler

from .runs import RunRow

IdKey = tuple[str, str, int]  # sender's key, id, log id: the key of the table `ids`
IdRow = tuple[str, str, int, int]  # the same with the number of the entry: the columns of the table `ids`


@dataclass(frozen=True)
class SqlDialect:
    """SQL as one database writes it.

    `compiler` is SQLAlchemy's dialect, with positional parameters; `insert` is that dialect's INSERT, which has
    `on_conflict_do_nothing` and `on_conflict_do_update`. `utf8` makes bytes of a text as it is stored: a damaged one
    may be no text. A database for several servers has a `clock`, in milliseconds since 1970; `unserved`, which is true
    of a session whose server does not live; and `holding`, a query that locks the holding of a connection.
    """

    compiler: sqlalchemy.Dialect
    insert: Callable[[Table], Any]
    utf8: Callable[[ColumnElement[str]], ColumnElement[bytes]]
    clock: ColumnElement[int] | None = None
    unserved: ColumnElement[bool] | None = None
    holding: str = ""

    def text(self, statement: ClauseElement) -> str:
        """Return a statement for the driver's cursor. Its parameters are in the order in which they are written."""
        return str(statement.compile(dialect=self.compiler))

    def query(self, statement: ClauseElement) -> Query:
        """Return a statement whose parameters have names, for the driver's cursor."""
        compiled = statement.compile(dialect=self.compiler)
        assert isinstance(compiled, SQLCompiler)
        assert compiled.positiontup is not None
        return Query(str(compiled), tuple(compiled.positiontup), compiled.params)

    def insert_or_skip(self, table: Table) -> Insert:
        """Return an INSERT that leaves a row with the same unique key as it is."""
        made: Insert = self.insert(table).on_conflict_do_nothing()
        return made

    def insert_or_update(self, table: Table, *, growing: str | None = None) -> Insert:
        """Return an INSERT that replaces a row with the same primary key; with `growing`, if that column grows."""
        new = self.insert(table)
        keys = [column.name for column in table.primary_key]
        values = {column.name: new.excluded[column.name] for column in table.columns if column.name not in keys}
        where = None if growing is None else table.c[growing] < new.excluded[growing]
        made: Insert = new.on_conflict_do_update(index_elements=keys, set_=values, where=where)
        return made


@dataclass(frozen=True)
class Query:
    """A compiled statement, and the names of its parameters in their order."""

    text: str
    names: tuple[str, ...]
    defaults: Mapping[str, Any]

    def values(self, **given: Any) -> tuple[Any, ...]:
        """Return the parameters in their order."""
        values = {**self.defaults, **given}
        return tuple([values[name] for name in self.names])


class AppendStatements(ABC):
    """The statements of an append, run as each database runs them fastest.

    An append calls them in the order in which they are written here, with the cursor of its transaction.
    """

    @abstractmethod
    def lock(self, cursor: Any, logs: Collection[int]) -> Mapping[int, int]:
        """Keep other writers from these logs until the transaction ends. Return the tails of at least these logs."""

    @abstractmethod
    def find_ids(self, cursor: Any, keys: Sequence[IdKey]) -> dict[IdKey, int]:
        """Return the number that is stored for each key, 0 for a key that is not stored. A key may occur twice."""

    @abstractmethod
    def last_seq(self, cursor: Any, count: int) -> int:
        """Return a number of the journal, of which the `count` following ones are free for this append's entries."""

    @abstractmethod
    def insert(self, cursor: Any, runs: Sequence[RunRow], ids: Sequence[IdRow]) -> None:
        """Insert the new runs, ascending by `seq`, and the new ids."""
