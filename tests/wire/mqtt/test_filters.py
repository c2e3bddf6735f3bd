"""Topic names, topic filters, and what matches what."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import topic_matches_sub

from wire.mqtt import matches, split_share, valid_filter, valid_topic

levels = st.sampled_from(["", "a", "b", "$a", " ", "ü"])
wanted = st.sampled_from(["", "a", "b", "$a", "+", "+", "#"])


@pytest.mark.parametrize(
    "name", ["a", "/", "//", "a/b", "$SYS/x", " ", "a b/ü", "$share/x", "x" * 65_535, "ü" * 32_767]
)
def test_topics(name: str) -> None:
    assert valid_topic(name)
    assert valid_filter(name) == (name != "$share/x")


@pytest.mark.parametrize("name", ["", "+", "#", "a/+", "a#", "a\0b", "x" * 65_536, "ü" * 32_768])
def test_no_topics(name: str) -> None:
    assert not valid_topic(name)


@pytest.mark.parametrize(
    "topic_filter",
    ["#", "+", "/", "+/+", "/+", "+/", "a/#", "+/a/#", "a/+/b", "//#", "$SYS/#", "$share", "$share/g/a", "$share/g/#",
     "$share/g//", "$share/g/+/b", "$SHARE/"],
)  # fmt: skip
def test_filters(topic_filter: str) -> None:
    assert valid_filter(topic_filter)


@pytest.mark.parametrize(
    "topic_filter",
    ["", "a/#/b", "#/", "a#", "a/b#", "##", "a+", "+a", "a/b+/c", "++", "+#", "a\0", "x" * 65_536, "/" * 65_536,
     "$share/", "$share//a", "$share/g", "$share/g/", "$share/+/a", "$share/g+/a", "$share/#/a", "$share/g/a#",
     "$share/g/#/a"],
)  # fmt: skip
def test_no_filters(topic_filter: str) -> None:
    assert not valid_filter(topic_filter)


def test_shares() -> None:
    assert split_share("$share/g/a/#") == ("g", "a/#")
    assert split_share("$share/g//a") == ("g", "/a")
    assert split_share("a/b") == ("", "a/b")
    assert split_share("$share") == ("", "$share")


@pytest.mark.parametrize(
    ("topic_filter", "topic", "expected"),
    [
        ("sport/tennis/player1/#", "sport/tennis/player1", True),  # the examples of §4.7.1.2 and §4.7.1.3
        ("sport/tennis/player1/#", "sport/tennis/player1/ranking", True),
        ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", True),
        ("sport/#", "sport", True),
        ("#", "a/b", True),
        ("sport/tennis/+", "sport/tennis/player1", True),
        ("sport/tennis/+", "sport/tennis/player1/ranking", False),
        ("sport/+", "sport", False),
        ("sport/+", "sport/", True),
        ("+/+", "/finance", True),
        ("/+", "/finance", True),
        ("+", "/finance", False),
        ("#", "$SYS/a", False),  # §4.7.2
        ("+/monitor/Clients", "$SYS/monitor/Clients", False),
        ("$SYS/#", "$SYS/", True),
        ("$SYS/#", "$SYS", True),
        ("$SYS/monitor/+", "$SYS/monitor/Clients", True),
        ("a/+", "a/$b", True),
        ("ACCOUNTS", "Accounts", False),  # §4.7.3
        ("a/+/#", "a", False),
        ("a/+/#", "a/b", True),
    ],
)
def test_matches(topic_filter: str, topic: str, expected: bool) -> None:
    assert matches(topic_filter, topic) == expected


@given(st.lists(wanted, min_size=1, max_size=5).map("/".join), st.lists(levels, min_size=1, max_size=5).map("/".join))
def test_matches_what_paho_matches(topic_filter: str, topic: str) -> None:
    if valid_filter(topic_filter) and valid_topic(topic):
        assert matches(topic_filter, topic) == topic_matches_sub(topic_filter, topic)


@given(st.text(), st.text())
def test_any_text_is_judged(topic_filter: str, topic: str) -> None:
    if valid_filter(topic_filter) and valid_topic(topic):
        matches(topic_filter, topic)
    if valid_topic(topic) and not topic.startswith("$share/"):
        assert valid_filter(topic)
        assert matches(topic, topic)
