"""The answers and events that the server publishes: where each goes, what it says, and how a client reads it."""

from __future__ import annotations

import json

import pytest

from tests.support.terminal import ME
from wire.errors import Refused
from wire.frames import (
    ChannelList,
    Chunk,
    Delivered,
    Entry,
    Error,
    Frame,
    Gap,
    Get,
    Join,
    Joined,
    Members,
    More,
    Page,
    Presence,
    Say,
    ServerStatus,
    Stored,
    UserInfo,
)
from wire.jsonlines import JsonLines
from wire.topics import Topics, UserPresence

CHAT = Topics()


def test_answers_go_to_where_they_were_asked() -> None:
    """The client has subscribed to its own spelling of its name, which may differ from that in the request."""
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
    assert json.loads(CHAT.payload(Stored(number=3, channel="lab", id="7", ref=9), "alice", None)) == {
        "number": 3, "channel": "lab", "id": "7",
    }  # fmt: skip


def test_an_error_names_what_it_is_about() -> None:
    error = Error(code="empty", error="The message has no text.", id="7", channel="lab")
    assert json.loads(CHAT.payload(error, "alice", None)) == {
        "topic": "chat/from/alice/say/lab", "id": "7", "code": "empty", "error": "The message has no text.",
    }  # fmt: skip
    assert json.loads(CHAT.payload(error, "alice", "chat/x"))["topic"] == "chat/x"
    assert "topic" not in json.loads(CHAT.payload(Error(code="empty", error="!"), "alice", None))
    topic, payload = CHAT.error(error, "alice", "chat/from/alice/file/x/init")
    assert (topic, json.loads(payload)["topic"]) == ("chat/to/alice/error", "chat/from/alice/file/x/init")


def test_an_answer_is_what_was_asked_for_or_an_error_with_the_ref() -> None:
    assert CHAT.answer(Join("lab", ref=5), b'{"channel": "Lab", "tail": 3, "members": 1, "new": true}') == Joined(
        channel="Lab", tail=3, members=1, ref=5
    )
    error = CHAT.answer(Join("lab", ref=6), b'{"topic": "t", "code": "bad-name", "error": "No."}')
    assert error == Error(code="bad-name", error="No.", ref=6)
    for payload in (b"", b"[]", b"{}", b"\xff", b'{"channel": 1}', b"[" * 100_000):
        assert CHAT.answer(Join("lab"), payload) is None


ENTRY = Entry(7, 1, "bob", "hi", "Lab")
DIRECT = Entry(1, 1, "bob", "hi", to="alice")


@pytest.mark.parametrize(
    ("topic", "payload", "frame"),
    [
        ("chat/channels/Lab", JsonLines.encode(ENTRY), ENTRY),
        ("chat/channels/lab/text", b"bob: hi", None),
        ("chat/channels/ops", JsonLines.encode(ENTRY), None),
        ("chat/to/alice/msg/bob", JsonLines.encode(DIRECT), DIRECT),
        ("chat/to/alice/msg/mallory", JsonLines.encode(DIRECT), None),
        ("chat/to/alice/delivered", b'{"user": "bob", "number": 3}', Delivered("bob", 3)),
        ("chat/to/alice/gap", b'{"channel": "lab", "first": 1, "last": 9}', Gap(first=1, last=9, channel="lab")),
        (
            "chat/presence/bob",
            b'{"user": "bob", "online": true, "doors": ["mqtt"]}',
            UserPresence("bob", online=True, doors=["mqtt"]),
        ),
        ("chat/presence/bob", b'{"user": "bob", "online": false}', UserPresence("bob", online=False)),
        ("chat/presence/bob", b"", None),
        ("chat/channels/lab", b"\xff{", None),
        ("chat/to/alice/file/7", b"\x00\x01", None),
        ("chat/to/bob/delivered", b'{"user": "bob", "number": 3}', None),
        ("elsewhere", b"{}", None),
    ],
)
def test_an_event_is_what_its_topic_says(topic: str, payload: bytes, frame: Frame | None) -> None:
    assert CHAT.read(topic, payload, ME) == frame


def test_an_event_about_a_file_goes_out_whatever_its_id() -> None:
    """An id that was given over JSON may have characters that the topics of commands do not allow."""
    assert CHAT.place(More("my file"), "alice", None) == "chat/to/alice/file/my file"
    assert CHAT.payload(More("my file"), "alice", None) == b'{"more":true}'


def test_answers_about_a_file_have_a_topic_of_their_own() -> None:
    """They never go to the response topic, and neither do their errors."""
    asked, response = "chat/from/alice/file/f-1/get", "chat/to/alice/reply/1"
    chunk = Chunk(file="f-1", offset=3, bytes=2, payload=b"ab")
    assert CHAT.place(chunk, "alice", asked, response) == "chat/to/alice/file/f-1/3"
    error = Error(code="gone", error="It is gone.")
    assert CHAT.place(error, "alice", asked, response) == "chat/to/alice/file/f-1"
    assert json.loads(CHAT.payload(error, "alice", asked)) == {
        "topic": "file/f-1/get", "reason_code": 131, "reason_description": "gone", "code": "gone",
        "error": "It is gone.",
    }  # fmt: skip
    assert CHAT.place(error, "alice", "chat/from/alice/join/lab", response) == response
    assert CHAT.place(error, "alice", "chat/from/alice/join/lab") == "chat/to/alice/error"
    assert CHAT.place(Members(members=[]), "alice", "chat/from/alice/who", response) == response
    refused = b'{"topic": "file/f-1/get", "reason_code": 131, "code": "gone", "error": "It is gone."}'
    assert CHAT.answer(Get(file="f-1", offset=3, length=2), refused) == error


def test_a_payload_may_be_as_long_as_the_limit() -> None:
    assert CHAT.request("chat/from/alice/say/lab", b"123456789", "alice", limit=9) == Say("123456789", "lab")
    with pytest.raises(Refused):
        CHAT.request("chat/from/alice/say/lab", b"1234567890", "alice", limit=9)
    with pytest.raises(Refused) as refused:
        CHAT.request("chat/elsewhere", b"1234567890", "alice", limit=9)
    assert refused.value.code == "too-long"
    with pytest.raises(Refused) as refused:
        CHAT.request("chat/elsewhere", b"123456789", "alice", limit=9)
    assert refused.value.code == "not-allowed"
