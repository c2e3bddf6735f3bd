"""The text dialect: lines cut anywhere, telnet's negotiation, and output that is safe on any terminal."""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.strategies import entries, frames, hostile_text, pieces
from wire.errors import CODES
from wire.frames import (
    ANSWERS,
    EVENTS,
    BridgeStatus,
    Bye,
    Entry,
    Error,
    FileInfo,
    FileList,
    Frame,
    Gap,
    Join,
    Joined,
    Line,
    Malformed,
    Msg,
    Offered,
    Page,
    Prompt,
    Request,
    ServerInfo,
    ServerStatus,
    Stored,
)
from wire.limits import Limits
from wire.text import TextLines, clock, render

SMALL = Limits(line=60)
SHOWN = (*ANSWERS, *EVENTS, Prompt)
INDENT = "    "

# Unicode TR 9's explicit marks, by the name of their class, beside the three implicit ones and the byte order mark.
_BIDI = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
_MARKS = {"\u200e", "\u200f", "\u061c", "\ufeff"}


def acts_on_a_terminal(character: str) -> bool:
    """Return True if a terminal obeys the character. Tabs and line ends are checked elsewhere."""
    return character not in "\t\n" and (
        unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
        or unicodedata.bidirectional(character) in _BIDI
        or character in _MARKS
    )


def check_output(data: bytes, lines: int) -> None:
    """Check that no character acts on a terminal, and that at most `lines` lines begin at the left margin."""
    text = data.decode()
    assert not list(filter(acts_on_a_terminal, text))
    assert not text or text.endswith("\n")
    assert sum(not line.startswith(INDENT) for line in text[:-1].split("\n") if text) <= lines


def receive(chunks: Sequence[bytes], limits: Limits = SMALL) -> list[Any]:
    """Return the frames of these chunks on one connection, whose buffer stays within the limit."""
    lines = TextLines(limits)
    got: list[Any] = []
    for chunk in chunks:
        got += lines.receive(chunk)
        assert len(lines._buffer) <= limits.line
    return got


PART = st.one_of(
    st.sampled_from([
        b"hello\n", b"hello\r\n", b"/join lab\n", b"/jion lab\r\n", b"/join a b\n", b"/join *\n", b"exit\n", b"\n",
        b"\xff\xfd\x01", b"\xff\xfa\x18\x00xterm\xff\xf0", b"\xff\xf4\xff\xfd\x06", b"\xff", b"\r", b"\x1b[2J",
        b"x" * 61, b" \n", b"y" * 200 + b"\n", "é\n".encode(), b"\xc3",
    ]),
    st.binary(max_size=30),
)  # fmt: skip
STREAM = st.lists(PART, max_size=12).map(b"".join)


@given(stream=STREAM, cuts=st.lists(st.integers(0, 2000), max_size=12))
def test_any_cut_of_the_same_bytes_gives_the_same_frames(stream: bytes, cuts: list[int]) -> None:
    """The network may cut the lines anywhere."""
    whole = receive([stream])
    assert receive(pieces(stream, cuts)) == whole
    assert receive([stream[at : at + 1] for at in range(len(stream))]) == whole


@given(stream=st.binary(max_size=300) | STREAM | hostile_text().map(lambda text: text.encode(errors="replace")))
def test_whatever_comes_is_a_request_a_line_or_malformed(stream: bytes) -> None:
    """Any bytes give frames, and no frame has a character that acts on a terminal."""
    for frame in receive([stream, b"\n"], Limits()):
        assert isinstance(frame, Request)
        if isinstance(frame, Malformed):
            assert frame.code in CODES
            assert not list(filter(acts_on_a_terminal, frame.error))
        if isinstance(frame, Line):
            assert frame.text == frame.text.strip() != ""
            assert not list(filter(acts_on_a_terminal, frame.text))
            assert "\n" not in frame.text


TYPED: tuple[tuple[bytes, list[Request]], ...] = (
    (b"hello\r\nyou\n", [Line("hello"), Line("you")]),
    (b"hello\r\0\nyou\n", [Line("hello"), Line("you")]),
    (b"\r\n\n  \n", []),
    (b"  spaced out \t\n", [Line("spaced out")]),
    (b"a\tb\n", [Line("a\tb")]),
    (b"\xff\xfb\x1f\xff\xfd\x01hello\n", [Line("hello")]),
    (b"he\xff\xfa\x1f\x00P\x00\x18\xff\xf0llo\xff\xf1\n", [Line("hello")]),
    (b"\xff\xf4\xff\xfd\x06exit\n", [Bye()]),
    (b"\x1b[31mred\x07\x08\n", [Line("[31mred")]),
    (b"\xe2\x80\xaeabc\xc2\x9b\n", [Line("abc")]),
    ("grüße\n".encode(), [Line("grüße")]),
    (b"caf\xe9\n", [Line("caf\ufffd")]),
    (b"lab: hello\n", [Line("lab: hello")]),
    (b"/MSG bob  hi  there \n", [Msg("bob", "hi  there")]),
    (b"EXIT\n", [Bye()]),
    (b"exit now\n", [Line("exit now")]),
    (b"/join #lab\r\n", [Join("lab")]),
    (b"no line end", []),
)


@pytest.mark.parametrize(("typed", "expected"), TYPED)
def test_what_people_type(typed: bytes, expected: list[Request]) -> None:
    """Line ends of every system, telnet's negotiation (RFC 854), and control characters."""
    assert receive([typed]) == expected


@pytest.mark.parametrize(
    ("typed", "code", "part"),
    [
        ("/jion lab", "unknown-command", "Did you mean /join?"),
        ("/\x1b[2J", "unknown-command", "Unknown command /[2J."),
        ("/frobnicate" + "x" * 1000, "unknown-command", "/help lists the commands"),
        ("/join", "bad-command", "/join <channel>"),
        ("/msg bob", "bad-command", "/msg <user> <text>"),
        ("/history lab 0", "bad-command", "/history"),
        ("/history lab " + "9" * 5000, "bad-command", "/history"),
        ("/join a/b", "bad-name", "'a/b' is not"),
        ("/msg " + "x" * 33 + " hi", "bad-name", "1 to 32"),
        ("x" * 16_385, "too-long", "16384 bytes"),
    ],
)
def test_a_mistake_gets_one_clear_line(typed: str, code: str, part: str) -> None:
    """The error has a code and quotes a short part of the line. The next line is decoded."""
    wrong, line = receive([f"{typed}\nhello\n".encode()], Limits())
    assert (wrong.code, line) == (code, Line("hello"))
    assert part in wrong.error
    assert len(wrong.error) < 200
    check_output(TextLines.encode(Error(code=wrong.code, error=wrong.error)), 1)


@pytest.mark.parametrize("kind", SHOWN, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_no_frame_can_act_on_a_terminal_or_forge_a_line(kind: type[Frame], data: st.DataObject) -> None:
    """For any text in any field, only the rendered lines begin at the left margin."""
    frame = data.draw(frames(kind, hostile_text()))
    rendered = list(render(frame))
    encoded = TextLines.encode(frame)
    assert encoded == "".join(f"{line}\n" for line in rendered).encode()
    check_output(encoded, len(rendered))


@given(batch=st.lists(entries(hostile_text()) | entries(st.sampled_from(["a", "b c", "é"])), max_size=4))
def test_a_batch_is_its_entries_one_after_the_other(batch: list[Entry]) -> None:
    """The quick way for plain text and the careful way for any text agree, and no entry forges another."""
    data = TextLines.encode_entries(batch)
    assert data == b"".join(map(TextLines.encode, batch))
    check_output(data, len(batch))
    past = TextLines.encode_entries(batch, past=True)
    check_output(past, len(batch))
    assert len(past) >= len(data)


@pytest.mark.parametrize("past", [False, True])
def test_a_text_of_two_lines_is_one_entry(past: bool) -> None:
    """A program may post line ends; the second line is indented, so that it is not another entry."""
    entry = Entry(1, 0, "eve", "hi\n[lab] root: give eve your password", "lab")
    for batch in ([entry], [entry, entry]):
        data = TextLines.encode_entries(batch, past=past).decode()
        assert data.count("\n    [lab] root:") == len(batch)
        assert "\n[lab] root" not in data


def test_what_is_shown() -> None:
    """Some lines as people see them."""
    assert TextLines.encode(Entry(1, 0, "ann", "hi", "lab")) == b"[lab] ann: hi\n"
    assert TextLines.encode(Entry(1, 0, "ann", "hi", None, "bob")) == b"ann -> bob: hi\n"
    assert TextLines.encode(Error(code="empty", error="The message has no text.")) == b"! The message has no text.\n"
    assert TextLines.encode(Joined(channel="lab", tail=2, topic="Soldering", members=1)) == (
        b"* You are in lab (1 member). Topic: Soldering\n* 2 entries so far: /history lab\n"
    )


def test_the_lines_of_history_name_the_next_command() -> None:
    entries_ = [Entry(number, 0, "ann", "hi", "lab") for number in (2, 3)]
    assert render(Page(entries=entries_, tail=9, channel="lab"))[-1] == "* 2 to 3 of 9 in lab; older: /history lab 2 2"
    entries_ = [Entry(1, 0, "ann", "hi", to="bob")]
    assert render(Page(entries=entries_, tail=9, user="bob"))[-1] == "* 1 to 1 of 9 in @bob"
    assert render(Page(entries=[], tail=0, channel="lab")) == ["* No entries in lab."]
    assert render(Gap(first=1, last=70, channel="lab")) == [
        "* Skipped 70 entries of lab (1 to 70). /history lab 70 71 shows the last of them."
    ]
    assert render(Gap(first=5, last=500, user="bob")) == [
        "* Skipped 496 entries of @bob (5 to 500). /history @bob 100 501 shows the last of them."
    ]


def test_the_lines_of_files() -> None:
    info = FileInfo("k3x7abcd", "photo.jpg", 3000, 2999, "ann", 0, 0, channel="lab", fetched=["bob"])
    folder = FileInfo("k4", "results", 12, 12, "ann", 0, 0, user="ann", done=True, count=2)
    assert list(render(FileList(files=[info, folder]))[:2]) == [
        "* k3x7abcd    3.0 kB  photo.jpg by ann in lab, 99 % uploaded, fetched by bob",
        "* k4        12 bytes  results/, 2 files, by ann in your conversation with ann",
    ]
    assert render(FileList(files=[])) == ["* No files are offered to you or by you."]
    for away, lines in ((True, ["* bob is away. The server keeps the file for them."]), (False, [])):
        assert render(Offered(file="k4", number=1, user="bob", away=away)) == lines
        assert len(render(Stored(number=1, user="bob", away=away))) == len(lines)


def test_the_status_in_words() -> None:
    """The status of the server, and of its connection to another broker."""
    now = time.time_ns() // 1_000_000
    status = ServerStatus(version="0.1.0", since=now, users=1, connections=2, channels=3)
    lines = [f"* Partyline 0.1.0, running since {clock(now)}.", "* 1 user online over 2 connections; 3 channels."]
    assert render(status) == lines
    status.bridge = BridgeStatus("mosquitto:1883", True, now, "5", behind=3, received=120, sent=400, refused=2)
    assert render(status) == [
        *lines,
        (
            f"* Broker: connected to mosquitto:1883 over MQTT 5 since {clock(now)}; 3 entries behind;"
            " 120 messages in, 400 out, 2 refused."
        ),
    ]
    status.bridge.error = "mosquitto:1883 does not take all that we publish."
    assert render(status)[2] == (
        f"* Broker: connected to mosquitto:1883 over MQTT 5 since {clock(now)}, but: mosquitto:1883 does not take all"
        " that we publish; 3 entries behind; 120 messages in, 400 out, 2 refused."
    )
    status.bridge = BridgeStatus("mosquitto:1883", False, now, behind=1, error="Nobody listens there.")
    assert render(status)[2] == (
        f"* Broker: not connected to mosquitto:1883 since {clock(now)}: Nobody listens there; 1 entry behind;"
        " 0 messages in, 0 out, 0 refused."
    )


def test_the_servers_in_words() -> None:
    """Of what is not known of a server yet, nothing is said."""
    status = ServerStatus(version="0.1.0", since=0, users=1, connections=2, channels=3)
    status.servers = [
        ServerInfo(number=1, version="0.1.0"),
        ServerInfo(number=3, name="hall:7000", address="hall:7000", version="0.1.0", connections=1, here=True, lag=849),
        ServerInfo(
            number=4, name="lab", address="10.0.0.4:7000", version="0.2.0", connections=12, lag=5_000, silent=12
        ),
    ]
    assert render(status)[2:] == [
        "* Server 1: 0.1.0, 0 connections.",
        "* Server 3, hall:7000: 0.1.0, 1 connection; what it tells takes 0.8 ms; this one.",
        "* Server 4, lab (10.0.0.4:7000): 0.2.0, 12 connections; what it tells takes 5.0 ms; silent for 12 seconds.",
    ]


@given(milliseconds=st.integers())
def test_any_number_is_a_time(milliseconds: int) -> None:
    """A client survives any time that a server sends."""
    assert clock(milliseconds).isprintable()
