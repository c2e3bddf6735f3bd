"""The mutants of the campaign: each kind of change, what stays as it is, and which tests run against a mutant."""

from __future__ import annotations

import ast
import difflib
from pathlib import Path
from textwrap import dedent, indent

import pytest

from tests.campaign.mutants import FOLDERS, ROOT, Baseline, labelled_test
from tests.campaign.mutations import Mutant, mutants

FILE = Path("channels/log.py")


def changes(body: str) -> set[tuple[str, str]]:
    """Return each mutant of a function with this body: its change, and the lines that are new in it."""
    source = f"def function(a, b, c):\n{indent(dedent(body).strip(), '    ')}\n"
    found = list(mutants(FILE, source))
    for mutant in found:
        ast.parse(mutant.text)
    assert len(found) == len({mutant.text for mutant in found}), "two mutants are the same"
    return {(mutant.change, added(source, mutant.text)) for mutant in found}


def added(old: str, new: str) -> str:
    """Return the lines that only the new text has."""
    lines = difflib.ndiff(old.splitlines(), new.splitlines())
    return "; ".join(line[2:].strip() for line in lines if line.startswith("+ "))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("a = b", {("dropped", "pass")}),
        ("a += b", {("dropped", "pass")}),
        ("a.close()", {("dropped", "pass")}),
        ("return a", {("returns None", "return None")}),
        ("return None", set()),
        ("return a < b", {("returns None", "return None"), ("comparison", "return a <= b")}),
        ("return a is b", {("returns None", "return None"), ("comparison", "return a is not b")}),
        ("return a + b", {("returns None", "return None"), ("operator", "return a - b")}),
        ("return a and b", {("returns None", "return None"), ("operator", "return a or b")}),
        ("return not a", {("returns None", "return None"), ("not removed", "return a")}),
        ("return True", {("returns None", "return None"), ("flag flipped", "return False")}),
        ("return 8", {("returns None", "return None"), ("number + 1", "return 9")}),
        ("a: int = 8", {("number + 1", "a: int = 9")}),
        ("for a in b[1:]:\n    pass", {("number + 1", "for a in b[2:]:")}),
    ],
)
def test_a_statement_has_a_mutant_for_each_change_that_fits(body: str, expected: set[tuple[str, str]]) -> None:
    assert changes(body) == expected


def test_a_condition_is_negated_once() -> None:
    assert changes("if a:\n    pass") == {("negated", "if not a:")}
    assert changes("if not a:\n    pass") == {("not removed", "if a:")}
    assert changes("if a == b:\n    pass") == {("comparison", "if a != b:")}
    assert changes("if a < b:\n    pass") == {("negated", "if not a < b:"), ("comparison", "if a <= b:")}
    assert changes("while True:\n    pass") == {("flag flipped", "while False:")}


def test_an_elif_stays_one() -> None:
    body = """
        if a:
            pass
        elif b:
            pass
        else:
            pass
    """
    assert changes(body) == {("negated", "if not a:"), ("negated", "elif not b:")}


def test_a_nested_function_and_a_decorated_one_are_changed_once() -> None:
    body = """
        @c(1)
        def inner(d=2):
            return d
    """
    assert changes(body) == {("returns None", "return None")}


@pytest.mark.parametrize(
    "body",
    [
        '"""Return 1 if a < b."""',
        "...",
        "assert a < 1",
        "import re",
        "raise ValueError(a + 1)",
        "a: int",
        'log_.warning("%d failed", a + 1)',
        'log.exception("failed")',
    ],
)
def test_a_statement_without_an_effect_of_its_own_has_no_mutant(body: str) -> None:
    assert changes(body) == set()


def test_a_call_of_the_log_of_a_chat_has_one() -> None:
    assert changes("log.deliver()") == {("dropped", "pass")}


def test_only_the_bodies_of_functions_change() -> None:
    source = '''
        LIMIT = 4 + 1

        class Follower(Protocol):
            """Follows a log."""

            size: int = 3

            def deliver(self, count: int = 1) -> bool:
                """Return True if count > 0."""

        class Plain:
            def __repr__(self) -> str:
                return f"{self.size + 1}"
    '''
    assert list(mutants(FILE, dedent(source))) == []


def test_a_mutant_names_its_place_and_leaves_the_other_lines_alone() -> None:
    source = "def function(a):\n    # first\n    b = (\n        a  # left\n        < 1\n    )\n    return b  # last\n"
    found = [mutant for mutant in mutants(FILE, source) if mutant.change == "comparison"]
    text = "def function(a):\n    # first\n    b = a <= 1\n    return b  # last\n"
    assert found == [Mutant(FILE, 3, "comparison", text)]


@pytest.mark.parametrize("folder", FOLDERS)
def test_mutants_of_the_product_can_be_parsed(folder: str) -> None:
    file = max((ROOT / folder).glob("*.py"), key=lambda each: each.stat().st_size)
    found = list(mutants(file, file.read_text()))
    assert len(found) > 50
    for mutant in found[:: len(found) // 50]:
        ast.parse(mutant.text)


@pytest.mark.parametrize("name", ["tests/a.py::test_b", "tests/a.py::test_b[x|run-(call)]", "tests/a.py::test_b[a b]"])
def test_a_context_names_its_test(name: str) -> None:
    contexts = [f"{name}|setup", f"{name}|run", f"{name} (call)", f"{name} (teardown)"]
    assert {labelled_test(context) for context in contexts} == {name}
    assert labelled_test("") is None


def test_the_tests_of_the_line_run_first() -> None:
    slow, quick, door = "tests/channels/a.py::slow", "tests/channels/a.py::quick", "tests/doors/b.py::test"
    kill = "tests/faults/c.py::kill"
    of_line = {("channels/log.py", 7): {slow, quick, door, "tests/doors/b.py::that fails on the unchanged code"}}
    baseline = Baseline({door: 0.1, kill: 0.2, slow: 2.0, quick: 1.0}, of_line)
    assert baseline.tests(Mutant(FILE, 7, "dropped", "")) == [quick, slow, door, kill]
    assert baseline.tests(Mutant(FILE, 8, "dropped", "")) == [quick, slow, kill], "no test is known to run this line"
