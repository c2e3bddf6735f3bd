"""Pulses: what a server tells of itself, how long that takes, and what others know of a server that tells nothing."""

from __future__ import annotations

import json
from typing import cast

import pytest

from channels.ring import Pulses, pulses
from store import Alone, Servers
from wire import VERSION
from wire.frames import ServerInfo


class Server3(Alone):
    """The server with the number 3."""

    alone = False
    here = 3


class Clock:
    """A clock that a test moves."""

    at = 100.0

    def monotonic(self) -> float:
        return self.at


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(pulses, "time", made)
    return made


@pytest.fixture
def own(clock: Clock) -> Pulses:
    """The pulses of server 3, which has been introduced."""
    made = Pulses(cast("Servers", Server3()))
    made.introduce("lab:7000", "10.0.0.3:7000")
    return made


def info(own: Pulses, number: int) -> ServerInfo:
    """What is known of one server."""
    (found,) = [each for each in own.servers(9) if each.number == number]
    return found


def test_a_store_for_one_server_has_no_list() -> None:
    assert Pulses(cast("Servers", Alone())).servers(4) == []


def test_a_pulse_has_what_the_others_show(own: Pulses, clock: Clock) -> None:
    """A list is sorted by number, and has this server as it is now."""
    other = Pulses(cast("Servers", Server3()))
    other.heard(7, own.beat(4))
    other.heard(1, own.beat(5))
    assert other.servers(8) == [
        ServerInfo(number=1, name="lab:7000", address="10.0.0.3:7000", version=VERSION, connections=5),
        ServerInfo(number=3, version=VERSION, connections=8, here=True),
        ServerInfo(number=7, name="lab:7000", address="10.0.0.3:7000", version=VERSION, connections=4),
    ]


def test_the_lag_is_the_time_of_the_last_pulse_to_its_own_server(own: Pulses, clock: Clock) -> None:
    """The next pulse tells it to the others."""
    assert info(own, 3).lag is None
    pulse = own.beat(1)
    clock.at += 0.0012
    own.heard(3, pulse)
    assert info(own, 3).lag == 1_200
    pulse = own.beat(1)
    assert json.loads(pulse)["lag"] == 1_200
    clock.at += 0.0004
    own.heard(3, pulse)
    assert info(own, 3).lag == 400


def test_a_pulse_that_does_not_arrive_shows_as_lag(own: Pulses, clock: Clock) -> None:
    """Before the first measure from three seconds on; afterwards as soon as it takes longer than the last time."""
    own.beat(1)
    clock.at += 2
    assert info(own, 3).lag is None
    own.beat(1)
    clock.at += 2
    assert info(own, 3).lag == 4_000_000
    own.heard(3, own.beat(1))
    assert info(own, 3).lag is None, "the first one was lost, so nothing is measured"
    late = own.beat(1)
    clock.at += 0.001
    own.heard(3, late)
    assert info(own, 3).lag == 1_000
    own.beat(1)
    clock.at += 10
    assert info(own, 3).lag == 10_000_000
    assert json.loads(own.beat(1))["lag"] == 10_000_000


def test_an_old_pulse_measures_nothing(own: Pulses, clock: Clock) -> None:
    first = own.beat(1)
    own.heard(3, first)
    own.beat(1)
    clock.at += 1
    own.heard(3, first)
    assert info(own, 3).lag == 1_000_000, "the second one is under way"


def test_a_server_that_tells_nothing_is_silent(own: Pulses, clock: Clock) -> None:
    own.heard(5, '{"count":1,"version":"9","connections":2,"lag":300,"mood":"from a newer version"}')
    clock.at += 2.9
    assert info(own, 5) == ServerInfo(number=5, version="9", connections=2, lag=300)
    clock.at += 9.6
    assert info(own, 5).silent == 12


def test_a_server_that_is_gone_leaves_the_list(own: Pulses) -> None:
    for number in (4, 5, 6, 7):
        own.heard(number, '{"count":1}')
    own.gone(5)
    own.gone(5)
    own.keep({4, 7, 9})
    assert [each.number for each in own.servers(0)] == [3, 4, 7]


@pytest.mark.parametrize("text", ["{", '{"count":"x"}', "{}", '{"count":1,"lag":"long"}'])
def test_what_is_no_pulse_is_passed_over(own: Pulses, text: str) -> None:
    own.heard(5, text)
    assert [each.number for each in own.servers(0)] == [3]
