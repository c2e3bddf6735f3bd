"""The requests that clients publish: which topics they may write, what each topic asks, and any bytes at all."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.mqtt.samples import topics
from wire.errors import Refused
from wire.frames import (
    Channels,
    Frame,
    History,
    Join,
    Leave,
    Msg,
    Register,
    Say,
    Seen,
    Status,
    Topic,
    Who,
    Whois,
)
from wire.names import fold
from wire.topics import Gone, Here, LiveMessage, Topics
from wire.topics.payloads import text_of

CHAT = Topics()


def ask(rest: str, payload: bytes = b"", me: str = "alice") -> Any:
    return CHAT.request(f"chat/from/alice/{rest}", payload, me)


@pytest.mark.parametrize(
    ("rest", "payload", "wanted"),
    [
        ("register", b"", Here()),
        ("register", b" \n", Here()),
        ("register", b'{"password": "secret-word"}', Register("secret-word")),
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
        ("channels", b"any other payload", Channels()),
        ("channels", b'{"after": "lab", "limit": 7}', Channels("lab", 7)),
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
        ("chat/from/alice/register", b"secret-word", "bad-frame"),
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


def test_a_live_message_to_another_client() -> None:
    assert CHAT.request("chat/direct/bob/Alice", b"\x00\xff", "alice") == LiveMessage("bob", b"\x00\xff")


_levels = st.sampled_from(["chat", "from", "to", "direct", "alice", "bob", "say", "lab", "", "@", "+", "#"])
near_topics = st.lists(_levels, min_size=1, max_size=6).map("/".join)


@given(topic=topics | near_topics, payload=st.binary(max_size=20))
def test_any_topic_names_the_client_itself_or_is_refused(topic: str, payload: bytes) -> None:
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


def test_another_root() -> None:
    site = Topics("site/7/chat")
    assert site.request("site/7/chat/from/alice/say/lab", b"x", "alice") == Say("x", "lab")
    assert site.channel_text("lab") == "site/7/chat/channels/lab/text"
    assert site.is_forbidden("site/7/chat/to/bob/#", "alice")
    assert not site.is_forbidden("site/7", "alice")
    with pytest.raises(Refused):
        site.request("chat/from/alice/say/lab", b"x", "alice")


def test_who_a_topic_belongs_to() -> None:
    topics = Topics("site/chat")
    assert topics.requests == "site/chat/from/#"
    assert topics.sender("site/chat/from/oven/say/lab") == ("oven", frozenset({Say}))
    assert topics.sender("site/chat/from/oven/register") == ("oven", frozenset({Here, Register}))
    assert topics.sender("site/chat/from/oven") == ("oven", frozenset())
    assert topics.sender("site/chat/from/") == ("", frozenset())
    assert topics.sender("site/chat/from") is None
    assert topics.sender("chat/from/oven/say/lab") is None
    assert topics.sender("site/chat/to/oven/error") is None
    assert topics.live_pair("site/chat/direct/bob/oven") == ("bob", "oven")
    assert topics.live_pair("site/chat/direct/bob") == ("bob", "")
    assert topics.live_pair("site/chat/channels/lab") is None
    assert topics.user("site/chat/presence/bob") == "bob"
    assert topics.user("chat/presence/bob") is None
