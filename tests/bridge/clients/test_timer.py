"""Timer: calls in the order of their times, cancelled calls, calls that fail, and the end of its thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from bridge.clients.timer import Timer
from reporting import events
from tests.support.reported import Reported
from tests.support.waiting import DEADLINE


@pytest.fixture
def timer() -> Iterator[Timer]:
    """A timer that is closed in the end."""
    made = Timer()
    yield made
    made.close()


@pytest.fixture
def release(timer: Timer) -> Callable[[], None]:
    """The timer's thread is in a call, and what is due meanwhile waits until this is called."""
    held, released = threading.Event(), threading.Event()

    def hold() -> None:
        held.set()
        released.wait(DEADLINE)

    timer.call_later(0, hold)
    assert held.wait(DEADLINE)
    return released.set


def test_calls_are_made_in_the_order_of_their_times(timer: Timer, release: Callable[[], None]) -> None:
    called, done = list[int](), threading.Event()
    timer.call_later(0, done.set)
    for at in (-1, -3, -2):
        timer.call_later(at, partial(called.append, at))
    release()
    assert done.wait(DEADLINE)
    assert called == [-3, -2, -1]


def test_an_earlier_call_does_not_wait_for_a_later_one(timer: Timer) -> None:
    done = threading.Event()
    timer.call_later(10_000, lambda: None)
    timer.call_later(0, done.set)
    assert done.wait(DEADLINE)


def test_a_cancelled_call_is_not_made(timer: Timer, release: Callable[[], None]) -> None:
    called, done = list[str](), threading.Event()
    number = timer.call_later(-1, partial(called.append, "cancelled"))
    timer.call_later(0, done.set)
    call = timer.cancel(number)
    assert call is not None
    assert timer.cancel(number) is None, "it is cancelled already"
    release()
    assert done.wait(DEADLINE)
    assert called == []
    call()
    assert called == ["cancelled"], "the canceller may make the call itself"


def test_a_call_that_was_made_cannot_be_cancelled(timer: Timer) -> None:
    done = threading.Event()
    number = timer.call_later(0, done.set)
    assert done.wait(DEADLINE)
    assert timer.cancel(number) is None


def test_a_call_that_fails_is_logged_and_the_next_one_is_made(timer: Timer, reported: Reported) -> None:
    done = threading.Event()

    def fail() -> None:
        raise ValueError("as it was asked to")

    timer.call_later(0, fail)
    timer.call_later(0.01, done.set)
    assert done.wait(DEADLINE)
    assert [event.part for event in reported.of(events.InternalError)] == ["mqtt-timer"]
    assert "as it was asked to" in reported.text


def test_cancelled_calls_are_forgotten(timer: Timer) -> None:
    for _ in range(1_000):
        timer.cancel(timer.call_later(10_000, lambda: None))
    assert len(timer._due) < 100
    assert not timer._calls


def test_what_is_not_due_at_the_end_is_not_called() -> None:
    timer, called = Timer(), list[int]()
    timer.call_later(10_000, lambda: called.append(1))
    timer.close()
    assert called == []
    assert not timer._thread.is_alive()
