"""The conversations of the other ways in, with somebody on a broker in them: the same tests, and nobody can tell."""

from __future__ import annotations

from itertools import permutations

import pytest

from tests.conversations.test_commands import (
    test_join_makes_it_current_and_channels_stay_apart,
    test_msg_is_kept_for_who_is_not,
    test_msg_reaches_who_is_online,
    test_msg_to_oneself_and_to_no_name,
    test_what_is_said_is_heard_by_all_in_order,
)
from tests.conversations.test_kept import (
    test_who_lost_the_line_gets_what_was_missed,
    test_who_returns_gets_what_was_missed_in_order_and_once,
)
from tests.conversations.test_questions import test_channels, test_history_in_pages, test_topic, test_who
from tests.support.brokers import BROKERS
from tests.support.brokers.site import Meet, Site, enter, fluent, meet, quick, site, start_broker
from tests.support.talkers import Said

PAIRS = [("broker", "text"), ("json", "broker3"), ("mqtt5", "broker"), ("broker", "broker")]
# What needs a broker that keeps messages for clients that are away; amqtt loses them.
KEPT = (
    test_who_lost_the_line_gets_what_was_missed,
    test_who_returns_gets_what_was_missed_in_order_and_once,
)

__all__ = [
    "enter",
    "fluent",
    "meet",
    "quick",
    "site",
    "start_broker",
    "test_channels",
    "test_history_in_pages",
    "test_join_makes_it_current_and_channels_stay_apart",
    "test_msg_is_kept_for_who_is_not",
    "test_msg_reaches_who_is_online",
    "test_msg_to_oneself_and_to_no_name",
    "test_topic",
    "test_what_is_said_is_heard_by_all_in_order",
    "test_who",
    "test_who_lost_the_line_gets_what_was_missed",
    "test_who_returns_gets_what_was_missed_in_order_and_once",
]


@pytest.fixture(params=["broker"])
def kind(request: pytest.FixtureRequest) -> str:
    """Somebody on the broker."""
    return str(request.param)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every pair on mosquitto, and one on each of the other brokers, as far as they can do it."""
    brokers = [kind for kind in BROKERS if kind != "amqtt" or metafunc.function not in KEPT]
    if "kinds" in metafunc.fixturenames:
        cases = [("mosquitto", pair) for pair in PAIRS] + [(kind, PAIRS[0]) for kind in brokers[1:]]
        ids = [f"{kind}-{'-'.join(pair)}" for kind, pair in cases]
        metafunc.parametrize(("broker_kind", "kinds"), cases, ids=ids)
    else:
        metafunc.parametrize("broker_kind", brokers)


@pytest.fixture
def server(site: Site) -> object:
    """The server of the site."""
    return site.server


def test_everyone_hears_everyone_once_and_in_one_order(meet: Meet) -> None:
    people = {name: meet(name, f"in-{name}") for name in ("text", "json", "mqtt5", "broker")}
    for talker in people.values():
        talker.join("lab")
    said: list[Said] = []
    for turn in range(3):
        for talker in people.values():
            talker.say(f"{talker.name} {turn}")
            said.append((talker.name, f"{talker.name} {turn}"))
    for one, other in permutations(people.values(), 2):
        one.msg(other.name, f"{one.name} to {other.name}")
    for talker in people.values():
        talker.wait_for("lab", said[-1][1])
        talker.sync()
        assert talker.heard("lab") == said
    for one, other in permutations(people.values(), 2):
        one.wait_for(f"@{other.name}", f"{other.name} to {one.name}")
    for one, other in permutations(people.values(), 2):
        mine, theirs = (one.name, f"{one.name} to {other.name}"), (other.name, f"{other.name} to {one.name}")
        one.sync()
        assert sorted(one.heard(f"@{other.name}")) == sorted([mine, theirs]), "once each"
        assert one.heard(f"@{other.name}") == other.heard(f"@{one.name}"), "in one order"
