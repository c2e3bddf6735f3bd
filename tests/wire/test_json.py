"""The JSON dialect: round trips, bytes cut anywhere, and bytes that are not frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.strategies import entries, frames, pieces
from wire.errors import CODES
from wire.frames import (
    ANSWERS,
    EVENTS,
    REQUESTS,
    Answer,
    Bye,
    Frame,
    GetFile,
    Hello,
    Join,
    Line,
    Malformed,
    Names,
    Ping,
    Prompt,
    Query,
    Recipient,
    Request,
    Say,
    SendFile,
    chat,
    files,
    local,
    status,
)
from wire.jsonlines import JsonLines
from wire.limits import Limits

SMALL = Limits(line=200, payload=50)
PING = b'{"op":"ping","bytes":%d,"ref":7}\n'


def receive(chunks: Sequence[bytes], limits: Limits = SMALL) -> list[Any]:
    """Return the frames of these chunks on one connection, whose buffer stays within the limits."""
    lines = JsonLines(limits)
    got = []
    for chunk in chunks:
        got += lines.receive(chunk)
        assert len(lines._buffer) + sum(map(len, lines._pieces)) <= max(limits.line, limits.payload)
    return got


@pytest.mark.parametrize("kind", REQUESTS + ANSWERS + EVENTS, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_every_frame_comes_back_as_it_was(kind: type[Frame], data: st.DataObject) -> None:
    """Encoded, and decoded by the other side, every frame is equal to itself, whatever is in its fields."""
    frame = data.draw(frames(kind))
    sent = JsonLines.encode(frame)
    line = sent[: len(sent) - len(getattr(frame, "payload", b""))]
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    lines = JsonLines(Limits(line=1 << 20), client=kind not in REQUESTS)
    assert lines.receive(sent) == [frame]
    assert lines.receive(sent + sent) == [frame, frame]


def test_every_frame_of_the_module_is_somewhere() -> None:
    """The tuples and the classes agree, so no frame can be forgotten."""
    bases = {Frame, Request, Answer}
    defined = {
        value for module in (chat, files, status, local) for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Frame) and value not in bases
    }  # fmt: skip
    assert defined == {
        *REQUESTS,
        *ANSWERS,
        *EVENTS,
        Line,
        Malformed,
        Names,
        Prompt,
        Query,
        Recipient,
        SendFile,
        GetFile,
    }


@given(batch=st.lists(entries(), max_size=5))
def test_a_batch_is_its_entries_one_after_the_other(batch: list[chat.Entry]) -> None:
    """The bytes that all JSON connections share say the same as a frame for each entry."""
    data = JsonLines.encode_entries(batch)
    assert data == b"".join(map(JsonLines.encode, batch)) == JsonLines.encode_entries(batch, past=True)
    assert JsonLines(Limits(line=1 << 20), client=True).receive(data) == batch


VALID = st.sampled_from(REQUESTS).flatmap(frames).filter(lambda frame: not getattr(frame, "bytes", 0))
PART = st.one_of(
    VALID.map(JsonLines.encode),
    st.sampled_from([
        b'{"op":"say","text":"hi"}\n', b'{"op":"say","text":"hi"}\r\n', b'{"op":"bye"} {"op":"bye"}\n',
        b'{"op":\n"bye"}\n', b'{"op":\n"bye"}{"op":"bye"}\n', b'{"op":"nothing","ref":1}\n', b"[]\n", b"\n", b" \r\n",
        b'{"op":"ping","\\u0062ytes":4}\nab\n}', b'{"op":"ping","payload":"aGk="}\n', b"{", b'"', b"}\n{", b"\xff\n",
        b'{"op":"say","text":"' + b"x" * 300 + b'"}\n', b"x" * 201 + b"\n", b'{"op":"ping","bytes":60,"ref":9}\n',
        b'{"op":"ping","bytes":4,"payload":"aGk="}\n{"o\n', b'{"op":"say","text":"\\ud800"}\n',
    ]),
    st.binary(max_size=50).map(lambda payload: PING % len(payload) + payload),
    st.binary(min_size=51, max_size=300).map(lambda payload: PING % len(payload) + payload),
    st.binary(max_size=30),
)  # fmt: skip
STREAM = st.lists(PART, max_size=12).map(b"".join)


@given(stream=STREAM, cuts=st.lists(st.integers(0, 5000), max_size=12))
@example(stream=b'{"op":\n"bye"}{"op":"bye"}\n', cuts=[])
@example(stream=b'{"op":"bye"} {"op":"bye"}\n\n', cuts=[])
def test_any_cut_of_the_same_bytes_gives_the_same_frames(stream: bytes, cuts: list[int]) -> None:
    """Valid, bad, long and random, with payloads in between: where the network cuts them makes no difference."""
    whole = receive([stream])
    assert receive(pieces(stream, cuts)) == whole
    assert receive([stream[at : at + 1] for at in range(len(stream))]) == whole


@given(stream=st.binary(max_size=400) | STREAM, client=st.booleans())
def test_whatever_comes_is_a_frame_or_malformed(stream: bytes, client: bool) -> None:
    """No bytes make it fail, and what is malformed has a code of the table, on both sides."""
    for frame in JsonLines(SMALL, client=client).receive(stream):
        assert isinstance(frame, Frame)
        assert type(frame) in ({*ANSWERS, *EVENTS} if client else set(REQUESTS)) | {Malformed}
        if isinstance(frame, Malformed):
            assert frame.code in CODES
            assert isinstance(frame.ref, int | str | None)
            assert JsonLines.encode(frame)


WRONG: tuple[tuple[bytes, str, int | str | None], ...] = (
    (b"hello", "bad-frame", None),
    (b"[1,2]", "bad-frame", None),
    (b"null", "bad-frame", None),
    (b'{"op":"say","text":"x","ref":1', "bad-frame", None),
    (b'{"op":"bye"} {"op":"bye"}', "bad-frame", None),
    (b'{"op":"dance","ref":1}', "unknown-frame", 1),
    (b'{"op":"dance","ref":"a"}', "unknown-frame", "a"),
    (b'{"op":"dance","ref":[1]}', "unknown-frame", None),
    (b'{"op":"line","text":"x","ref":1}', "unknown-frame", 1),
    (b'{"op":"welcome","name":"x","ref":1}', "unknown-frame", 1),
    (b'{"ref":2}', "bad-frame", 2),
    (b'{"op":7,"ref":2}', "bad-frame", 2),
    (b'{"op":"say","ref":3}', "bad-frame", 3),
    (b'{"op":"say","text":null,"ref":3}', "bad-frame", 3),
    (b'{"op":"say","text":"\xff","ref":3}', "bad-frame", 3),
    (b'{"op":"say","text":"x","id":"","ref":3}', "bad-frame", 3),
    (b'{"op":"say","text":"x","id":"%s","ref":3}' % (b"i" * 65), "bad-frame", 3),
    (b'{"op":"bye","ref":1.5}', "bad-frame", None),
    (b'{"op":"history","limit":0,"ref":4}', "bad-frame", 4),
    (b'{"op":"history","after":-1,"ref":4}', "bad-frame", 4),
    (b'{"op":"history","after":100000000000000000000000,"ref":4}', "bad-frame", 4),
    (b'{"op":"hello","name":"x","since":{"lab":-1},"ref":4}', "bad-frame", 4),
    (b'{"op":"ping","payload":"aGk=","ref":5}', "bad-frame", 5),
    (b'{"op":"ping","bytes":-1,"ref":5}', "bad-frame", 5),
    (b'{"op":"say","text":"' + b"x" * 200 + b'"}', "too-long", None),
    (b'{"op":"bye","x":' + b"[" * 100_000 + b"}", "bad-frame", None),
)


@pytest.mark.parametrize(("line", "code", "ref"), WRONG, ids=[str(at) for at in range(len(WRONG))])
def test_a_mistake_is_named_in_its_place(line: bytes, code: str, ref: int | str | None) -> None:
    """Each mistake gets its code and its ref, between what comes before and after it."""
    limits = SMALL if code == "too-long" else Limits(line=1 << 20)
    before, wrong, after = receive([b'{"op":"join","channel":"a"}\n' + line + b'\n{"op":"bye"}\n'], limits)
    assert (before, after) == (Join("a"), Bye())
    assert (wrong.code, wrong.ref) == (code, ref)
    assert wrong.error.endswith(".")
    assert len(wrong.error) < 300


def test_a_payload_over_the_limit_is_skipped() -> None:
    """The answer has its ref, none of its bytes stay in memory, and the next frame is decoded."""
    huge = b'{"op":"bye"}\n' * 10
    limits = Limits(payload=50)
    sent = PING % len(huge) + huge + b'{"op":"join","channel":"a"}\n'
    for cut in (1, len(PING) + 20, len(sent)):
        refused, join = receive([sent[at : at + cut] for at in range(0, len(sent), cut)], limits)
        assert (refused.code, refused.ref, join) == ("too-long", 7, Join("a"))
    endless = JsonLines(limits)
    assert [frame.code for frame in endless.receive(PING % 10**15)] == ["too-long"]
    assert endless.receive(huge * 100) == []
    assert endless._buffer == b""


def test_the_limits_are_exact() -> None:
    """A line or payload of just the limit passes, one byte more does not."""
    bare = len(b'{"op":"say","text":""}')
    fits = b'{"op":"say","text":"%s"}\n' % (b"x" * (200 - bare))
    assert receive([fits]) == [Say("x" * (200 - bare))]
    assert receive([fits[:-1], b"\n"]) == [Say("x" * (200 - bare))]
    assert receive([b'{"op":"ping"}\n' + fits]) == [Ping(), Say("x" * (200 - bare))]  # among frames with payloads
    assert [frame.code for frame in receive([fits.replace(b"x", b"xx", 1)])] == ["too-long"]
    assert receive([PING % 50 + b"p" * 50]) == [Ping(bytes=50, payload=b"p" * 50, ref=7)]
    assert [frame.code for frame in receive([PING % 51 + b"p" * 51])] == ["too-long"]
    assert [frame.code for frame in receive([b"x" * 201] + [b"x" * 5000] * 9)] == ["too-long"]


def test_unknown_fields_are_ignored() -> None:
    """So that a newer client can talk to an older server, and the other way round."""
    assert receive([b'{"op":"join","channel":"a","colour":"red"}\n']) == [Join("a")]
    assert receive([b'{"colour":["red"],"since":{"a":1},"name":"x","op":"hello"}\n']) == [
        Hello(name="x", since={"a": 1})
    ]


def test_hello_does_not_share_its_defaults() -> None:
    """A default that can change belongs to one frame."""
    one, other = receive([b'{"op":"hello","name":"x"}\n' * 2])
    one.since["a"] = 1
    assert other.since == {}


def test_defaults_are_left_out() -> None:
    """Fields with their default value are not on the wire."""
    assert JsonLines.encode(Say("x")) == b'{"op":"say","text":"x"}\n'
    assert msgspec.json.decode(JsonLines.encode(Ping(payload=b"abc"))[:-3]) == {"op": "ping", "bytes": 3}
