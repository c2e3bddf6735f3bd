"""`send_holding_gil` does what `socket.send` does, for all kinds of data, and raises the same errors."""

from __future__ import annotations

import pytest

from net import send_holding_gil
from tests.net.conftest import Pair


@pytest.mark.parametrize("data", [b"", b"a\0b", b"x" * 16_383, b"x" * 16_384, memoryview(b"in part")[3:]])
def test_it_sends(pair: Pair, data: bytes | memoryview) -> None:
    one, other = pair
    assert send_holding_gil(one, data) == len(data)
    one.close()
    got = b""
    while piece := other.recv(100_000):
        got += piece
    assert got == data


@pytest.mark.parametrize("size", [100, 100_000])
def test_it_never_blocks(pair: Pair, size: int) -> None:
    one, other = pair
    one.setblocking(True)
    sent, full = 0, False
    while not full:
        try:
            sent += send_holding_gil(one, b"x" * size)
        except BlockingIOError:
            full = True
    other.setblocking(False)
    had = 0
    while had < sent:
        had += len(other.recv(1 << 20))
    assert had == sent


@pytest.mark.parametrize("size", [100, 100_000])
def test_a_broken_line_is_an_error_and_no_signal(pair: Pair, size: int) -> None:
    one, other = pair
    other.close()
    with pytest.raises(BrokenPipeError):
        send_holding_gil(one, b"x" * size)
    one.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        send_holding_gil(one, b"x" * size)
