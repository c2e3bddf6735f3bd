"""Sample small faults of the product, one at a time, and see whether the tests find them.

`python -m tests.campaign.mutants --count 100` copies the project to a temporary folder, runs the tests once with
coverage to learn which test runs which line, and then, for each sampled fault, runs the tests of that line until one
fails. A fault that no test finds is printed with its place.
"""

from __future__ import annotations

import argparse
import ast
import copy
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("channels", "store", "bridge/clients", "wire")
_TESTS_FOR_A_LINE = 60  # the fastest ones that run it; the tests of the folder come afterwards
_SECONDS = 300  # for the tests of one fault; a fault that makes a test hang is found
_PYTEST = (sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", "-p", "no:randomly")
_SWAPPED: Mapping[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.FloorDiv: ast.Mult,
    ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip
_QUIET = ("log", "log_", "_log", "logger")  # a call of these is worth no test


@dataclass(frozen=True, slots=True)
class Fault:
    """One changed statement: its file, its first line, what was changed, and the file's text with the change."""

    file: Path
    line: int
    change: str
    text: str


def faults(file: Path) -> Iterator[Fault]:
    """Yield every fault of a file: swapped operators, dropped statements, negated conditions, shifted numbers."""
    source = (ROOT / file).read_text()
    tree = ast.parse(source)
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef) or _is_declaration(function):
            continue
        for statement in ast.walk(function):
            if isinstance(statement, ast.stmt) and statement is not function:
                for change, mutated in _variants(statement):
                    yield Fault(file, statement.lineno, change, _replaced(source, statement, mutated))


def _is_declaration(function: ast.FunctionDef) -> bool:
    """Return True for a method of a Protocol, whose body is a docstring, and for representations."""
    return function.name == "__repr__" or all(isinstance(each, ast.Expr) for each in function.body)


def _variants(statement: ast.stmt) -> Iterator[tuple[str, ast.stmt]]:
    """Yield what becomes of one statement, without the statements below it."""
    if _is_quiet(statement):
        return
    if isinstance(statement, ast.Assign | ast.AugAssign) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)
    ):
        yield "dropped", ast.Pass()
    if isinstance(statement, ast.Return) and statement.value is not None and not _is_none(statement.value):
        yield "returns None", ast.Return(ast.Constant(None))
    if isinstance(statement, ast.If | ast.While):
        negated = copy.deepcopy(statement)
        negated.test = ast.UnaryOp(ast.Not(), negated.test)
        yield "negated", negated
    for at, node in enumerate(_own_nodes(statement)):
        for change in _changes(node):
            mutated = copy.deepcopy(statement)
            yield change, _apply(mutated, _own_nodes(mutated)[at], change)


def _is_quiet(statement: ast.stmt) -> bool:
    """Return True for a docstring, an assertion, an annotation without a value, and a line of the log."""
    if isinstance(statement, ast.Assert | ast.AnnAssign | ast.Import | ast.ImportFrom | ast.Raise):
        return True
    value = statement.value if isinstance(statement, ast.Expr) else None
    if isinstance(value, ast.Constant):
        return True
    call = value.func if isinstance(value, ast.Call) else None
    return isinstance(call, ast.Attribute) and isinstance(call.value, ast.Name) and call.value.id in _QUIET


def _is_none(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is None


def _own_nodes(statement: ast.stmt) -> list[ast.AST]:
    """Return the expressions of a statement in a stable order, without the statements of its body."""
    found: list[ast.AST] = []
    waiting: list[ast.AST] = [statement]
    while waiting:
        node = waiting.pop(0)
        found.append(node)
        waiting += [child for child in ast.iter_child_nodes(node) if not isinstance(child, ast.stmt | ast.JoinedStr)]
    return found


def _changes(node: ast.AST) -> list[str]:
    """Return the names of the changes that fit an expression."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _SWAPPED:
        return ["comparison"]
    if isinstance(node, ast.BinOp | ast.BoolOp) and type(node.op) in _SWAPPED:
        return ["operator"]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return ["not removed"]
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        return ["flag flipped"]
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return ["number + 1"]
    return []


def _apply(statement: ast.stmt, node: ast.AST, change: str) -> ast.stmt:
    """Make the change in a copy of a statement; return the statement."""
    if isinstance(node, ast.Compare):
        node.ops = [_SWAPPED[type(node.ops[0])]()]  # type: ignore[list-item]
    elif isinstance(node, ast.BinOp | ast.BoolOp):
        node.op = _SWAPPED[type(node.op)]()  # type: ignore[assignment]
    elif isinstance(node, ast.UnaryOp):
        node.op = ast.UAdd()  # of a bool: 0 or 1
        _unwrap(statement, node)
    elif isinstance(node, ast.Constant):
        node.value = not node.value if change == "flag flipped" else int(str(node.value)) + 1
    return statement


def _unwrap(statement: ast.stmt, negation: ast.UnaryOp) -> None:
    """Put the operand in the place of its negation."""
    for parent in ast.walk(statement):
        for field, value in ast.iter_fields(parent):
            if value is negation:
                setattr(parent, field, negation.operand)
            elif isinstance(value, list) and negation in value:
                value[value.index(negation)] = negation.operand


def _replaced(source: str, old: ast.stmt, new: ast.stmt) -> str:
    """Return the source with one statement in the place of another."""
    lines = source.splitlines(keepends=True)
    indent = " " * old.col_offset
    text = "".join(f"{indent}{line}\n" for line in ast.unparse(ast.fix_missing_locations(new)).splitlines())
    assert old.end_lineno is not None
    return "".join([*lines[: old.lineno - 1], text, *lines[old.end_lineno :]])


class Tests:
    """Which tests run which line, and how long each takes, from one run of the whole suite in `folder`."""

    def __init__(self, folder: Path, workers: int) -> None:
        durations = folder / "durations.xml"
        subprocess.run(
            [*_PYTEST, "-n", str(workers), "--dist", "worksteal", f"--junitxml={durations}",
             *(f"--cov={each.partition('/')[0]}" for each in FOLDERS), "--cov-context=test", "--cov-report="],
            cwd=folder, check=False,
        )  # fmt: skip
        self._seconds = _seconds(durations)
        self._of_line: dict[tuple[str, int], set[str]] = defaultdict(set)
        with sqlite3.connect(folder / ".coverage") as db:
            query = (
                "select file.path, context.context, line_bits.numbits from line_bits "
                "join file on file.id = line_bits.file_id join context on context.id = line_bits.context_id"
            )
            for path, context, bits in db.execute(query):
                test = context.partition("|")[0]
                for line in _lines(bits) if test else ():
                    self._of_line[str(Path(path).relative_to(folder)), line].add(test)

    def of(self, fault: Fault) -> list[str]:
        """Return the tests that run a fault's line, the fastest first, but those of its own folder before others."""
        own = _test_folder(fault.file)
        found = self._of_line[str(fault.file), fault.line]
        in_order = sorted(found, key=lambda test: (not test.startswith(own), self._seconds.get(test, 1.0)))
        return in_order[:_TESTS_FOR_A_LINE]


def _seconds(file: Path) -> dict[str, float]:
    cases = ElementTree.parse(file).iter("testcase")
    return {
        f"{case.attrib['classname'].replace('.', '/')}.py::{case.attrib['name']}": float(case.attrib["time"])
        for case in cases
    }


def _lines(bits: bytes) -> Iterator[int]:
    """Yield the line numbers of coverage's bit map."""
    for at, byte in enumerate(bits):
        yield from (at * 8 + bit for bit in range(8) if byte & 1 << bit)


def _test_folder(file: Path) -> str:
    """Return the folder with the tests of a file."""
    return "tests/bridge/clients" if file.parts[0] == "bridge" else f"tests/{file.parts[0]}"


def is_found(folder: Path, fault: Fault, tests: Tests) -> bool:
    """Return True if a test fails, or hangs, with the fault in the copy of the project in `folder`."""
    target = folder / fault.file
    healthy = target.read_text()
    target.write_text(fault.text)
    try:
        known = tests.of(fault)
        return bool(known and _fails(folder, known)) or _fails(folder, ["-n", "2", _test_folder(fault.file)])
    finally:
        target.write_text(healthy)


def _fails(folder: Path, arguments: Sequence[str]) -> bool:
    try:
        done = subprocess.run(
            [*_PYTEST, "-x", *arguments], cwd=folder, capture_output=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return True
    return done.returncode == 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 if at least nine of ten faults are found."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaign.mutants", description=__doc__)
    parser.add_argument("--count", type=int, default=100, help="faults to sample (default 100)")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32), help="of the sample (default: random)")
    parser.add_argument("--workers", type=int, default=2, help="processes of the first run (default 2)")
    options = parser.parse_args(arguments)
    files = sorted(file.relative_to(ROOT) for each in FOLDERS for file in (ROOT / each).rglob("*.py"))
    everything = [fault for file in files for fault in faults(file)]
    sample = random.Random(options.seed).sample(everything, min(options.count, len(everything)))
    print(f"{len(sample)} of {len(everything)} faults, seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="partyline-mutants-") as temporary:
        folder = Path(temporary, "project")
        shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".git", ".venv", "data", "__pycache__", ".*_cache"))
        tests = Tests(folder, options.workers)
        missed = []
        for number, fault in enumerate(sample, 1):
            found = is_found(folder, fault, tests)
            missed += [] if found else [fault]
            print(f"{number:3} {'found ' if found else 'MISSED'} {fault.file}:{fault.line} {fault.change}", flush=True)
    print(f"{len(sample) - len(missed)} of {len(sample)} found")
    return int(len(missed) > len(sample) // 10)


if __name__ == "__main__":
    sys.exit(main())
