"""The topics of MQTT, without any connection: what they ask, where answers go, and that the reference says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.mqtt.samples import filters, topics
from tests.support.repository import ROOT
from wire.errors import Refused
from wire.frames import (
    ChannelList,
    Channels,
    Error,
    Frame,
    Gap,
    History,
    Join,
    Leave,
    Members,
    Msg,
    Page,
    Presence,
    Register,
    Say,
    Seen,
    ServerStatus,
    Status,
    Stored,
    Topic,
    UserInfo,
    Who,
    Whois,
)
from wire.mqtt import matches, valid_filter
from wire.names import fold
from wire.topics import EVENTS, TABLE, VERBS, Gone, Here, LiveMessage, Topics, text_of

CHAT = Topics()


def ask(rest: str, payload: bytes = b"", me: str = "alice") -> Any:
    return CHAT.request(f"chat/from/alice/{rest}", payload, me)


def test_the_table_has_every_verb_and_no_other() -> None:
    """So that the reference, which is made from the table, is true."""
    rows = [row.topic for row in TABLE]
    assert len(set(rows)) == len(rows)
    rows = [row for row in rows if "/file/" not in row and row != "to/<me>/fetched"]  # see file_topics.py
    verbs = {row.split("/")[2]: row.split("/")[3:] for row in rows if row.startswith("from/<me>/")}
    assert verbs.keys() == VERBS.keys()
    for verb, levels in verbs.items():
        takes = VERBS[verb][0]
        assert levels == ({"user": ["<user>"], "channel": ["<channel>"], "log": ["<channel>"]}.get(takes, [])), verb
    events = {row.split("/")[2] for row in rows if row.startswith("to/<me>/") and "<user>" not in row}
    assert events == set(EVENTS.values())
    assert {row.split("/")[0] for row in rows} == {"from", "to", "direct", "channels", "presence", "server"}


@pytest.mark.parametrize("file", ["docs/mqtt.md"])
def test_the_documents_have_the_table(file: str) -> None:
    text = Path(ROOT, file).read_text()
    table = text.partition("<!-- topics -->")[2].partition("<!-- /topics -->")[0]
    for row in TABLE:
        assert f"`chat/{row.topic}`" in table, row.topic
        assert row.what in table, row.topic


@pytest.mark.parametrize(
    ("rest", "payload", "wanted"),
    [
        ("register", b"", Here()),
        ("register", b" \n", Here()),
        ("register", b'{"password": "secret"}', Register("secret")),
        ("gone", b"whatever", Gone()),
        ("join/lab", b"", Join("lab")),
        ("leave/lab", b"", Leave("lab")),
        ("say/lab", b"hello", Say("hello", "lab")),
        ("say/lab", "grüß dich".encode(), Say("grüß dich", "lab")),
        ("say/lab", b'{"text": "hello", "id": "7f3a", "more": 1}', Say("hello", "lab", "7f3a")),
        ("say/lab", b'{"text": "hello"}', Say("hello", "lab")),
        ("say/lab", b'{"temperature": 21.5}', Say('{"temperature": 21.5}', "lab")),
        ("say/lab", b'{"text": 7}', Say('{"text": 7}', "lab")),
        ("say/lab", b'{"text": "unclosed', Say('{"text": "unclosed', "lab")),
        ("say/lab", b'{"text": "\\ud800"}', Say('{"text": "\\ud800"}', "lab")),
        ("say/lab", b"{" * 5_000, Say("{" * 5_000, "lab")),
        ("say/lab", b'["text"]', Say('["text"]', "lab")),
        ("msg/Bob", b"psst", Msg("Bob", "psst")),
        ("msg/bob", b'{"text": "psst", "id": "1"}', Msg("bob", "psst", "1")),
        ("lookup/bob", b"", Whois("bob")),
        ("history/lab", b"", History(channel="lab")),
        ("history/lab", b'{"since": 4, "limit": 7}', History(channel="lab", after=4, limit=7)),
        ("history/lab", b'{"before": 9}', History(channel="lab", before=9)),
        ("history/@bob", b"", History(user="bob")),
        ("seen/lab", b"4", Seen(number=4, channel="lab")),
        ("seen/@bob", b"4", Seen(number=4, user="bob")),
        ("lookup/@bob", b"", Whois("bob")),
        ("who", b"", Who()),
        ("who/lab", b"", Who("lab")),
        ("channels", b"", Channels()),
        ("status", b"", Status()),
        ("topic/lab", b"", Topic("lab")),
        ("topic/lab", b"Soldering tonight", Topic("lab", "Soldering tonight")),
    ],
)
def test_what_a_client_may_ask(rest: str, payload: bytes, wanted: Frame) -> None:
    assert ask(rest, payload) == wanted
    assert type(ask(rest, payload, "ALICE")) is type(wanted), "the same name in another spelling"


@pytest.mark.parametrize(
    ("topic", "payload", "code"),
    [
        ("chat/from/bob/say/lab", b"x", "not-allowed"),
        ("chat/from", b"x", "not-allowed"),
        ("chat/from/alice", b"x", "unknown-command"),
        ("chat/from/alice/", b"x", "unknown-command"),
        ("chat/from/alice/dance", b"x", "unknown-command"),
        ("chat/from/alice/gone/now", b"", "unknown-command"),
        ("chat/from/alice/register/now", b"", "unknown-command"),
        ("chat/from/alice/status/now", b"", "unknown-command"),
        ("chat/from/alice/say", b"x", "bad-name"),
        ("chat/from/alice/say/", b"x", "bad-name"),
        ("chat/from/alice/say/lab/text", b"x", "bad-name"),
        ("chat/from/alice/join/a b", b"", "bad-name"),
        ("chat/from/alice/msg/" + "b" * 33, b"x", "bad-name"),
        ("chat/from/alice/who/", b"", "bad-name"),
        ("chat/from/alice/who/@bob", b"", "bad-name"),
        ("chat/from/alice/say/@bob", b"for bob alone", "bad-name"),
        ("chat/from/alice/join/@bob", b"", "bad-name"),
        ("chat/from/alice/topic/@bob", b"", "bad-name"),
        ("chat/from/alice/history/@", b"", "bad-name"),
        ("chat/from/alice/seen/@", b"1", "bad-name"),
        ("chat/from/alice/seen/lab", b"", "bad-frame"),
        ("chat/from/alice/lookup/@", b"", "bad-name"),
        ("chat/from/alice/say/lab", b"\xff\xfe", "bad-frame"),
        ("chat/from/alice/say/lab", b'{"text": "x", "id": ""}', "bad-frame"),
        ("chat/from/alice/say/lab", b'{"text": "x", "id": "/own/1"}', "bad-frame"),
        ("chat/from/alice/say/lab", b'{"text": "x", "id": "' + b"i" * 65 + b'"}', "bad-frame"),
        ("chat/from/alice/register", b"secret", "bad-frame"),
        ("chat/from/alice/register", b'{"password": 7}', "bad-frame"),
        ("chat/from/alice/history/lab", b'{"limit": 0}', "bad-frame"),
        ("chat/from/alice/history/lab", b'{"since": -1}', "bad-frame"),
        ("chat/from/alice/history/lab", b'{"since": 100000000000000000000}', "bad-frame"),
        ("chat/from/alice/history/lab", b"50", "bad-frame"),
        ("chat/channels/lab", b"x", "not-allowed"),
        ("chat/channels/lab/text", b"x", "not-allowed"),
        ("chat/to/alice/msg/bob", b"x", "not-allowed"),
        ("chat/to/bob/msg/alice", b"x", "not-allowed"),
        ("chat/presence/alice", b"x", "not-allowed"),
        ("chat/server", b"offline", "not-allowed"),
        ("chat/direct/bob", b"x", "not-allowed"),
        ("chat/direct/bob/carol", b"x", "not-allowed"),
        ("chat/direct/bob/alice/more", b"x", "not-allowed"),
        ("chat/direct//alice", b"x", "bad-name"),
        ("CHAT/from/alice/say/lab", b"x", "not-allowed"),
        ("/chat/from/alice/say/lab", b"x", "not-allowed"),
        ("$SYS/broker", b"x", "not-allowed"),
        ("tele/sonoff/LWT", b"Offline", "not-allowed"),
    ],
)
def test_what_a_client_may_not_ask(topic: str, payload: bytes, code: str) -> None:
    with pytest.raises(Refused) as refused:
        CHAT.request(topic, payload, "alice")
    assert refused.value.code == code


def test_straight_to_another() -> None:
    assert CHAT.request("chat/direct/bob/Alice", b"\x00\xff", "alice") == LiveMessage("bob", b"\x00\xff")


_levels = st.sampled_from(["chat", "from", "to", "direct", "alice", "bob", "say", "lab", "", "@", "+", "#"])
near_topics = st.lists(_levels, min_size=1, max_size=6).map("/".join)


@given(topic=topics | near_topics, payload=st.binary(max_size=20))
def test_any_topic_is_ones_own_or_refused(topic: str, payload: bytes) -> None:
    """A request says nothing about who asks, so what matters is that the topic names the client itself."""
    try:
        CHAT.request(topic, payload, "alice")
    except Refused:
        return
    levels = topic.split("/")
    assert levels[0] == "chat"
    assert (levels[1], fold(levels[2])) == ("from", "alice") or (levels[1], fold(levels[3])) == ("direct", "alice")


@given(payload=st.binary(max_size=60) | st.text(max_size=30).map(lambda text: json.dumps({"text": text}).encode()))
def test_any_payload_is_text_or_refused(payload: bytes) -> None:
    try:
        text, id = text_of(payload)
    except Refused:
        return
    text.encode()
    assert id is None or 0 < len(id) <= 64


def test_answers_go_to_where_they_were_asked() -> None:
    """Whatever the spelling in the question, the one who asks has subscribed to that of the answer."""
    for asked, answer in (
        ("chat/from/alice/lookup/BOB", UserInfo(name="Bob", online=True)),
        ("chat/from/alice/history/@bob", Page(entries=[], tail=0, user="bob")),
        ("chat/from/alice/who", Members(members=[])),
        ("chat/from/alice/channels", ChannelList(channels=[])),
        ("chat/from/alice/status", ServerStatus(version="1", since=0, users=1, connections=1, channels=0)),
    ):
        assert CHAT.place(answer, "Alice", asked) == asked.replace("from/alice", "to/Alice")
        assert CHAT.place(answer, "Alice", None) is None
    assert CHAT.place(Stored(number=1), "alice", "chat/from/alice/say/lab") == "chat/to/alice/stored"
    assert CHAT.place(Gap(first=1, last=2), "alice", None) == "chat/to/alice/gap"
    assert CHAT.place(Error(code="empty", error="!"), "alice", None) == "chat/to/alice/error"
    assert CHAT.place(Presence("bob", "join"), "alice", None) is None, "chat/presence/bob says it"
    assert json.loads(CHAT.payload(Stored(number=3, channel="lab", id="7", ref=9))) == {
        "number": 3, "channel": "lab", "id": "7",
    }  # fmt: skip


def test_an_error_names_what_it_is_about() -> None:
    error = Error(code="empty", error="There is no text to send.", id="7", channel="lab")
    assert json.loads(CHAT.error(error, "alice", None)) == {
        "topic": "chat/from/alice/say/lab", "id": "7", "code": "empty", "error": "There is no text to send.",
    }  # fmt: skip
    assert json.loads(CHAT.error(error, "alice", "chat/x"))["topic"] == "chat/x"
    assert "topic" not in json.loads(CHAT.error(Error(code="empty", error="!"), "alice", None))


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
    for topic in (CHAT.message("bob", "alice"), f"{CHAT.to('bob')}/stored", CHAT.direct("bob", "alice")):
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


_filter_levels = st.sampled_from(["chat", "channels", "text", "lab", "den", "", "+", "#"])


@given(topic_filter=st.lists(_filter_levels, min_size=1, max_size=5).map("/".join).filter(valid_filter))
def test_no_channel_that_a_filter_takes_in_is_passed_over(topic_filter: str) -> None:
    found = CHAT.channel_in(topic_filter)
    for name in ("lab", "den", "text"):
        if matches(topic_filter, CHAT.channel(name)) or matches(topic_filter, CHAT.channel_text(name)):
            assert found in ("+", name)


def test_another_root() -> None:
    site = Topics("site/7/chat")
    assert site.request("site/7/chat/from/alice/say/lab", b"x", "alice") == Say("x", "lab")
    assert site.channel_text("lab") == "site/7/chat/channels/lab/text"
    assert site.is_forbidden("site/7/chat/to/bob/#", "alice")
    assert not site.is_forbidden("site/7", "alice")
    with pytest.raises(Refused):
        site.request("chat/from/alice/say/lab", b"x", "alice")
