"""A write that another transaction was in the way of is made again, by every part of every store."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest

from store.sql import Conflict, Database, SqlBase
from tests.support.repository import ROOT

_OPENS = {"transaction", "cursor_transaction"}


class Contested:
    """A database of which so many transactions meet a conflict."""

    def __init__(self, conflicts: int) -> None:
        self.conflicts = conflicts
        self.begun = 0

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self.begun += 1
        yield
        if self.begun <= self.conflicts:
            raise Conflict("others were in the way")

    reading = cursor_transaction = transaction


class Part(SqlBase):
    """A part of a store."""

    def write(self) -> str:
        with self._database.transaction():
            return "written"

    def move(self) -> str:
        with self._database.cursor_transaction():
            return "moved"

    def read(self) -> str:
        with self._database.reading():
            return "read"


@pytest.mark.parametrize("call", ["write", "move"])
def test_a_write_is_made_again_some_times(call: str) -> None:
    database = Contested(4)
    assert getattr(Part(cast("Database", database)), call)() in ("written", "moved")
    assert database.begun == 5
    with pytest.raises(Conflict):
        getattr(Part(cast("Database", Contested(5))), call)()


def test_a_read_is_made_once() -> None:
    with pytest.raises(Conflict):
        Part(cast("Database", Contested(1))).read()


def _writing() -> Iterator[tuple[str, str, str]]:
    """Yield module, class and method of each public method of the stores that opens a transaction of its database."""
    for path in sorted((ROOT / "store").rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for scope in ast.walk(ast.parse(path.read_text())):
            for method in scope.body if isinstance(scope, ast.ClassDef) else ():
                if isinstance(method, ast.FunctionDef) and not method.name.startswith("_") and _opens(method):
                    yield module, cast("ast.ClassDef", scope).name, method.name


def _opens(method: ast.FunctionDef) -> bool:
    return any(
        isinstance(node, ast.Attribute)
        and node.attr in _OPENS
        and isinstance(node.value, ast.Attribute)
        and node.value.attr == "_database"
        for node in ast.walk(method)
    )


def test_every_public_method_that_writes_is_made_again() -> None:
    found = list(_writing())
    assert len(found) > 30
    for module, name, method in found:
        part: Any = getattr(importlib.import_module(module), name)
        assert hasattr(getattr(part, method), "__wrapped__"), f"{module}.{name}.{method}"
