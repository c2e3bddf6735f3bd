"""The read tracker looks at its sessions after a delivery, and not again until something else is on its way."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from channels import read_tracker
from channels.read_tracker import ReadTracker
from tests.support.waiting import DEADLINE


class Session:
    """A tracked session. `to_come` says for each look whether more is on its way; after the last one nothing is."""

    def __init__(self, *to_come: bool) -> None:
        self.looks = 0
        self.level = threading.Event()
        self._to_come = list(to_come)

    def note_read(self) -> bool:
        self.looks += 1
        more = bool(self._to_come) and self._to_come.pop(0)
        if not more:
            self.level.set()
        return more

    def wait(self) -> None:
        """Wait until nothing is on its way."""
        assert self.level.wait(DEADLINE)
        self.level.clear()


class Carrier:
    """A journal that counts its commits."""

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
    """A journal that commits nothing."""
    return Carrier()


@pytest.fixture
def tracker(carrier: Carrier, monkeypatch: pytest.MonkeyPatch) -> Iterator[ReadTracker]:
    """A read tracker that looks at once."""
    monkeypatch.setattr(read_tracker, "PERIOD", 0.0)
    made = ReadTracker(carrier.carry)
    yield made
    made.close()


def test_it_looks_until_everything_is_read_and_then_stops(tracker: ReadTracker, carrier: Carrier) -> None:
    bob = Session(True, True)
    tracker.add(bob)
    bob.wait()
    tracker.close()
    assert (bob.looks, carrier.commits) == (3, 3)


def test_a_delivery_leads_to_a_look_at_every_session(tracker: ReadTracker) -> None:
    sessions = [Session() for _ in range(250)]
    for session in sessions:
        tracker.add(session)
    for session in sessions:
        session.wait()
    for _ in range(3):
        tracker.delivered()
        for session in sessions:
            session.wait()


def test_a_removed_session_is_not_looked_at(tracker: ReadTracker, carrier: Carrier) -> None:
    bob, carol = Session(), Session()
    tracker.add(bob)
    bob.wait()
    tracker.remove(bob)
    tracker.remove(bob)
    tracker.delivered()
    tracker.add(carol)
    carol.wait()
    tracker.close()
    assert bob.looks == 1


def test_the_cursors_of_many_sessions_are_committed_in_portions(tracker: ReadTracker, carrier: Carrier) -> None:
    """A post waits for one portion at most."""
    with tracker._lock:
        tracker._sessions.update(Session() for _ in range(249))
    last = Session()
    tracker.add(last)
    last.wait()
    tracker.close()
    assert carrier.commits == 3


def test_an_exception_does_not_end_the_thread(tracker: ReadTracker, carrier: Carrier) -> None:
    bob = Session()
    carrier.failing = True
    tracker.add(bob)
    bob.wait()
    assert carrier.done.wait(DEADLINE)
    carrier.failing = False
    tracker.delivered()
    bob.wait()


def test_it_ends_at_once_however_long_the_period(monkeypatch: pytest.MonkeyPatch, carrier: Carrier) -> None:
    monkeypatch.setattr(read_tracker, "PERIOD", 60.0)
    made = ReadTracker(carrier.carry)
    made.add(Session())
    made.close()
    assert not made._thread.is_alive()
    assert carrier.commits == 0
