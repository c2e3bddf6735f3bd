"""The client over MQTT without a broker: frames and topics, which answer is whose, and entries in order."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from terminal.links.mqtt.entries import Logs
from terminal.links.mqtt.requests import Questions
from tests.support.terminal import ME, REPLY, TOPICS, entry
from wire.frames import (
    Entry,
    Gap,
    Join,
    LogState,
    Msg,
    Page,
    Request,
    Say,
    Seen,
    Who,
    Whois,
)


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
