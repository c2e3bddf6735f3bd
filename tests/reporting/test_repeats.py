"""Repeats: a flood from one address is counted, one from many is bounded, and nothing grows."""

from __future__ import annotations

from reporting.repeats import _ALL, _SOURCES, PERIOD, Repeats


def test_the_first_lines_of_a_minute_are_written() -> None:
    repeats = Repeats(3)
    assert [repeats.may_write("login", "10.0.0.5", 0.0) for _ in range(5)] == [True, True, True, False, False]
    assert repeats.may_write("login", "10.0.0.6", 0.0)
    assert repeats.may_write("cut-off", "10.0.0.5", 0.0)
    assert repeats.next_end() == PERIOD
    assert repeats.ended(PERIOD - 1) == []
    assert repeats.ended(PERIOD) == [("login", "10.0.0.5", 2)]
    assert repeats.next_end() is None
    assert repeats.may_write("login", "10.0.0.5", PERIOD)


def test_without_a_limit_all_are_written() -> None:
    repeats = Repeats(0)
    assert all(repeats.may_write("login", "10.0.0.5", 0.0) for _ in range(1_000))


def test_many_sources_are_limited_together_and_take_bounded_memory() -> None:
    repeats = Repeats(2)
    written = sum(repeats.may_write("login", str(source), 0.0) for source in range(3 * _SOURCES))
    assert written == 2 * _ALL
    assert len(repeats._windows) <= _SOURCES + 1
    assert sum(count for _, _, count in repeats.ended(PERIOD)) == 3 * _SOURCES - written
    assert not repeats._windows
