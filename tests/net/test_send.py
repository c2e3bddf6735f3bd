"""A send in one go: it does what `socket.send` does, for anything that can be sent, and raises the same errors."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from net.send import send_in_one_go


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a line."""
    one, other = socket.socketpair()
    with one, other:
        yield one, other


@pytest.mark.parametrize("data", [b"", b"a\0b", b"x" * 16_383, b"x" * 16_384, memoryview(b"in part")[3:]])
def test_it_sends(pair: tuple[socket.socket, socket.socket], data: bytes | memoryview) -> None:
    one, other = pair
    assert send_in_one_go(one, data) == len(data)
    one.close()
    got = b""
    while piece := other.recv(100_000):
        got += piece
    assert got == data


@pytest.mark.parametrize("size", [100, 100_000])
def test_it_never_blocks(pair: tuple[socket.socket, socket.socket], size: int) -> None:
    one, other = pair
    one.setblocking(True)
    sent, full = 0, False
    while not full:
        try:
            sent += send_in_one_go(one, b"x" * size)
        except BlockingIOError:
            full = True
    other.setblocking(False)
    had = 0
    while had < sent:
        had += len(other.recv(1 << 20))
    assert had == sent


@pytest.mark.parametrize("size", [100, 100_000])
def test_a_broken_line_is_an_error_and_no_signal(pair: tuple[socket.socket, socket.socket], size: int) -> None:
    one, other = pair
    other.close()
    with pytest.raises(BrokenPipeError):
        send_in_one_go(one, b"x" * size)
    one.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        send_in_one_go(one, b"x" * size)
