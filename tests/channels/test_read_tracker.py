"""Arrivals: what people have had is looked at after something was delivered, and not again until there is more."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from channels import read_tracker as arrivals
from channels.read_tracker import Arrivals
from tests.support.waiting import DEADLINE


class Reading:
    """Somebody who reads: `to_come` says for each look whether there will be more on its way; then there is none."""

    def __init__(self, *to_come: bool) -> None:
        self.looks = 0
        self.level = threading.Event()
        self._to_come = list(to_come)

    def note_arrived(self) -> bool:
        self.looks += 1
        more = bool(self._to_come) and self._to_come.pop(0)
        if not more:
            self.level.set()
        return more

    def wait(self) -> None:
        """Until nothing was on its way."""
        assert self.level.wait(DEADLINE)
        self.level.clear()


class Carrier:
    """A journal that counts."""

    def __init__(self) -> None:
        self.commits = 0
        self.done = threading.Event()
        self.failing = False

    def carry(self) -> None:
        self.commits += 1
        self.done.set()
        if self.failing:
            raise ZeroDivisionError("a mistake")


@pytest.fixture
def carrier() -> Carrier:
    """What commits what was noted."""
    return Carrier()


@pytest.fixture
def noted(carrier: Carrier, monkeypatch: pytest.MonkeyPatch) -> Iterator[Arrivals]:
    """Arrivals that look at once."""
    monkeypatch.setattr(arrivals, "PERIOD", 0.0)
    made = Arrivals(carrier.carry)
    yield made
    made.close()


def test_it_looks_until_all_has_arrived_and_then_no_more(noted: Arrivals, carrier: Carrier) -> None:
    bob = Reading(True, True)
    noted.add(bob)
    bob.wait()
    noted.close()
    assert (bob.looks, carrier.commits) == (3, 3)


def test_a_delivery_leads_to_a_look_at_everybody(noted: Arrivals) -> None:
    people = [Reading() for _ in range(250)]
    for person in people:
        noted.add(person)
    for person in people:
        person.wait()
    for _ in range(3):
        noted.stir()
        for person in people:
            person.wait()


def test_whoever_has_gone_is_not_looked_at_and_nobody_is_no_reason_to(noted: Arrivals, carrier: Carrier) -> None:
    bob, carol = Reading(), Reading()
    noted.add(bob)
    bob.wait()
    noted.remove(bob)
    noted.remove(bob)
    noted.stir()
    noted.add(carol)
    carol.wait()
    noted.close()
    assert bob.looks == 1


def test_many_people_are_committed_in_portions(noted: Arrivals, carrier: Carrier) -> None:
    """So that those who post wait for one portion at most."""
    with noted._lock:
        noted._people.update(Reading() for _ in range(249))
    last = Reading()
    noted.add(last)
    last.wait()
    noted.close()
    assert carrier.commits == 3


def test_a_mistake_does_not_end_it(noted: Arrivals, carrier: Carrier) -> None:
    bob = Reading()
    carrier.failing = True
    noted.add(bob)
    bob.wait()
    assert carrier.done.wait(DEADLINE)
    carrier.failing = False
    noted.stir()
    bob.wait()


def test_it_ends_at_once_however_long_the_period(monkeypatch: pytest.MonkeyPatch, carrier: Carrier) -> None:
    monkeypatch.setattr(arrivals, "PERIOD", 60.0)
    made = Arrivals(carrier.carry)
    made.add(Reading())
    made.close()
    assert not made._thread.is_alive()
    assert carrier.commits == 0
