"""Floor 1: the statements of logins and departures: compiled once, and run by the driver's cursor.

SQLAlchemy's own execution takes several times as long, and to build a statement takes longer still.
"""

from __future__ import annotations

from contextlib import closing
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.sql import ClauseElement
from sqlalchemy.sql.compiler import SQLCompiler

from .dialect import Query


class Statement:
    """A statement whose parameters have names. Any thread may run it."""

    __slots__ = ("_queries", "_statement")

    def __init__(self, statement: ClauseElement) -> None:
        self._statement = statement
        self._queries: dict[str, Query] = {}  # by the name of SQLAlchemy's dialect

    def rows(self, db: Connection, **values: Any) -> list[Any]:
        """Run the statement in the transaction of a connection; return its rows as tuples."""
        query = self._queries.get(db.dialect.name)
        if query is None:
            query = self._queries[db.dialect.name] = self._compile(db)
        with closing(db.connection.cursor()) as cursor:
            cursor.execute(query.text, query.values(**values))
            return list(cursor.fetchall()) if cursor.description is not None else []

    def _compile(self, db: Connection) -> Query:
        compiled = self._statement.compile(dialect=db.dialect)
        assert isinstance(compiled, SQLCompiler)
        assert compiled.positiontup is not None
        return Query(str(compiled), tuple(compiled.positiontup), compiled.params)
