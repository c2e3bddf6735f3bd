"""The pauses between the attempts of a link."""

from __future__ import annotations

from collections.abc import Callable

from terminal.links.link import pause


def test_pauses_grow_up_to_a_limit_and_are_random() -> None:
    def at(chance: float) -> Callable[[], float]:
        return lambda: chance

    longest = [pause(attempt, at(1.0)) for attempt in range(12)]
    assert longest == sorted(longest)
    assert longest[0] == 0.25
    assert longest[-1] == 15.0
    assert pause(3, at(0.0)) == pause(3, at(1.0)) / 2
    assert pause(10_000) <= 15.0
