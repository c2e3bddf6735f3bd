"""Floor 0: sets of byte ranges: the parts of a file that are there.

A set is a sorted tuple of half-open ranges (first, end), no two of which touch, so equal sets are equal tuples.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from typing import TypeAlias

RangeSet: TypeAlias = tuple[tuple[int, int], ...]
EMPTY: RangeSet = ()


def add(ranges: RangeSet, first: int, end: int) -> RangeSet:
    """Return the set with one more range."""
    if first >= end:
        return ranges
    low = bisect_left(ranges, first, key=lambda one: one[1])
    high = bisect_right(ranges, end, key=lambda one: one[0])
    if low < high:
        first, end = min(first, ranges[low][0]), max(end, ranges[high - 1][1])
    return (*ranges[:low], (first, end), *ranges[high:])


def union(ranges: Iterable[Sequence[int]]) -> RangeSet:
    """Return the set of these ranges, which may overlap and have any order."""
    made: list[tuple[int, int]] = []
    for first, end in sorted([(first, end) for first, end in ranges if first < end]):
        if made and first <= made[-1][1]:
            made[-1] = (made[-1][0], max(made[-1][1], end))
        else:
            made.append((first, end))
    return tuple(made)


def clip(ranges: RangeSet, end: int) -> RangeSet:
    """Return the part of the set before `end`."""
    return tuple((first, min(last, end)) for first, last in ranges if first < end)


def missing(ranges: RangeSet, first: int, end: int) -> RangeSet:
    """Return the parts of one range that the set lacks."""
    gaps: list[tuple[int, int]] = []
    at = first
    for have, upto in ranges[bisect_right(ranges, first, key=lambda one: one[1]) :]:
        if have >= end:
            break
        if have > at:
            gaps.append((at, have))
        at = upto
    if at < end:
        gaps.append((at, end))
    return tuple(gaps)


def reach(ranges: RangeSet, first: int) -> int:
    """Return the end of the bytes that are there from `first` on without a hole; `first` if there are none."""
    at = bisect_right(ranges, first, key=lambda one: one[1])
    return ranges[at][1] if at < len(ranges) and ranges[at][0] <= first else first


def percent(have: int, size: int) -> int:
    """Return how many percent `have` bytes are of `size`, rounded down: 100 only if nothing is missing."""
    return have * 100 // size if size else 100


def total(ranges: RangeSet) -> int:
    """Return the count of bytes in the set."""
    return sum([end - first for first, end in ranges])
