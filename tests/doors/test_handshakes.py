"""The turns of TLS handshakes: a few of each address at a time, and nobody waits for another address."""

from __future__ import annotations

import threading

import pytest

from doors.handshakes import HandshakeTurns
from tests.support.waiting import DEADLINE, eventually


def test_the_handshakes_of_an_address_take_turns() -> None:
    turns, free, entered = HandshakeTurns(), threading.Event(), list[str]()

    def shake_hands(network: str, name: str) -> None:
        with turns.turn(network, 2, DEADLINE):
            entered.append(name)
            assert free.wait(DEADLINE)

    threads = []
    for network, name in (("one", "a"), ("one", "b"), ("one", "waits"), ("other", "c")):
        threads.append(threading.Thread(target=shake_hands, args=(network, name)))
        threads[-1].start()
        eventually(lambda name=name: name in (*entered, "waits"), lambda: f"{entered}")  # type: ignore[misc]
    assert entered == ["a", "b", "c"]
    free.set()
    for thread in threads:
        thread.join()
    assert entered[3:] == ["waits"]
    assert len(turns) == 0


def test_a_turn_that_does_not_come_in_time_is_an_error() -> None:
    turns = HandshakeTurns()
    with turns.turn("one", 1, 1.0), pytest.raises(TimeoutError), turns.turn("one", 1, 0.01):
        raise AssertionError("it has a turn")
    with turns.turn("one", 1, 0.01) as left:
        assert 0 <= left <= 0.01


def test_a_handshake_has_less_time_while_there_are_many() -> None:
    turns = HandshakeTurns()
    with turns.turn("one", 2, 100.0) as first, turns.turn("one", 2, 100.0) as second:
        assert first > 90
        assert second <= 2
    with turns.turn("one", 0, 100.0) as first, turns.turn("one", 0, 100.0) as second:
        assert first == second == 100.0
