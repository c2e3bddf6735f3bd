"""The table of topics: every row leads from any frame to its topic and payload and back, and is in the documents."""

from __future__ import annotations

import ast
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.examples import examples
from tests.support.repository import ROOT
from tests.support.strategies import entries, frames
from wire.errors import Refused
from wire.frames import (
    REQUESTS,
    Answer,
    Bye,
    Chunk,
    Entry,
    Error,
    Hello,
    Help,
    Kept,
    More,
    Offer,
    Ping,
    Say,
    Stored,
    SumIs,
    Taken,
)
from wire.frames import files as file_frames
from wire.topics import TABLE, Gone, Here, LiveMessage, Row, ServerState, Topics, UserPresence, Writer
from wire.topics.table import EVENTS, find
from wire.topics.table import REQUESTS as ROWS_OF_REQUESTS

CHAT = Topics("site/chat")
ME = "Alice"

ASKED = [row for row in TABLE if row.writer is Writer.CLIENT and row.frame is not LiveMessage]
names = st.from_regex("[A-Za-z0-9_-]{1,32}", fullmatch=True)
file_ids = st.from_regex("[A-Za-z0-9_.-]{1,64}", fullmatch=True)
sums = st.just("") | st.from_regex("[0-9a-f]{64}", fullmatch=True)


@st.composite
def carried(draw: st.DrawFn, kind: type[Any]) -> Any:
    """Any request of that type, without what its topic does not carry."""
    request = draw(frames(kind))
    user = draw(st.booleans())
    fields: dict[str, Any] = {"ref": None}
    for name in set(kind.__struct_fields__) & {"channel", "user", "file", "id", "sha256", "size"}:
        if name in ("channel", "user"):
            both = {"channel", "user"} <= set(kind.__struct_fields__)
            fields[name] = draw(names) if not both or (name == "user") == user else ""
        elif name == "file" or (name == "id" and kind is Offer):
            fields[name] = draw(file_ids)
        elif name == "sha256":
            fields[name] = "" if kind is Taken else draw(sums)
        elif name == "size":
            fields[name] = request.size or 0
    if kind is Offer:
        fields |= {"bytes": 0, "payload": b""}
    return msgspec.structs.replace(request, **fields)


@pytest.mark.parametrize("row", ASKED, ids=lambda row: row.frame.__name__)
@settings(max_examples=examples(0.5))
@given(data=st.data())
def test_a_request_comes_back_from_its_topic(row: Row, data: st.DataObject) -> None:
    request = data.draw(carried(row.frame))
    topic, payload = CHAT.ask(request, ME)
    assert topic.startswith("site/chat/from/Alice/")
    assert CHAT.request(topic, payload, ME) == request
    assert CHAT.sender(topic) == (ME, frozenset([each.frame for each in TABLE if each.pattern == row.pattern]))


@given(data=st.data(), row=st.sampled_from(ASKED))
def test_any_request_is_carried_or_refused(data: st.DataObject, row: Row) -> None:
    """For any fields, the topic is one of the row, and never another client's."""
    request = data.draw(frames(row.frame))
    try:
        topic, payload = CHAT.ask(request, ME)
        assert topic.startswith("site/chat/from/Alice/")
        assert isinstance(CHAT.request(topic, payload, ME), row.frame)
    except Refused:
        return


@given(to=names, payload=st.binary())
def test_a_live_message_comes_back(to: str, payload: bytes) -> None:
    topic = CHAT.live_topic(to, ME)
    assert CHAT.request(topic, payload, ME) == LiveMessage(to, payload)
    assert CHAT.live_pair(topic) == (to, ME)
    [row] = [row for row in TABLE if row.frame is LiveMessage]
    assert f"site/chat/{row.topic(LiveMessage(to, payload), ME)}" == topic


@st.composite
def answers(draw: st.DrawFn, request: Any) -> Any:
    """An answer to that request, or an error, without what the topics do not carry."""
    kind = ROWS_OF_REQUESTS[type(request)].answer
    assert kind is not None
    answer: Any = draw(frames(kind) | frames(Error))
    if isinstance(answer, Error):
        large = ROWS_OF_REQUESTS[type(request)].large
        id = None if large else getattr(request, "id", None)
        return msgspec.structs.replace(answer, ref=request.ref, channel=None, user=None, id=id)
    fields: dict[str, Any] = {"ref": request.ref}
    if isinstance(answer, Chunk):
        fields |= {"file": request.file, "offset": request.offset}
    elif isinstance(answer, Kept):
        fields |= {"offset": request.offset, "length": len(request.payload)}
    elif isinstance(answer, SumIs):
        fields |= {"offset": request.offset, "length": request.length}
    elif isinstance(answer, Stored):
        fields |= {"id": request.id}
    return msgspec.structs.replace(answer, **fields)


@pytest.mark.parametrize("row", [row for row in ASKED if row.answer is not None], ids=lambda row: row.frame.__name__)
@settings(max_examples=examples(0.5))
@given(data=st.data())
def test_an_answer_comes_back_from_its_topic(row: Row, data: st.DataObject) -> None:
    """And names the request that it answers, by the topic or by the id of the post."""
    request = data.draw(carried(row.frame))
    request.ref = 7
    answer = data.draw(answers(request))
    asked, _ = CHAT.ask(request, ME)
    topic, payload = CHAT.place(answer, ME, asked), CHAT.payload(answer, ME, asked)
    assert topic is not None
    assert topic.startswith("site/chat/to/Alice/")
    about = CHAT.about(topic, payload, ME)
    assert about is not None
    if isinstance(request, Say | file_frames.Offer) and about.id is not None:
        assert about.id == request.id
    elif about.topic is not None:
        assert about.topic == asked
    assert CHAT.answer(request, payload, about) == answer
    assert CHAT.about(topic, payload, "bob") is None


@pytest.mark.parametrize("frame", EVENTS, ids=lambda frame: frame.__name__)
@settings(max_examples=examples(0.5))
@given(data=st.data())
def test_an_event_comes_back_from_its_topic(frame: type[Any], data: st.DataObject) -> None:
    event = data.draw(frames(frame))
    if isinstance(event, Error):
        event.channel = event.user = None
    if isinstance(event, Answer):
        event.ref = None
    if isinstance(event, More):
        event.file = data.draw(file_ids)
    topic, payload = CHAT.place(event, ME, None), CHAT.payload(event, ME, None)
    assert topic is not None
    assert CHAT.read(topic, payload, ME) == event
    assert CHAT.read(topic, payload, "bob") is None
    if frame is not More:
        assert topic == CHAT.event_topic(frame, ME)


@given(entry=entries(names))
def test_an_entry_comes_back_from_its_topic(entry: Entry) -> None:
    """The topic is that of its log; on the topic of another log, it is nothing."""
    rows = [row for row in TABLE if row.frame is Entry]
    for row in rows:
        if (entry.channel is None) == ("msg" in row.levels):
            topic = f"site/chat/{row.topic(entry, ME)}"
            payload = row.payload.write(entry)
            read = CHAT.read(topic, payload, ME)
            assert read == (None if "text" in row.levels else entry)
            if entry.channel is not None:
                assert topic in (CHAT.channel(entry.channel), CHAT.channel_text(entry.channel))
            assert CHAT.read(f"{topic}x", payload, ME) is None


@given(user=names, doors=st.lists(st.text(max_size=9), max_size=3), since=st.integers(0, 2**53), online=st.booleans())
def test_a_state_comes_back_from_its_topic(user: str, doors: list[str], since: int, online: bool) -> None:
    presence = UserPresence(user, online, doors if online else [], since)
    assert CHAT.read(*CHAT.state(presence), ME) == presence
    assert CHAT.state(presence)[0] == CHAT.presence(user)
    assert CHAT.user(CHAT.presence(user)) == user
    topic, payload = CHAT.state(ServerState(online))
    assert (topic, payload) == (CHAT.server, b"online" if online else b"offline")
    assert CHAT.read(topic, payload, ME) == ServerState(online)


def test_every_request_has_a_row_or_is_done_by_the_link() -> None:
    by_the_link = {Hello, Ping, Help, Bye, file_frames.Listen, file_frames.Reach, file_frames.Attach, file_frames.Relay}
    assert ROWS_OF_REQUESTS.keys() == {*REQUESTS} - by_the_link | {Here, Gone, LiveMessage}
    with pytest.raises(Refused, match="not available over MQTT"):
        CHAT.ask(Help(), ME)


def test_each_topic_leads_to_its_row() -> None:
    pairs = [(row.pattern, row.frame) for row in TABLE]
    assert len(set(pairs)) == len(pairs)
    for row in TABLE:
        rows, values = find(row.levels)
        assert row in rows
        assert values == [level for level in row.levels if level.startswith("<")]
        if row.optional:
            assert row in find(row.levels[:-1])[0]


def test_only_posts_live_messages_and_the_departure_may_be_wills() -> None:
    assert {row.frame.__name__ for row in TABLE if row.will} == {"Say", "Msg", "LiveMessage", "Gone"}
    assert CHAT.may_be_will("site/chat/from/Alice/say/lab")
    assert not CHAT.may_be_will("site/chat/from/Alice/join/lab")
    assert not CHAT.may_be_will("elsewhere")


def test_the_states_are_retained() -> None:
    assert {row.pattern for row in TABLE if row.retained} == {"presence/<user>", "server"}


@pytest.mark.parametrize("topic", ["site/chat/from/Alice/" + "a/" * 32_000, "site/chat/" + "/" * 65_000, "x" * 65_000])
def test_a_long_topic_takes_little_time(topic: str) -> None:
    """The time is linear in the length: one that is quadratic takes minutes for these."""
    began = time.process_time()
    for _ in range(20):
        with pytest.raises(Refused):
            CHAT.request(topic, b"", ME)
        assert CHAT.read(topic, b"", ME) is None
    assert time.process_time() - began < 5


# The documents and the other folders


def test_the_documents_have_every_row() -> None:
    text = Path(ROOT, "docs/mqtt.md").read_text()
    table = text.partition("<!-- topics -->")[2].partition("<!-- /topics -->")[0]
    for row in TABLE:
        assert f"`chat/{row.pattern}`" in table, row.pattern
        assert row.what in table, row.pattern


# Parts of a topic that only wire/topics/ may hold: a first level, or an event below `to/<me>/`.
_PARTS = {f"{row.levels[0]}/" for row in TABLE if len(row.levels) > 1}
_PARTS |= {f"/{row.levels[-1]}" for row in EVENTS.values() if not row.levels[-1].startswith("<")}


def _is_part_of_a_topic(text: str) -> bool:
    """Return True for a part of a topic; prose, such as the comments in the access rules, has spaces."""
    return " " not in text and any(
        f"/{part}" in f"/{text}" if part.endswith("/") else text.endswith(part) for part in _PARTS
    )


def test_no_other_folder_writes_a_topic_down() -> None:
    found = [
        f"{file.relative_to(ROOT)}:{node.lineno}: {node.value!r}"
        for folder in ("bridge", "terminal", "channels", "doors")
        for file in Path(ROOT, folder).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _is_part_of_a_topic(node.value)
    ]
    assert found == []
