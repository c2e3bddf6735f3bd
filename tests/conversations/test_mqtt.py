"""The conversations of the other dialects, with somebody by MQTT in them: the same tests, and nobody can tell."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conversations.test_commands import (
    test_join_makes_it_current_and_channels_stay_apart,
    test_msg_is_kept_for_who_is_not,
    test_msg_reaches_who_is_online,
    test_msg_to_oneself_and_to_no_name,
    test_what_is_said_is_heard_by_all_in_order,
)
from tests.conversations.test_kept import (
    test_registered_names_take_their_password_on_every_dialect,
    test_who_lost_the_line_gets_what_was_missed,
    test_who_returns_gets_what_was_missed_in_order_and_once,
)
from tests.conversations.test_questions import test_channels, test_history_in_pages, test_topic, test_who
from tests.support.fixtures import Enter
from tests.support.talkers import KINDS, MQTT_KINDS, Talker

PAIRS = [("mqtt5", "text"), ("text", "mqtt3"), ("mqtt3", "json"), ("json", "mqtt5"), ("mqtt3", "mqtt5")]

__all__ = [
    "test_channels",
    "test_history_in_pages",
    "test_join_makes_it_current_and_channels_stay_apart",
    "test_msg_is_kept_for_who_is_not",
    "test_msg_reaches_who_is_online",
    "test_msg_to_oneself_and_to_no_name",
    "test_registered_names_take_their_password_on_every_dialect",
    "test_topic",
    "test_what_is_said_is_heard_by_all_in_order",
    "test_who",
    "test_who_lost_the_line_gets_what_was_missed",
    "test_who_returns_gets_what_was_missed_in_order_and_once",
]


@pytest.fixture(params=MQTT_KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Each version of MQTT in turn."""
    return str(request.param)


@pytest.fixture(params=PAIRS, ids="-".join)
def kinds(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Pairs of which at least one speaks MQTT."""
    one, other = request.param
    return one, other


@pytest.fixture
def enter() -> Iterator[Enter]:
    """Have somebody enter, by MQTT or otherwise: `enter(server.address, kind, "alice")`; they are gone afterwards."""
    made: list[Talker] = []

    def make(address: str, kind: str, name: str, password: str | None = None) -> Talker:
        made.append((KINDS | MQTT_KINDS)[kind](address, name, password))
        return made[-1]

    yield make
    for talker in made:
        talker.close()
