"""The first bytes of peers: what a person may have typed, and what belongs to another protocol."""

from __future__ import annotations

import pytest

from wire.other_protocols import HTTP_ANSWER, WrongProtocol, begins_text, check_first_line


@pytest.mark.parametrize("first", ["", "alice", "#lab", "/help", " \r\n", "é", "名前", "\t"])
def test_what_is_typed_begins_text_however_it_is_cut(first: str) -> None:
    data = first.encode()
    assert all(begins_text(data[:end]) for end in range(len(data) + 1))


@pytest.mark.parametrize(
    "first",
    [b"\x00", b"\x0b", b"\x0c", b"\x1b[A", b"\x7f", b"\x80", b"\xc0\x00", b"\xe0\x00", b"\xfe", b"2\x05\x00"],
)
def test_what_no_text_begins_with(first: bytes) -> None:
    assert not begins_text(first)
    assert not begins_text(b"\r\n " + first)


def test_telnet_begins_with_its_negotiation() -> None:
    assert begins_text(b"\xff\xfd\x01")


@pytest.mark.parametrize("line", [b"GET / HTTP/1.1\r", b"get /a%20b HTTP/1.0", b"PRI * HTTP/2.0\r", b"X a b c HTTP/3"])
def test_a_request_line_of_http(line: bytes) -> None:
    with pytest.raises(WrongProtocol) as caught:
        check_first_line(line)
    assert caught.value.answer == HTTP_ANSWER


@pytest.mark.parametrize("line", [b"alice", b"GET", b"GET / HTTP", b"hello HTTP/1.1", b"/msg bob HTTP/1.1", b""])
def test_lines_that_are_no_request_line(line: bytes) -> None:
    check_first_line(line)


def test_the_start_of_a_long_request_line() -> None:
    with pytest.raises(WrongProtocol):
        check_first_line(b"GET /" + b"x" * 20_000, whole=False)
    check_first_line(b"x" * 20_000, whole=False)
