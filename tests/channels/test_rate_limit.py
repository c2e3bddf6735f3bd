"""The rate limit of posts, by a clock of the test: a burst of one second, then one post at a time."""

from __future__ import annotations

import threading

import pytest

from channels.rate_limit import RateLimit

RATE = 10


class Clock:
    """A clock that moves only when a test, or a wait of the limit, moves it. `waited` has the seconds of each wait."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000.0
        self.waited: list[float] = []
        monkeypatch.setattr("channels.rate_limit.time.monotonic", lambda: self.now)

    def limit(self) -> RateLimit:
        """Return a limit whose waits move the clock."""
        made = RateLimit(RATE)
        made._stopped = _Waits(self)
        return made


class _Waits(threading.Event):
    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self._clock.waited.append(timeout)
        self._clock.now += timeout
        return self.is_set()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_a_burst_of_one_second_goes_at_once(clock: Clock) -> None:
    limit = clock.limit()
    assert (limit.full, limit.empty) == (True, False)
    assert limit.take(25) == RATE
    assert clock.waited == []
    assert (limit.full, limit.empty) == (False, True)


def test_after_the_burst_each_post_waits_its_turn(clock: Clock) -> None:
    limit = clock.limit()
    limit.take(RATE)
    assert [limit.take(5) for _ in range(3)] == [1, 1, 1]
    assert clock.waited == pytest.approx([1 / RATE] * 3)


def test_a_silent_connection_earns_its_burst_again_and_no_more(clock: Clock) -> None:
    limit = clock.limit()
    limit.take(RATE)
    clock.now += 0.55
    assert (limit.full, limit.empty) == (False, False)
    assert limit.take(RATE) == 5
    clock.now += 1_000
    assert (limit.full, limit.empty) == (True, False)
    assert limit.take(100) == RATE


def test_part_of_a_post_is_kept(clock: Clock) -> None:
    limit = clock.limit()
    limit.take(RATE)
    clock.now += 0.05
    assert limit.empty
    assert limit.take(1) == 1
    assert clock.waited == pytest.approx([0.05])


def test_a_stopped_limit_lets_everything_go(clock: Clock) -> None:
    limit = clock.limit()
    limit.take(RATE)
    limit.stop()
    clock.now += 0.001
    assert limit.take(50) == 50
    assert clock.waited == []
