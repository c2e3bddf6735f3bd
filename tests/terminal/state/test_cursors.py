"""The cursors: what is expected, what is due for an acknowledgement, and what a welcome changes."""

from __future__ import annotations

import itertools

from terminal.state.cursors import Cursors
from tests.support.terminal import ME, entry
from wire.frames import LogState, Seen


def seen(cursors: Cursors, first: int = 1, *, last: bool = False) -> list[Seen]:
    """Return the acknowledgements that are due, with refs from `first` on."""
    return cursors.acknowledgements(itertools.count(first).__next__, last=last)


def test_an_entry_is_expected_only_in_a_log_that_is_read() -> None:
    cursors = Cursors()
    cursors.expect("lab", None, 5)  # the channel was left before its post was answered
    level = [cursors.level]
    cursors.expect(None, "bob", 1)
    level.append(cursors.level)
    cursors.advance(entry(1, sender=ME, to="bob"), ME)
    assert [*level, cursors.level] == [True, False, True]


def test_after_a_welcome_the_acknowledged_entries_are_not_expected() -> None:
    cursors = Cursors()
    cursors.welcome([LogState(3, 3, "lab")])
    level = cursors.level
    cursors.welcome([LogState(4, 3, "lab")])
    assert (level, cursors.level) == (True, False)


def test_what_came_while_a_seen_was_in_flight_is_acknowledged_after_its_answer() -> None:
    cursors = Cursors()
    cursors.advance(entry(1), ME)
    assert [frame.number for frame in seen(cursors)] == [1]
    cursors.advance(entry(2), ME)
    cursors.advance(entry(3), ME)
    assert seen(cursors, 2) == []
    assert cursors.answered(1)
    assert not cursors.answered(1)
    assert [frame.number for frame in seen(cursors, 2)] == [3]
    cursors.advance(entry(4), ME)
    assert [frame.number for frame in seen(cursors, 3, last=True)] == [4]


def test_a_seen_that_was_lost_with_its_connection_is_sent_again() -> None:
    cursors = Cursors()
    cursors.advance(entry(2), ME)
    assert [frame.number for frame in seen(cursors)] == [2]
    cursors.welcome([LogState(2, 1, "lab")])
    assert not cursors.answered(1)
    assert [frame.number for frame in seen(cursors, 2)] == [2]


def test_an_entry_that_comes_in_the_moment_of_a_join_is_not_dropped() -> None:
    cursors = Cursors()
    cursors.join("lab", 4)
    assert cursors.since() == {"lab": 4}
    assert cursors.advance(entry(4), ME)[1] == 3
    assert cursors.since() == {"lab": 4}
    cursors.join("lab", 9)  # it is joined already: entries up to 9 are still to come
    assert cursors.since() == {"lab": 4}


def test_of_a_store_with_other_numbers_no_higher_number_is_asked_for() -> None:
    cursors = Cursors()
    cursors.join("lab", 4)
    cursors.welcome([LogState(2, 2, "lab")])
    assert cursors.since() == {"lab": 2}


def test_a_left_channel_is_forgotten() -> None:
    cursors = Cursors()
    cursors.advance(entry(7), ME)
    cursors.close("LAB")
    assert seen(cursors) == []
    assert (cursors.since(), cursors.channels()) == ({}, {})
    assert cursors.advance(entry(9), ME)[1] == 8, "a new cursor begins before the first entry that comes"
