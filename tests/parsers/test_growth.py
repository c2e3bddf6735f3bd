"""No parser takes more than linear time and memory: four times the input costs at most 8 times the CPU time."""

from __future__ import annotations

import gc
import time
import tracemalloc
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.examples import examples
from tests.support.parsers import PARSERS, Parser

_MOST = 8  # times the time, for four times the input: 4 if it is linear, 16 if it is quadratic
_LONGEST = 1 << 15  # bytes of the longer input
_LONG = 0.05  # seconds after which a longer input need not be tried
_MEASURABLE = 0.0005  # seconds; a shorter time is mostly noise
_RUNS = 3  # the shortest of so many counts, if the first ratio is above `_MOST`
_LOOKS = 3  # such a ratio must be there again so many times
_SIZE = 1 << 14  # bytes of the inputs whose memory is measured
_FIXED = 1 << 15  # bytes that any input may take

every_parser = pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.name)


def pumped(before: bytes, unit: bytes, after: bytes, size: int) -> bytes:
    """Return an input of about that size that repeats `unit`."""
    return before + unit * max(1, size // len(unit)) + after


def cpu(parser: Parser, data: bytes, runs: int) -> float:
    """Return the CPU seconds of this thread that an input takes, at least."""
    times: list[float] = []
    gc.disable()
    try:
        for _ in range(runs):
            start = time.thread_time()
            parser.feed(data)
            times.append(time.thread_time() - start)
    finally:
        gc.enable()
    return min(times)


def check_time(parser: Parser, before: bytes, unit: bytes, after: bytes) -> None:
    """Assert that the time grows no faster than the input."""
    size = 1_024
    while size < _LONGEST and cpu(parser, pumped(before, unit, after, size), 1) < _LONG:
        size *= 2
    ratios: list[float] = []
    for runs in (1, *[_RUNS] * _LOOKS):
        one, two = (cpu(parser, pumped(before, unit, after, each), runs) for each in (size // 4, size))
        ratios.append(two / max(one, _MEASURABLE))
        if ratios[-1] <= _MOST:
            return
    raise AssertionError(f"{parser.name}: {before!r} + {unit!r} * {size // len(unit)} + {after!r}: {ratios} times")


def check_memory(parser: Parser, before: bytes, unit: bytes, after: bytes) -> None:
    """Assert that the memory at its peak is at most the row's part of the input."""
    data = pumped(before, unit, after, _SIZE)
    parser.feed(data[:100])  # what is made once, such as caches
    tracemalloc.start()
    try:
        parser.feed(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= parser.memory * len(data) + _FIXED, (
        f"{parser.name}: {before!r} + {unit!r} * … + {after!r}: {peak / len(data):.0f} bytes for a byte"
    )


@every_parser
def test_each_fragment_again_and_again_takes_linear_time_and_memory(parser: Parser) -> None:
    for unit in parser.fragments:
        check_time(parser, b"", unit, b"\n")
        check_memory(parser, b"", unit, b"\n")


@every_parser
@settings(max_examples=examples(0.1))
@given(data=st.data())
def test_fragments_in_any_combination_take_linear_time_and_memory(parser: Parser, data: st.DataObject) -> None:
    parts = st.lists(st.sampled_from(parser.fragments) | st.binary(min_size=1, max_size=3), max_size=3).map(b"".join)
    before, unit, after = (data.draw(each) for each in (parts, parts.filter(bool), parts))
    check_time(parser, before, unit, after)
    check_memory(parser, before, unit, after)


def test_the_measure_finds_what_is_quadratic() -> None:
    """For example Unicode's normalization of a run of accents, a buffer that is copied for each byte, or two loops."""
    accents = Parser("quadratic", lambda data: unicodedata.normalize("NFC", data.decode()), (b"x",))
    with pytest.raises(AssertionError, match="quadratic"):
        check_time(accents, b"a", "\u0316\u0301".encode(), b"")
    with pytest.raises(AssertionError, match="quadratic"):
        check_time(Parser("quadratic", copies, (b"x",)), b"", b"x", b"")
    with pytest.raises(AssertionError, match="quadratic"):
        check_time(Parser("quadratic", lambda data: [0 for _ in data for _ in data], (b"x",)), b"", b"x", b"")
    check_time(Parser("linear", lambda data: [byte for byte in data for _ in range(20)], (b"x",)), b"", b"x", b"")
    with pytest.raises(AssertionError, match="hungry"):
        check_memory(Parser("hungry", lambda data: [[byte] for byte in data], (b"x",)), b"", b"x", b"")


def copies(data: bytes) -> None:
    """Gather bytes one by one, each 32 times, and copy all of them each time."""
    held = b""
    for at in range(len(data)):
        held = b"".join((held, data[at : at + 1] * 32))  # so that the copies take most of the time
