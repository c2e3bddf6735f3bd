"""The meter, by a clock of the test: a burst at once, then one token at a time; and how many buckets it keeps."""

from __future__ import annotations

import pytest

from channels.rates import Meter

RATE, BURST = 10, 20


class Clock:
    """A clock that moves only when a test moves it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000.0
        monkeypatch.setattr("channels.rates.meter.time.monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.mark.usefixtures("clock")
def test_a_burst_goes_at_once_and_then_there_is_a_wait() -> None:
    meter = Meter(RATE, BURST, 100)
    assert [meter.take("a") for _ in range(BURST)] == [0.0] * BURST
    assert meter.take("a") == pytest.approx(1 / RATE)
    assert meter.take("b") == 0.0, "each key has its own bucket"


def test_a_refused_request_costs_nothing(clock: Clock) -> None:
    meter = Meter(RATE, BURST, 100)
    for _ in range(BURST):
        meter.take("a")
    for _ in range(1_000):
        assert meter.take("a") > 0
    clock.now += 1 / RATE
    assert meter.take("a") == 0.0


def test_a_pause_fills_the_bucket_and_no_more(clock: Clock) -> None:
    meter = Meter(RATE, BURST, 100)
    for _ in range(BURST):
        meter.take("a")
    assert not meter.full("a")
    clock.now += 0.55
    assert int(meter.there("a")) == 5
    clock.now += 1_000
    assert meter.full("a")
    assert int(meter.there("a")) == BURST


def test_tokens_can_be_reserved_that_are_not_there_yet(clock: Clock) -> None:
    """Each thread that waits has its own moment, in the order in which the threads came."""
    meter = Meter(RATE, BURST, 100)
    assert meter.reserve("a", BURST + 10) == (BURST, 0.0)
    assert [meter.reserve("a", 5) for _ in range(3)] == [pytest.approx((1, wait)) for wait in (0.1, 0.2, 0.3)]
    assert meter.there("a") == pytest.approx(-3)
    clock.now += 0.3
    assert meter.there("a") == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("rate", "burst"), [(3, 7), (20, 40), (10, 21)])
def test_a_whole_burst_can_be_reserved_at_any_time(clock: Clock, rate: int, burst: int) -> None:
    """The sums of times are rounded, and a burst is still whole."""
    for now in range(1, 100_000, 97):
        clock.now = now / 7
        meter = Meter(rate, burst, 100)
        assert meter.reserve("a", burst) == (burst, 0.0)
        assert meter.reserve("a", 1) == pytest.approx((1, 1 / rate))


@pytest.mark.usefixtures("clock")
def test_a_token_that_is_given_back_can_be_taken_again() -> None:
    meter = Meter(RATE, 1, 100)
    meter.take("a")
    meter.give_back("a")
    meter.give_back("never seen")
    assert meter.take("a") == 0.0
    assert meter.take("never seen") == 0.0


def test_full_buckets_are_forgotten_and_others_are_kept(clock: Clock) -> None:
    meter = Meter(RATE, BURST, 100_000)
    for n in range(1_000):
        meter.take(f"early {n}")
    clock.now += 10
    for _ in range(BURST):
        meter.take("late")
    for n in range(1_500):
        meter.take(f"later {n}")
    assert len(meter) <= 2_600
    assert meter.take("late") > 0


@pytest.mark.usefixtures("clock")
def test_there_are_never_more_buckets_than_allowed() -> None:
    meter = Meter(RATE, BURST, 80)
    for n in range(10_000):
        meter.take(f"{n}")
        assert len(meter) <= 81
    for _ in range(BURST):
        meter.take("the last")
    for n in range(60):
        meter.take(f"again {n}")
    assert meter.take("the last") > 0, "the oldest are forgotten, not the latest"
