"""The client over MQTT without a broker: frames and topics, which answer is whose, and entries in order."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terminal.links.mqtt.entries import Logs
from terminal.links.mqtt.frames import _FORMS, answer, ask, event
from terminal.links.mqtt.requests import Questions
from tests.support.terminal import ME, REPLY, TOPICS, entry
from wire.errors import Refused
from wire.frames import (
    REQUESTS,
    Bye,
    Channels,
    Delivered,
    Entry,
    Error,
    Frame,
    Gap,
    Hello,
    Help,
    History,
    Join,
    Joined,
    Leave,
    LogState,
    Msg,
    Page,
    Ping,
    Presence,
    Register,
    Request,
    Say,
    Seen,
    Status,
    Topic,
    Who,
    Whois,
)
from wire.frames import files as file_frames
from wire.jsonlines import JsonLines
from wire.topics import VERBS, Gone, Here

SOME: list[Request] = [
    Here(),
    Gone(),
    Join("Lab"),
    Leave("lab"),
    Say("hello", "lab", "id-1"),
    Say('{"text": "not mine", "id": "x"}', "lab", "id-1"),
    Say("no id ü\n", "lab"),
    Msg("bob", "hi", "id-2"),
    Who(),
    Who("lab"),
    Channels(),
    Whois("bob"),
    History(channel="lab", after=3, limit=20),
    History(user="bob", before=7),
    Topic("lab"),
    Topic("lab", "Soldering"),
    Topic("lab", ""),
    Register("sesame ü"),
    file_frames.Files(),
    Seen(number=7, channel="lab"),
    Seen(number=1, user="bob"),
    Status(),
]

# Requests and topics


@pytest.mark.parametrize("request_", SOME, ids=lambda request: repr(request)[:40])
def test_what_is_asked_is_what_the_server_understands(request_: Request) -> None:
    topic, payload = ask(TOPICS, request_, ME)
    assert TOPICS.request(topic, payload, ME) == request_


def test_every_request_can_be_asked_and_every_verb_is_used() -> None:
    by_the_link: set[object] = {Hello, Ping, Help, Bye, *file_frames.REQUESTS} - {file_frames.Files}
    assert {*REQUESTS} - by_the_link | {Here, Gone} == {*_FORMS} == {type(request) for request in SOME}
    assert {form.verb for form in _FORMS.values()} == {*VERBS}


@settings(max_examples=50)
@given(st.text(), st.text(max_size=64))
def test_any_text_comes_through(text: str, id: str) -> None:
    text = text.encode(errors="replace").decode()
    request = Say(text, "lab", "1" + id.encode(errors="replace").decode()[:63])
    assert TOPICS.request(*ask(TOPICS, request, ME), ME) == request


@pytest.mark.parametrize(
    "request_", [Join("a/b"), Join("+"), Join(""), Whois("#"), Msg("a b", "x"), History(), Who("$SYS"), Seen(number=1)]
)
def test_a_name_that_is_no_level_of_a_topic_is_refused(request_: Request) -> None:
    with pytest.raises(Refused):
        ask(TOPICS, request_, ME)


# Answers and events


def test_an_answer_is_what_was_asked_for_or_an_error_with_the_ref() -> None:
    assert answer(Join("lab", ref=5), b'{"channel": "Lab", "tail": 3, "members": 1, "new": true}') == Joined(
        channel="Lab", tail=3, members=1, ref=5
    )
    error = answer(Join("lab", ref=6), b'{"topic": "t", "code": "bad-name", "error": "No."}')
    assert error == Error(code="bad-name", error="No.", ref=6)
    for payload in (b"", b"[]", b"{}", b"\xff", b'{"channel": 1}', b"[" * 100_000):
        assert answer(Join("lab"), payload) is None


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
        ("chat/presence/bob", b'{"user": "bob", "online": true, "doors": ["mqtt"]}', Presence("bob", "online")),
        ("chat/presence/bob", b'{"user": "bob", "online": false}', Presence("bob", "offline")),
        ("chat/presence/bob", b"", None),
        ("chat/channels/lab", b"\xff{", None),
        ("chat/to/alice/file/7", b"\x00\x01", None),
        ("chat/to/bob/delivered", b'{"user": "bob", "number": 3}', None),
        ("elsewhere", b"{}", None),
    ],
)
def test_an_event_is_what_its_topic_says(topic: str, payload: bytes, frame: Frame | None) -> None:
    assert event(TOPICS, topic, payload, ME) == frame


def questions(*requests: Request) -> Questions:
    """Questions of one line, already published."""
    made = Questions(TOPICS, ME, REPLY, itertools.count(1))
    for packet_id, request in enumerate(requests, 1):
        made.sent(made.ask(request, now=0.0), packet_id)
    return made


def found(made: Questions, place: str, payload: str, correlation: bytes | None = None) -> object:
    """The `ref` of the question that a message answers."""
    answered = made.answered(f"chat/to/alice/{place}", correlation, payload.encode(), now=1.0)
    return answered and answered[1].ref


def test_correlation_data_tells_whose_answer_it_is() -> None:
    made = questions(Join("lab", ref=1), Join("lab", ref=2), Who(ref=3))
    joined = '{"channel": "lab", "tail": 0}'
    assert found(made, "reply/1", joined, b"2") == 2
    assert found(made, "reply/1", joined, b"2") is None, "once"
    assert found(made, "reply/2", joined, b"1") is None, "another client's"
    assert found(made, "reply/1", joined, b"9") is None
    assert found(made, "reply/1", '{"members": []}', b"3") == 3
    assert found(made, "reply/1", joined, b"1") == 1


def test_without_it_the_topic_does() -> None:
    posts = Say("a", "lab", "i", ref=1), Say("b", "lab", "j", ref=2), Msg("bob", "c", "k", ref=3)
    made = questions(*posts, Join("lab", ref=4), Join("lab", ref=5), Who(ref=6), Who("lab", ref=7), Whois("bob", ref=8))
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


def test_a_broker_that_refuses_without_a_word_is_taken_at_its_acknowledgement() -> None:
    made = questions(Say("a", "lab", "i", ref=1))
    assert made.taken(1, "not authorized", now=0.0) is None
    assert made.overdue(now=0.5) == []
    ((_, error),) = made.overdue(now=1.5)
    assert (error.ref, "not authorized" in str(error)) == (1, True)
    assert made.overdue(now=100.0) == []


def test_a_line_on_which_nothing_is_answered_is_given_up_but_not_one_that_is_slow() -> None:
    made = questions(*[Say("a", "lab", str(number), ref=number) for number in range(3)])
    assert found(made, "stored", '{"id": "0", "number": 1, "channel": "lab"}') == 0  # at 1 s
    assert made.overdue(now=60.5) == []
    with pytest.raises(TimeoutError):
        made.overdue(now=61.5)


# Logs


@given(st.data())
def test_whatever_the_broker_loses_repeats_or_mixes_up_goes_on_once_and_in_order(data: st.DataObject) -> None:
    """Some entries come by subscription, in any order and more than once; history, page by page, has the rest."""
    tail, start = data.draw(st.integers(0, 30)), data.draw(st.integers(0, 5))
    tail = max(tail, start)
    came = data.draw(st.lists(st.sampled_from(range(1, tail + 1)), max_size=40)) if tail else []
    logs = Logs(ME)
    logs.begin([LogState(tail=tail, seen=start, channel="lab")], {})
    logs.want("lab")
    shown: list[Entry] = []
    for packet_id, number in enumerate(came, 1):
        logs.arrived(packet_id)
        shown += logs.take(entry(number), packet_id)
    while wanted := logs.histories():
        (question,) = wanted
        after = question.after or 0
        limit = data.draw(st.integers(1, 7))
        page = [entry(number) for number in range(after + 1, min(after + limit, tail) + 1)]
        shown += logs.page(question, Page(entries=page, tail=tail, channel="lab"))
    assert [each.number for each in shown] == list(range(start + 1, tail + 1))
    logs.see(Seen(number=tail, channel="lab"))
    assert logs.acknowledgements() == list(range(1, len(came) + 1))


def test_what_nobody_has_any_more_does_not_hold_up_the_rest() -> None:
    logs = Logs(ME)
    logs.begin([LogState(tail=9, seen=3, channel="lab")], {"lab": 5})
    assert logs.take(entry(8), 0) == []
    (question,) = logs.histories()
    assert logs.page(question, None) == [entry(8)]
    assert logs.histories() == []


def test_too_much_that_was_missed_is_left_out_unless_since_is_known() -> None:
    states = [LogState(tail=2_000, seen=3, channel="lab"), LogState(tail=2_000, seen=3, user="bob")]
    logs = Logs(ME)
    assert logs.begin(states, {"@bob": 10}) == [Gap(first=4, last=1_500, channel="lab")]
    logs.want("lab")
    logs.want("@bob")
    assert [question.after for question in logs.histories()] == [1_500, 10]


def test_what_was_not_seen_is_not_acknowledged_and_acknowledgements_keep_the_order_of_arrival() -> None:
    logs = Logs(ME)
    logs.begin([LogState(tail=0, seen=0, channel=channel) for channel in ("lab", "ops")], {})
    for packet_id, each in enumerate([entry(1), entry(1, channel="ops"), entry(2), entry(1, channel="left")], 1):
        logs.arrived(packet_id)
        logs.take(each, packet_id)
    assert logs.acknowledgements() == []
    logs.see(Seen(number=2, channel="ops"))
    assert logs.acknowledgements() == []
    logs.see(Seen(number=1, channel="lab"))
    assert logs.acknowledgements() == [1, 2]
    logs.see(Seen(number=2, channel="lab"))
    assert logs.acknowledgements() == [3, 4]
