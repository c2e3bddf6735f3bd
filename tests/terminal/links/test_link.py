"""The pauses between the attempts of a link, and how a link retries."""

from __future__ import annotations

import random
import threading

import pytest

from terminal.links import link as link_module
from terminal.links.endpoint import Endpoint
from terminal.links.link import Disconnected, Event, Link, pause
from tests.support.waiting import DEADLINE


def attempts(until: float, chance: float) -> list[float]:
    """Return the seconds after the loss at which a link with this luck tries, if each attempt fails at once."""
    at, tried = 0.0, []
    while at < until:
        at += pause(at, lambda: chance)
        tried.append(at)
    return tried


def test_pauses_stay_short_for_half_a_minute_and_then_grow_to_a_bound() -> None:
    for chance in (0.0, 0.5, 1.0):
        tried = attempts(3600.0, chance)
        gaps = [(after, after - before) for before, after in zip([0.0, *tried], tried, strict=False)]
        assert tried[0] <= 0.25
        assert all(gap <= 2.0 for at, gap in gaps if at <= 30.0)
        assert gaps[-1][1] == 15.0 * (0.5 + chance / 2)
        assert all(gap <= 15.0 for _, gap in gaps)


@pytest.mark.parametrize("absence", [1.0, 5.0, 6.0, 9.0, 20.0, 29.0])
def test_a_server_that_returns_within_half_a_minute_is_tried_within_two_seconds(absence: float) -> None:
    """The pause had grown to 8 seconds by then, and a script gave up during it."""
    for chance in (0.0, 0.3, 1.0):
        assert min(at for at in attempts(60.0, chance) if at >= absence) <= absence + 2.0


def test_a_thousand_clients_do_not_come_at_once() -> None:
    """They lose the server at the same moment, and it is away for five seconds."""
    chances = random.Random(7)
    first = []
    for _ in range(1_000):
        at = 0.0
        while at < 5.0:
            at += pause(at, chances.random)
        first.append(at)
    busiest = max(sum(begin <= at < begin + 0.1 for at in first) for begin in first)
    assert busiest < 200


class Failing(Link):
    """A link whose attempts fail at once; `tried` is released for each."""

    def __init__(self) -> None:
        super().__init__([Endpoint("here", 7000)], self._note)
        self.tried = threading.Semaphore(0)
        self.events: list[Event] = []

    def _note(self, event: Event) -> None:
        self.events.append(event)

    def _dial(self, endpoint: Endpoint) -> tuple[bool, Disconnected]:
        self.tried.release()
        return False, Disconnected("refused", reached=False)


def test_retry_ends_the_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "pause", lambda absent: DEADLINE * 10)
    link = Failing()
    link.start()
    for _ in range(5):
        assert link.tried.acquire(timeout=DEADLINE)
        link.retry()
    link.stop()
    assert not [thread for thread in threading.enumerate() if thread.name == "partyline-link"]
