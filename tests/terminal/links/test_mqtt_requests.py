"""The pending requests of the client over MQTT: which message answers which of them."""

from __future__ import annotations

import itertools

import pytest

from terminal.links.mqtt.requests import PendingRequests
from tests.support.terminal import ME, REPLY, TOPICS
from wire.frames import (
    Get,
    Have,
    Join,
    Msg,
    Request,
    Say,
    Who,
    Whois,
)


def pending(*requests: Request) -> PendingRequests:
    """Return the pending requests of one connection, already published."""
    made = PendingRequests(TOPICS, ME, REPLY, itertools.count(1))
    for packet_id, request in enumerate(requests, 1):
        made.sent(made.ask(request, now=0.0), packet_id)
    return made


def found(made: PendingRequests, place: str, payload: str, correlation: bytes | None = None) -> object:
    """Return the `ref` of the request that a message answers."""
    answered = made.answered(f"chat/to/alice/{place}", correlation, payload.encode(), now=1.0)
    return answered and answered[1].ref


def test_correlation_data_tells_whose_answer_it_is() -> None:
    made = pending(Join("lab", ref=1), Join("lab", ref=2), Who(ref=3))
    joined = '{"channel": "lab", "tail": 0}'
    assert found(made, "reply/1", joined, b"2") == 2
    assert found(made, "reply/1", joined, b"2") is None, "once"
    assert found(made, "reply/2", joined, b"1") is None, "another client's"
    assert found(made, "reply/1", joined, b"9") is None
    assert found(made, "reply/1", '{"members": []}', b"3") == 3
    assert found(made, "reply/1", joined, b"1") == 1


def test_without_it_the_topic_does() -> None:
    posts = Say("a", "lab", "i", ref=1), Say("b", "lab", "j", ref=2), Msg("bob", "c", "k", ref=3)
    made = pending(*posts, Join("lab", ref=4), Join("lab", ref=5), Who(ref=6), Who("lab", ref=7), Whois("bob", ref=8))
    assert found(made, "stored", '{"id": "j", "number": 1, "channel": "lab"}') == 2
    assert found(made, "stored", '{"id": "x", "number": 1, "channel": "lab"}') is None
    assert found(made, "error", '{"id": "k", "code": "bad-name", "error": "No."}') == 3
    assert found(made, "error", '{"topic": "chat/from/alice/join/lab", "code": "bad-name", "error": "No."}') == 4
    assert found(made, "join/Lab", '{"channel": "Lab", "tail": 1}') == 5
    assert found(made, "who/lab", '{"members": [], "channel": "lab"}') == 7
    assert found(made, "who", '{"members": []}') == 6
    assert found(made, "lookup/bob", '{"name": "bob", "online": false}') == 8
    assert found(made, "stored", '{"id": "i", "number": 1, "channel": "lab"}') == 1
    assert found(made, "stored", "[]") is None


def test_a_refusing_puback_is_the_answer_if_no_error_follows() -> None:
    made = pending(Say("a", "lab", "i", ref=1))
    assert made.acknowledged(1, "not authorized", now=0.0) is None
    assert made.overdue(now=0.5) == []
    ((_, error),) = made.overdue(now=1.5)
    assert (error.ref, "not authorized" in str(error)) == (1, True)
    assert made.overdue(now=100.0) == []


def test_a_connection_without_any_answer_ends_but_not_a_slow_one() -> None:
    made = pending(*[Say("a", "lab", str(number), ref=number) for number in range(3)])
    assert found(made, "stored", '{"id": "0", "number": 1, "channel": "lab"}') == 0  # at 1 s
    assert made.overdue(now=60.5) == []
    with pytest.raises(TimeoutError):
        made.overdue(now=61.5)


def test_answers_about_files_name_the_command_and_bytes_name_the_offset() -> None:
    """So several ranges of one file may be under way, with or without correlation data."""
    gets = [Get(file="f-1", offset=offset, length=3, ref=offset) for offset in (0, 3, 6)]
    made = pending(*gets, Have(file="f-1", ref=7), Have(file="f-2", ref=8))
    assert found(made, "file/f-1/3", "def") == 3
    assert found(made, "file/f-1/9", "xyz") is None
    assert found(made, "file/f-2/0", "abc") is None
    assert found(made, "file/f-1/6", "ghi", b"1") == 6, "the correlation data was another client's"
    refused = '{"topic": "file/f-1/get", "reason_code": 128, "code": "bad-range", "error": "No."}'
    assert found(made, "file/f-1", refused) == 0
    ranges = '{"topic": "file/%s/have", "reason_code": 0, "file": "f", "name": "n", "size": 3, "sender": "bob"}'
    assert found(made, "file/f-1", ranges % "f-2") is None
    assert found(made, "file/f-2", ranges % "f-2") == 8
    assert found(made, "file/f-1", ranges % "f-1") == 7
