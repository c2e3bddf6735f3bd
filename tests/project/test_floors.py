"""The shape of the code: imports go down only, functions stay small, modules say what they are."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.support.repository import ROOT

# Who may import whom: a part of the project, and the parts below it. What is absent may not be imported.
FLOORS: dict[str, int] = {"wire": 0, "net": 0, "store": 1, "channels": 2, "doors": 3, "bridge": 3, "server": 4}
BELOW: dict[str, set[str]] = {
    **{name: {other for other in FLOORS if FLOORS[other] < floor} for name, floor in FLOORS.items()},
    "terminal": {"wire", "net"},
    "client": {"wire", "net", "terminal"},
}
AROUND = ("tests", "bench", "docs")  # nothing that runs imports these
FUNCTION = 50  # lines, of what runs and of its tests
SAID = 6  # lines of a function from which on it needs a docstring
_OUTSIDE = {"build"}


def part(file: Path) -> str:
    """The part of the project that a file belongs to: its top folder, or its own name."""
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


@cache
def files() -> list[Path]:
    """Every Python file of the project."""
    tops = (top for top in ROOT.iterdir() if top.name not in _OUTSIDE and not top.name.startswith("."))
    return sorted(file for top in tops for file in ([top] if top.suffix == ".py" else top.rglob("*.py")))


RUNNING = [file for file in files() if part(file) not in AROUND]


def named(file: Path) -> str:
    """A file as pytest shows it."""
    return str(file.relative_to(ROOT))


@cache
def tree(file: Path) -> ast.Module:
    """A file's syntax."""
    return ast.parse(file.read_text(), str(file))


def imports(file: Path) -> Iterator[tuple[int, str]]:
    """Line and top name of all that is imported, inside of functions and for types, too."""
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.partition(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.lineno, (node.module or "").partition(".")[0]
        elif isinstance(node, ast.ImportFrom):
            folder = file.parents[node.level - 1]
            assert folder != ROOT, f"{named(file)}:{node.lineno} imports from the top by dots"
            yield node.lineno, part(folder)


def test_every_part_has_its_floor() -> None:
    """A new folder or program has to be given a place here."""
    parts = {part(file) for file in files()}
    assert parts <= {*BELOW, *AROUND}
    assert {"wire", "store", "channels", "doors", "server"} <= parts


def test_imports_go_down() -> None:
    """Neither up nor to a neighbour on the same floor, not even for a type or inside of a function."""
    wrong = [
        f"{named(file)}:{line} imports {name}"
        for file in RUNNING
        for line, name in imports(file)
        if name not in {*BELOW[part(file)], part(file)} and name in {*BELOW, *AROUND}
    ]
    assert not wrong


def test_a_function_has_one_idea() -> None:
    """One that outgrows this has two; so has a test."""
    functions = {
        f"{named(file)}:{node.lineno} {node.name}": _lines(node)
        for file in files()
        for node in ast.walk(tree(file))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: lines for name, lines in functions.items() if lines > FUNCTION} == {}


def test_a_module_says_what_it_is() -> None:
    """In one sentence first, and on which floor; and so does each public class, and function of some size."""
    silent: list[str] = []
    for file in RUNNING:
        opening = ast.get_docstring(tree(file)) or ""
        floor = f"Floor {FLOORS[part(file)]}: " if part(file) in FLOORS else ""
        if "." not in opening or not opening.startswith(floor):
            silent.append(named(file))
        silent += [f"{named(file)} {node.name}" for node in public(tree(file)) if ast.get_docstring(node) is None]
    assert not silent


def public(scope: ast.Module | ast.ClassDef) -> Iterator[ast.ClassDef | ast.FunctionDef]:
    """Public classes, their public methods, and public functions, but for those that say it all in a few lines."""
    for node in scope.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield node
            yield from public(node)
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and _lines(node) > SAID:
            yield node


def _lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def test_the_wire_does_no_io() -> None:
    """Floor 0 knows no socket, no file, no thread and no clock that waits."""
    forbidden = {
        "socket",
        "threading",
        "select",
        "selectors",
        "ssl",
        "asyncio",
        "subprocess",
        "pathlib",
        "os",
        "sqlite3",
    }
    wrong = [
        f"{named(file)}:{line} imports {name}"
        for file in RUNNING
        if part(file) == "wire"
        for line, name in imports(file)
        if name in forbidden
    ]
    assert not wrong


def test_only_the_store_knows_sql_and_only_doors_know_sockets() -> None:
    """Each library stays on its floor."""
    homes = {"sqlalchemy": {"store"}, "sqlite3": {"store"}, "socket": {"net", "doors", "bridge", "client", "terminal"}}
    wrong = [
        f"{named(file)}:{line} imports {name}"
        for file in RUNNING
        for line, name in imports(file)
        if part(file) not in homes.get(name, {part(file)})
    ]
    assert not wrong


def test_nothing_sleeps() -> None:
    """Neither the server nor its clients: whoever waits, waits for an event."""
    wrong = [
        f"{named(file)}:{node.lineno}"
        for file in RUNNING
        for node in ast.walk(tree(file))
        if isinstance(node, ast.Attribute) and node.attr == "sleep"
    ]
    assert not wrong
