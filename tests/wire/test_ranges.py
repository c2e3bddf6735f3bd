"""Sets of ranges against plain sets of numbers, and names of files that come from anywhere."""

from __future__ import annotations

import itertools
import time
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.strategies import hostile_text
from wire.errors import Refused
from wire.file_names import SAFE_LIMIT, check_file_name, check_path, safe_name, safe_path, size_words
from wire.ranges import EMPTY, add, missing, reach, total, union

SPANS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)).map(sorted), max_size=12)


def numbers(ranges: list[list[int]] | tuple[tuple[int, int], ...]) -> set[int]:
    """All that is in some ranges."""
    return {number for first, end in ranges for number in range(first, end)}


@given(spans=SPANS)
def test_a_set_of_ranges_is_a_set_of_numbers(spans: list[list[int]]) -> None:
    """In any order: the ranges are sorted and do not touch, so equal sets are equal values."""
    made = union(spans)
    assert numbers(made) == numbers(spans)
    assert total(made) == len(numbers(spans))
    assert all(first < end for first, end in made)
    assert all(one[1] < other[0] for one, other in itertools.pairwise(made))
    assert union(reversed(spans)) == union([*spans, *spans]) == made


def test_a_set_of_many_ranges_takes_linear_time() -> None:
    """The answer of a server, or of another client, may have hundreds of thousands of them."""

    def seconds(count: int) -> float:
        spans = [(at * 2, at * 2 + 1) for at in range(count)]
        began = time.process_time()
        assert len(union(spans)) == count
        return time.process_time() - began

    assert min(seconds(80_000) for _ in range(3)) < 10 * min(seconds(20_000) for _ in range(3))


@given(spans=SPANS, span=st.tuples(st.integers(0, 40), st.integers(0, 40)).map(sorted))
def test_what_is_missing_is_what_is_not_there(spans: list[list[int]], span: list[int]) -> None:
    """Of any range; and with it added, nothing is."""
    made, (first, end) = union(spans), span
    gaps = missing(made, first, end)
    assert numbers(gaps) == set(range(first, end)) - numbers(spans)
    assert missing(add(made, first, end), first, end) == EMPTY


@given(spans=SPANS, first=st.integers(0, 41))
def test_the_reach_is_up_to_the_next_hole(spans: list[list[int]], first: int) -> None:
    """From a byte that is there on; else nowhere."""
    there, end = numbers(spans), reach(union(spans), first)
    assert set(range(first, end)) <= there
    assert end not in there


EVIL = (
    "../../etc/passwd", "C:\\x", "a\0b", "x" * 300, ".", "..", "", "/", "\\\\host\\share", "a/", "con", "NUL.txt",
    ".bashrc", "~/.ssh/authorized_keys", "a\nb", "\u202egpj.exe", "é" * 200 + ".tar.gz", " ", "x.",
    "$(rm)", "|ls", "\ud800",
)  # fmt: skip


@pytest.mark.parametrize("name", EVIL)
def test_a_reduced_name_of_the_worst_kind_is_one_plain_file(name: str) -> None:
    """No path leaves the folder."""
    check_reduced(safe_name(name))


@given(name=hostile_text() | st.text("./\\:~ \0aé", max_size=30))
def test_a_reduced_name_is_one_plain_file(name: str) -> None:
    """For any text. Reducing the result again changes nothing."""
    reduced = safe_name(name)
    check_reduced(reduced)
    assert safe_name(reduced) == reduced
    for step in safe_path(name):
        check_reduced(step)


def check_reduced(name: str) -> None:
    """One component, visible, short enough for a file system, nothing that a terminal obeys."""
    assert name
    assert PurePosixPath(name).name == name
    assert name not in (".", "..")
    assert not name.startswith(".")
    assert 0 < len(name.encode()) <= SAFE_LIMIT
    assert not set(name) & set('/\\:\0\n\r\t\x1b\u202e<>"|?*')
    assert check_file_name(name) == name


def test_a_plain_name_stays_as_it_is() -> None:
    """And a long one keeps its ending."""
    for name in ("photo.jpg", "Grüße aus Köln.txt", "a b.tar.gz", "1", "noext"):
        assert safe_name(name) == name
    assert safe_name("x" * 300 + ".tar") == "x" * (SAFE_LIMIT - 4) + ".tar"
    assert safe_path("a/../b/./c.txt") == ["a", "b", "c.txt"]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "a\0b", "x" * 256, "a\nb", "\x1b[2J", "a\tb"])
def test_a_name_that_is_no_name_is_refused(name: str) -> None:
    """With a code, and also as a component of a path."""
    with pytest.raises(Refused) as refused:
        check_file_name(name)
    assert refused.value.code == "bad-file-name"
    assert "\x1b" not in refused.value.sentence
    if name != "a/b":
        with pytest.raises(Refused):
            check_path(f"x/{name}/y")
    assert check_path("a/b/c.txt") == "a/b/c.txt"


def test_sizes_in_words() -> None:
    """Three figures are enough."""
    sizes = [0, 1, 999, 1000, 3_400_000, 99_960_000, 1_234_000_000, 999_600_000_000, 10**15]
    assert [size_words(size) for size in sizes] == [
        "0 bytes", "1 byte", "999 bytes", "1.0 kB", "3.4 MB", "100 MB", "1.2 GB", "1.0 TB", "1 PB",
    ]  # fmt: skip
