"""store/sql/ has nothing of one database: its statements compile for PostgreSQL, too, without a driver."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from typing import Any, cast

from sqlalchemy import Connection, func, literal_column
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from store import Alone
from store.blobs import Blobs
from store.sql import AppendStatements, Database, SqlDialect, SqlStore, schema
from tests.support.repository import ROOT

POSTGRESQL = SqlDialect(
    postgresql.dialect(paramstyle="format"),  # type: ignore[no-untyped-call]
    postgresql.insert,
    lambda text: func.convert_to(text, literal_column("'UTF8'")),
)


class NoDatabase(Database):
    """A database that compiles statements and runs none."""

    dialect = POSTGRESQL
    append_statements = cast("AppendStatements", None)

    def transaction(self) -> AbstractContextManager[Connection]:
        raise NotImplementedError

    def cursor_transaction(self) -> AbstractContextManager[Any]:
        raise NotImplementedError

    def reading(self) -> AbstractContextManager[Connection]:
        raise NotImplementedError

    def wrote(self, size: int, pages: int = 0) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


def test_no_file_of_the_sql_store_names_sqlite() -> None:
    """Docstrings may: they say where the differences are."""
    for file in (ROOT / "store" / "sql").rglob("*.py"):
        code = re.sub(r'""".*?"""', "", file.read_text(), flags=re.DOTALL)
        assert re.search(r"sqlite|pragma|rowid", code, re.IGNORECASE) is None, file


def test_the_statements_compile_for_postgresql() -> None:
    """The statements compiled once, and the INSERT with ON CONFLICT of every table, compile for PostgreSQL."""
    store = SqlStore(NoDatabase(), cast("Blobs", None), Alone())
    assert store._runs_after.values(log=1, after=2, limit=3) == (1, 2, 3)
    assert "%s" in store._runs_after.text
    assert "WHERE client_cursors.cursor < excluded.cursor" in store._move_client
    for table in schema.metadata.tables.values():
        assert "ON CONFLICT DO NOTHING" in POSTGRESQL.text(POSTGRESQL.insert_or_skip(table))
        if table.primary_key and len(table.primary_key) < len(table.columns):
            assert "DO UPDATE SET" in POSTGRESQL.text(POSTGRESQL.insert_or_update(table))


def test_the_tables_can_be_created_on_postgresql() -> None:
    made = [str(CreateTable(table).compile(dialect=POSTGRESQL.compiler)) for table in schema.metadata.sorted_tables]
    made += [
        str(CreateIndex(index).compile(dialect=POSTGRESQL.compiler))
        for table in schema.metadata.sorted_tables
        for index in table.indexes
    ]
    assert any("id BIGSERIAL NOT NULL" in statement for statement in made), "the database numbers the logs"
    assert any("seq BIGINT NOT NULL" in statement for statement in made), "and not the runs"
