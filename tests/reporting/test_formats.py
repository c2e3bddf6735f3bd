"""The forms of the log: one line for each event, and nothing that a peer has chosen leaves its field."""

from __future__ import annotations

import json
import logging
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reporting import FORMATS, events
from reporting.formats import json_line, text_line
from reporting.values import LONGEST

_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d"
LOGIN = events.LoggedIn("10.0.0.5", "ann", "mqtt-5", tls=True, registered=False, client="oven 1")
HOSTILE = (
    "a\nb", "a\r\n2026-12-01T00:00:00.000+00:00 WARNING wrong-password: A password was wrong. address=10.0.0.9",
    '" address=10.0.0.9 user="', "\x1b[2J\x1b]0;title\x07", "\x9b31m", "\x7f", "\u202egnp.exe", "\u2028\u2029",
    "\ud800", "\\",
)  # fmt: skip


def record(event: events.Event, error: BaseException | None = None) -> logging.LogRecord:
    """The record that `report` makes."""
    info = None if error is None else (type(error), error, error.__traceback__)
    return logging.LogRecord("partyline", event.LEVEL, "", 0, "%s", (event,), info)


def test_a_line_of_text() -> None:
    line = text_line(record(LOGIN))
    assert re.fullmatch(
        _TIME + " INFO login: A user logged in. address=10.0.0.5 user=ann protocol=mqtt-5 tls=yes registered=no "
        'client="oven 1"',
        line,
    )


def test_a_line_of_json() -> None:
    line = json.loads(json_line(record(LOGIN)))
    assert re.fullmatch(_TIME, line.pop("time"))
    assert line == {
        "level": "info", "event": "login", "sentence": "A user logged in.", "address": "10.0.0.5", "user": "ann",
        "protocol": "mqtt-5", "tls": True, "registered": False, "client": "oven 1",
    }  # fmt: skip


def test_a_field_without_a_value_is_left_out() -> None:
    event = events.CutOff("::1", "", "text", "too-slow")
    assert text_line(record(event)).endswith(" address=::1 protocol=text reason=too-slow")
    assert "user" not in json.loads(json_line(record(event)))


@pytest.mark.parametrize("value", HOSTILE)
def test_what_a_peer_sends_cannot_forge_a_line(value: str) -> None:
    _check(value)


@given(st.text(st.characters(), max_size=2 * LONGEST) | st.text("\x00a\U0010ffff", max_size=2 * LONGEST))
def test_no_value_leaves_its_field(value: str) -> None:
    _check(value)


def _check(value: str) -> None:
    """One line of printable ASCII, in which the value stands in one place, with quotation marks and bounded."""
    event = events.RefusedRequest("10.0.0.5", "ann", "json", "say", value)
    for form in FORMATS.values():
        line = form(record(event))
        assert re.fullmatch(r"[ -~]+", line)
    text = text_line(record(event))
    start, _, given_value = text.partition(" request=say")
    assert start.endswith("A request is not allowed. address=10.0.0.5 user=ann protocol=json")
    shown = json.loads(json_line(record(event))).get("detail", "")
    assert len(json.dumps(shown)) <= LONGEST + 2, "a character may be written as twelve"
    if len(json.dumps(value)) <= LONGEST + 2:
        assert shown == value
    else:
        assert shown[-1] == "…"
        assert value.startswith(shown[:-1])
        assert len(json.dumps(shown + value[len(shown) - 1])) > LONGEST + 2, "no more is cut than necessary"
    if not value:
        assert given_value == ""
    elif re.fullmatch(r"[!-~]+", given_value.removeprefix(" detail=")) and not given_value.startswith(' detail="'):
        assert given_value == f" detail={shown}"
    else:
        assert json.loads(given_value.removeprefix(" detail=")) == shown


def test_a_traceback_is_indented_and_escaped() -> None:
    try:
        raise ValueError("first\n2026-12-01 00:00:00 WARNING wrong-password: x\x1b[2J")
    except ValueError as error:
        event = events.InternalError("10.0.0.5", "connection")
        first, *others = text_line(record(event, error)).split("\n")
        traceback = json.loads(json_line(record(event, error)))["traceback"]
    assert first.endswith(" ERROR internal-error: The server made a mistake. address=10.0.0.5 part=connection")
    assert len(others) > 3
    assert all(re.fullmatch(r"    \| [ -~]*", line) for line in others)
    assert "ValueError: first" in traceback


def test_the_record_of_a_library_is_a_message() -> None:
    made = logging.LogRecord("amqtt.broker", logging.WARNING, "", 0, "odd\n%s", ("x",), None)
    assert text_line(made).endswith(r'WARNING message: A library reports something. library=amqtt.broker text="odd\nx"')


def test_every_event_has_what_its_line_needs() -> None:
    """A code of its own, a sentence without the marks of fields, and the address first, as filters read it."""
    codes = [str(event.__struct_config__.tag) for event in events.ALL]
    assert len(set(codes)) == len(codes)
    for event in events.ALL:
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", str(event.__struct_config__.tag))
        assert re.fullmatch(r'[A-Z][^="]*\.', event.SENTENCE), event
        fields = event.__struct_fields__
        assert "address" not in fields[1:], event
        assert not {"time", "level", "event", "sentence", "traceback"} & set(fields), event
        assert not {"password", "token", "secret", "text"} & set(fields) or event is events.Message, event
