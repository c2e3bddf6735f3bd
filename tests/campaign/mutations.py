"""Mutants of a source file: copies with one small change each, by which the tests are tested."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_SWAPPED: Mapping[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.FloorDiv: ast.Mult,
    ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip
_NEGATED_BY_SWAP = (ast.Eq, ast.NotEq, ast.Is, ast.IsNot, ast.In, ast.NotIn)
_LOGGERS = ("log", "log_", "_log", "logger")
_LEVELS = ("debug", "info", "warning", "error", "exception", "critical")


@dataclass(frozen=True, slots=True)
class Mutant:
    """One changed statement: its file, its first line, the kind of the change, and the file's text with the change."""

    file: Path
    line: int
    change: str
    text: str


def mutants(file: Path, source: str) -> Iterator[Mutant]:
    """Yield every mutant of a file with this text, in the order of its lines. Only the bodies of functions change."""
    lines = source.splitlines(keepends=True)
    for statement in _statements(ast.parse(source)):
        if not lines[statement.lineno - 1][: statement.col_offset].isspace():
            continue  # it shares its line with another statement
        for change, mutated in _variants(statement):
            yield Mutant(file, statement.lineno, change, _replaced(lines, statement, mutated))


def _statements(node: ast.AST, *, in_function: bool = False) -> Iterator[ast.stmt]:
    """Yield each statement in the functions below a node once, without definitions and representations."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            if child.name != "__repr__":
                yield from _statements(child, in_function=True)
        elif isinstance(child, ast.ClassDef):
            yield from _statements(child)
        else:
            if in_function and isinstance(child, ast.stmt):
                yield child
            yield from _statements(child, in_function=in_function)


def _variants(statement: ast.stmt) -> Iterator[tuple[str, ast.stmt]]:
    """Yield the changes of one statement, without those of the statements in its body."""
    if _is_exempt(statement):
        return
    if isinstance(statement, ast.Assign | ast.AugAssign) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)
    ):
        yield "dropped", ast.Pass()
    if isinstance(statement, ast.Return) and statement.value is not None and not _is_none(statement.value):
        yield "returns None", ast.Return(ast.Constant(None))
    if isinstance(statement, ast.If | ast.While) and not _is_negated_otherwise(statement.test):
        negated = copy.deepcopy(statement)
        negated.test = ast.UnaryOp(ast.Not(), negated.test)
        yield "negated", negated
    for at, node in enumerate(_own_nodes(statement)):
        if change := _change(node):
            mutated = copy.deepcopy(statement)
            yield change, _apply(mutated, _own_nodes(mutated)[at])


def _is_exempt(statement: ast.stmt) -> bool:
    """Return True for a docstring, an assertion, an import, a raise, a bare annotation, and a line of the log."""
    if isinstance(statement, ast.Assert | ast.Import | ast.ImportFrom | ast.Raise):
        return True
    if isinstance(statement, ast.AnnAssign):
        return statement.value is None
    value = statement.value if isinstance(statement, ast.Expr) else None
    if isinstance(value, ast.Constant):
        return True
    match value:
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=level)):
            return name in _LOGGERS and level in _LEVELS  # `log.deliver()` is a call of the chat's log
    return False


def _is_none(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is None


def _is_negated_otherwise(test: ast.expr) -> bool:
    """Return True if a change of the expression itself has the same effect as its negation."""
    return (
        isinstance(test, ast.Constant)
        or (isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not))
        or (isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], _NEGATED_BY_SWAP))
    )


def _own_nodes(statement: ast.stmt) -> list[ast.AST]:
    """Return the expressions of a statement in a stable order, without its body, its annotation and its f-strings."""
    found: list[ast.AST] = []
    left: list[ast.AST] = [statement]
    while left:
        node = left.pop(0)
        found.append(node)
        annotation = node.annotation if isinstance(node, ast.AnnAssign) else None
        left += [
            child
            for child in ast.iter_child_nodes(node)
            if child is not annotation and not isinstance(child, ast.stmt | ast.JoinedStr)
        ]
    return found


def _change(node: ast.AST) -> str | None:
    """Return the name of the change that fits an expression, or None if none does."""
    match node:
        case ast.Compare(ops=[operator]) if type(operator) in _SWAPPED:
            return "comparison"
        case ast.BinOp(op=operator) | ast.BoolOp(op=operator) if type(operator) in _SWAPPED:
            return "operator"
        case ast.UnaryOp(op=ast.Not()):
            return "not removed"
        case ast.Constant(value=bool()):
            return "flag flipped"
        case ast.Constant(value=int()):
            return "number + 1"
    return None


def _apply(statement: ast.stmt, node: ast.AST) -> ast.stmt:
    """Change an expression of a statement in place; return the statement."""
    if isinstance(node, ast.Compare):
        node.ops = [_SWAPPED[type(node.ops[0])]()]  # type: ignore[list-item]
    elif isinstance(node, ast.BinOp | ast.BoolOp):
        node.op = _SWAPPED[type(node.op)]()  # type: ignore[assignment]
    elif isinstance(node, ast.UnaryOp):
        _Unwrap(node).visit(statement)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int):
        node.value = not node.value if isinstance(node.value, bool) else node.value + 1
    return statement


class _Unwrap(ast.NodeTransformer):
    """Replace a negation by its operand."""

    def __init__(self, negation: ast.UnaryOp) -> None:
        self._negation = negation

    def visit(self, node: ast.AST) -> ast.AST:
        if node is self._negation:
            return self._negation.operand
        self.generic_visit(node)
        return node


def _replaced(lines: list[str], old: ast.stmt, new: ast.stmt) -> str:
    """Return the text of these lines with one statement in the place of another."""
    assert old.end_lineno is not None
    text = ast.unparse(ast.fix_missing_locations(new))
    if lines[old.lineno - 1][old.col_offset :].startswith("elif"):
        text = f"el{text}"
    indent = " " * old.col_offset
    changed = "".join(f"{indent}{line}\n" for line in text.splitlines())
    return "".join([*lines[: old.lineno - 1], changed, *lines[old.end_lineno :]])
