"""The filters of subscriptions: which of them ask for what only others may read, and which channels they match."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.mqtt.samples import filters
from wire.frames import Stored
from wire.mqtt import matches, valid_filter
from wire.topics import Topics

CHAT = Topics()

_levels = st.sampled_from(["chat", "from", "to", "direct", "alice", "bob", "say", "lab", "", "@", "+", "#"])
near_topics = st.lists(_levels, min_size=1, max_size=6).map("/".join)


@pytest.mark.parametrize(
    ("topic_filter", "forbidden"),
    [
        ("chat/to/bob/#", True),
        ("chat/to/bob/msg/alice", True),
        ("chat/to/bob", True),
        ("chat/direct/bob/+", True),
        ("chat/from/#", True),
        ("chat/from/alice/say/lab", True),
        ("chat/from", True),
        ("chat/to/alice/#", False),
        ("chat/to/ALICE/+/+", False),
        ("chat/direct/alice/+", False),
        ("chat/to/#", False),
        ("chat/to/+/msg/bob", False),
        ("chat/to", False),
        ("chat/channels/+", False),
        ("chat/presence/bob", False),
        ("#", False),
        ("+/to/bob/#", False),
        ("other/to/bob/#", False),
    ],
)
def test_filters_that_ask_for_what_is_another_s(topic_filter: str, forbidden: bool) -> None:
    assert CHAT.is_forbidden(topic_filter, "alice") is forbidden


@given(topic_filter=filters | near_topics.filter(valid_filter))
def test_a_filter_without_wildcards_for_another_s_topic_is_forbidden(topic_filter: str) -> None:
    for topic in (CHAT.message("bob", "alice"), CHAT.event_topic(Stored, "bob"), CHAT.live_topic("bob", "alice")):
        if topic_filter.split("/")[:3] == topic.split("/")[:3] and matches(topic_filter, topic):
            assert CHAT.is_forbidden(topic_filter, "alice")


@pytest.mark.parametrize(
    ("topic_filter", "channel"),
    [
        ("chat/channels/lab", "lab"),
        ("chat/channels/lab/text", "lab"),
        ("+/+/lab/#", "lab"),
        ("chat/channels/+", "+"),
        ("chat/+/+/text", "+"),
        ("chat/channels/#", "+"),
        ("#", "+"),
        ("chat/channels/+/json", ""),
        ("chat/channels/lab/json", ""),
        ("chat/channels", ""),
        ("chat/to/alice/#", ""),
        ("chat/presence/+", ""),
        ("+", ""),
    ],
)
def test_which_channel_a_filter_takes_in(topic_filter: str, channel: str) -> None:
    assert CHAT.channel_in(topic_filter) == channel


@pytest.mark.parametrize(
    ("topic_filter", "user"),
    [
        ("chat/presence/bob", "bob"),
        ("+/+/bob", "bob"),
        ("chat/presence/+", "+"),
        ("chat/presence/#", "+"),
        ("chat/presence/bob/#", "bob"),
        ("#", "+"),
        ("chat/presence", ""),
        ("chat/presence/bob/x", ""),
        ("chat/channels/+", ""),
        ("chat/channels/bob", ""),
    ],
)
def test_whose_presence_a_filter_takes_in(topic_filter: str, user: str) -> None:
    assert CHAT.presence_in(topic_filter) == user


_filter_levels = st.sampled_from(["chat", "channels", "presence", "text", "lab", "den", "", "+", "#"])


@given(topic_filter=st.lists(_filter_levels, min_size=1, max_size=5).map("/".join).filter(valid_filter))
def test_no_channel_that_a_filter_takes_in_is_passed_over(topic_filter: str) -> None:
    found = CHAT.channel_in(topic_filter)
    for name in ("lab", "den", "text"):
        if matches(topic_filter, CHAT.channel(name)) or matches(topic_filter, CHAT.channel_text(name)):
            assert found in ("+", name)
    whose = CHAT.presence_in(topic_filter)
    for name in ("lab", "bob"):
        if matches(topic_filter, CHAT.presence(name)):
            assert whose in ("+", name)
