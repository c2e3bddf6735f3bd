"""The shape of the code: imports go down only and in no circle, functions stay small, modules say what they are."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.support.repository import ROOT

# Who may import whom: a part of the project, and the parts below it. What is absent may not be imported.
FLOORS: dict[str, int] = {
    "wire": 0,
    "net": 0,
    "reporting": 0,
    "store": 1,
    "channels": 2,
    "doors": 3,
    "bridge": 3,
    "admin": 4,
    "server": 5,
}
BELOW: dict[str, set[str]] = {
    **{name: {other for other in FLOORS if FLOORS[other] < floor} for name, floor in FLOORS.items()},
    "terminal": {"wire", "net"},
    "client": {"wire", "net", "terminal"},
}
AROUND = ("tests", "bench", "docs", "package")  # nothing that runs imports these
FUNCTION = 50  # lines, of what runs and of its tests
SAID = 6  # lines of a function from which on it needs a docstring
# The files that sleep, and why no event can wake them.
SLEEPS = {
    "bench/files/worker.py": "it keeps to a rate",
    "bench/meter.py": "it measures over a span of time",
    "bench/postgres.py": "PostgreSQL has no way to tell that it is ready",
    "bench/peers.py": "a peer has no way to tell that it is ready",
    "tests/support/waiting.py": "it looks at what tells nobody",
}
_OUTSIDE = {"build"}
_SURFACE = "__init__.py"


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


@cache
def file_imports(file: Path) -> frozenset[Path]:
    """Return the project files that a file imports, type-only imports and those inside functions included.

    `from folder import name` is an import of `folder/__init__.py` if that binds the name, else of `folder/name.py`;
    `from . import name` is one of both.
    """
    found: set[Path] = set()
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Import):
            found |= {module for alias in node.names if (module := _module(ROOT, alias.name)) is not None}
        elif isinstance(node, ast.ImportFrom):
            home = _module(file.parents[node.level - 1] if node.level else ROOT, node.module or "")
            if home is None:
                continue
            if node.level and not node.module:
                found.add(home)
            found |= {_behind(home, alias.name, part(file) == part(home)) for alias in node.names}
    return frozenset(found - {file})


def _behind(home: Path, name: str, inside: bool) -> Path:
    """Return the file that `from home import name` reads the name from; `inside` of the same top folder or not."""
    if home.name != _SURFACE or name in _bound(home, inside):
        return home
    return _module(home.parent, name) or home


@cache
def _bound(surface: Path, inside: bool) -> frozenset[str]:
    """Return the names that an `__init__.py` imports, but not its own modules for a file that is `inside`."""
    nodes = [node for node in ast.walk(tree(surface)) if isinstance(node, ast.ImportFrom)]
    return frozenset({alias.name for node in nodes if node.module or not inside for alias in node.names})


def _module(folder: Path, dotted: str) -> Path | None:
    """Return the file of a module below a folder, or None if the project has none of that name."""
    path = folder.joinpath(*dotted.split(".")) if dotted else folder
    candidates = (path / _SURFACE, path.with_suffix(".py"))
    return next((each for each in candidates if each.is_file() and each.parent != ROOT.parent), None)


def circles(graph: dict[Path, frozenset[Path]]) -> list[set[Path]]:
    """Return the groups of files in which each one leads back to itself by the imports of the others."""
    reached = {file: _reached(graph, file) for file in graph}
    groups = {frozenset({other for other in reached[file] if file in reached.get(other, ())}) for file in graph}
    return sorted([set(group) for group in groups if group], key=lambda group: sorted(map(named, group)))


def _reached(graph: dict[Path, frozenset[Path]], start: Path) -> set[Path]:
    """Return all files to which the imports of one lead, itself only if they lead back."""
    seen: set[Path] = set()
    ahead = [start]
    while ahead:
        fresh = graph.get(ahead.pop(), frozenset()) - seen
        seen |= fresh
        ahead += fresh
    return seen


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


def test_no_two_files_import_each_other() -> None:
    """Neither directly nor in a circle, type-only imports and those inside functions included."""
    graph = {file: file_imports(file) for file in RUNNING}
    assert [sorted(map(named, circle)) for circle in circles(graph)] == []


def test_a_circle_is_noticed() -> None:
    """Also one by way of a third file."""
    a, b, c, d = (ROOT / f"{name}.py" for name in "abcd")
    graph = {a: frozenset({b, d}), b: frozenset({c}), c: frozenset({a}), d: frozenset[Path]()}
    assert circles(graph) == [{a, b, c}]
    assert circles({a: frozenset({b, d}), b: frozenset({d})}) == []


def test_other_folders_import_the_surface_only() -> None:
    """A file of another top folder imports from an `__init__.py`, or from a module directly in wire/."""
    wrong = {
        f"{named(file)} imports {named(other)}"
        for file in RUNNING
        for other in file_imports(file)
        if part(file) != part(other) and not _is_surface(other)
    }
    assert sorted(wrong) == []


def _is_surface(file: Path) -> bool:
    """Return True for the `__init__.py` of a folder, and for each module directly in wire/."""
    inside = file.relative_to(ROOT).parts
    return file.name == _SURFACE or (inside[0] == "wire" and len(inside) == 2)


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
    """The programs, their tests and the load generators wait for events, but for the places that SLEEPS names."""
    found = {named(file) for file in files() if any(map(_sleeps, ast.walk(tree(file))))}
    assert found == set(SLEEPS)


def _sleeps(node: ast.AST) -> bool:
    """Return True for `….sleep`, for a wait for an event that nobody else has, and for a loop with a short wait."""
    if isinstance(node, ast.Attribute) and node.attr == "sleep":
        return True
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "wait":
        return isinstance(node.func.value, ast.Call)
    if isinstance(node, ast.While):
        return any(isinstance(inner, ast.Call) and _is_short(inner) for inner in ast.walk(node))
    return False


def _is_short(call: ast.Call) -> bool:
    """Return True for a call that waits for less than a second at most."""
    if not isinstance(call.func, ast.Attribute) or call.func.attr not in ("wait", "wait_for", "get", "join", "select"):
        return False
    limits = [*call.args, *[keyword.value for keyword in call.keywords if keyword.arg == "timeout"]]
    values = [limit.value for limit in limits if isinstance(limit, ast.Constant)]
    return any(isinstance(value, float) and 0 < value < 1 for value in values)


@pytest.mark.parametrize(
    ("code", "sleeps"),
    [
        ("time.sleep(1)", True),
        ("threading.Event().wait(0.1)", True),
        ("while True:\n    done.wait(0.05)", True),
        ("while True:\n    line = lines.get(timeout=0.2)", True),
        ("while True:\n    done.wait(60)", False),
        ("done.wait(0.05)", False),
    ],
)
def test_a_sleep_is_noticed(code: str, sleeps: bool) -> None:
    assert any(map(_sleeps, ast.walk(ast.parse(code)))) is sleeps
