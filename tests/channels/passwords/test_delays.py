"""Delays after wrong passwords, by a clock of the test."""

from __future__ import annotations

import pytest

from channels.passwords import PasswordDelayed, PasswordDelays

FREE, FACTOR, LONGEST = 3, 5, 60


class Clock:
    """A clock that moves only when a test moves it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000.0
        monkeypatch.setattr("channels.passwords.delays.time.monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def made(most: int = 1_000, longest: int = LONGEST) -> PasswordDelays:
    return PasswordDelays(FREE, FACTOR, longest, most)


def wait(delays: PasswordDelays, name: str, network: str | None) -> float:
    """Return the seconds that an attempt has to wait."""
    try:
        delays.check(name, network)
    except PasswordDelayed as delayed:
        return delayed.seconds
    return 0.0


@pytest.mark.usefixtures("clock")
def test_the_delay_of_a_name_grows_up_to_the_longest() -> None:
    delays = made()
    waits = []
    for n in range(12):
        delays.wrong("alice", f"10.0.0.{n}")
        waits.append(wait(delays, "alice", "10.9.9.9"))
    assert waits == pytest.approx([0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60])
    assert wait(delays, "bob", "10.9.9.9") == 0


@pytest.mark.usefixtures("clock")
def test_the_delay_of_an_address_begins_later() -> None:
    """Many people may share one."""
    delays = made()
    waits = []
    for n in range(18):
        delays.wrong(f"user{n}", "10.0.0.1")
        waits.append(wait(delays, "another", "10.0.0.1"))
    assert waits == pytest.approx([0] * 14 + [1, 2, 4, 8])
    assert wait(delays, "another", "10.0.0.2") == 0


def test_an_attempt_that_waits_does_not_make_it_longer(clock: Clock) -> None:
    delays = made()
    for _ in range(FREE):
        delays.wrong("alice", None)
    for _ in range(100):
        with pytest.raises(PasswordDelayed, match=r"^Too many passwords for alice were wrong. Try again in 1 second.$"):
            delays.check("alice", "10.0.0.1")
    clock.now += 1
    assert wait(delays, "alice", "10.0.0.1") == 0


def test_an_address_that_is_proven_does_not_wait_for_strangers(clock: Clock) -> None:
    delays = made()
    delays.right("alice", "10.0.0.1")
    for n in range(30):
        delays.wrong("alice", f"10.0.1.{n}")
        delays.wrong(f"user{n}", "10.0.0.1")
    assert wait(delays, "alice", "10.0.0.1") == 0
    assert wait(delays, "alice", "10.0.0.2") == LONGEST
    assert wait(delays, "bob", "10.0.0.1") == LONGEST, "the address is proven for one name"
    clock.now += 31 * 86_400
    delays.wrong("alice", "10.0.1.1")
    for _ in range(FREE):
        delays.wrong("alice", "10.0.1.1")
    assert wait(delays, "alice", "10.0.0.1") > 0, "that was too long ago"


@pytest.mark.usefixtures("clock")
def test_at_a_proven_address_only_the_wrong_passwords_from_there_count() -> None:
    delays = made()
    delays.right("alice", "10.0.0.1")
    waits = []
    for _ in range(5):
        delays.wrong("alice", "10.0.0.1")
        waits.append(wait(delays, "alice", "10.0.0.1"))
    assert waits == pytest.approx([0, 0, 1, 2, 4])
    delays.right("alice", "10.0.0.1")
    assert wait(delays, "alice", "10.0.0.1") == 0


def test_wrong_passwords_are_forgotten_after_an_hour(clock: Clock) -> None:
    delays = made()
    for _ in range(10):
        delays.wrong("alice", None)
    clock.now += 3_600 + LONGEST + 1
    delays.wrong("alice", None)
    assert wait(delays, "alice", None) == 0


@pytest.mark.usefixtures("clock")
def test_an_unknown_address_waits_for_the_name_alone() -> None:
    delays = made()
    for n in range(100):
        delays.wrong(f"user{n}", None)
    assert wait(delays, "alice", None) == 0
    delays.right("user1", None)
    for _ in range(FREE):
        delays.wrong("user1", None)
    assert wait(delays, "user1", None) > 0, "nobody at another broker is proven: all would be"


@pytest.mark.usefixtures("clock")
def test_the_tables_have_a_bound() -> None:
    delays = made(most=100)
    for n in range(5_000):
        delays.wrong(f"user{n}", f"10.0.{n >> 8}.{n & 255}")
        delays.right(f"user{n}", f"10.0.{n >> 8}.{n & 255}")
    assert len(delays) <= 400


@pytest.mark.usefixtures("clock")
def test_no_delays_with_0() -> None:
    delays = made(longest=0)
    for _ in range(100):
        delays.wrong("alice", "10.0.0.1")
    assert wait(delays, "alice", "10.0.0.1") == 0
