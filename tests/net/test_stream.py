"""A stream without TLS: how long it waits for bytes."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from net import PlainStream
from tests.support.waiting import DEADLINE


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, PlainStream]]:
    """Both ends of a connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        far = socket.create_connection(listener.getsockname(), DEADLINE)
        near, _ = listener.accept()
    with far, near:
        far.sendall(b"hello")
        yield far, PlainStream(near)


def test_bytes_that_have_come_are_returned_at_once(pair: tuple[socket.socket, PlainStream]) -> None:
    _, stream = pair
    assert stream.peek(100, 1_000.0) == b"hello"
    assert stream.receive(100, 2_000.0) == b"hello"


def test_a_peek_for_all_bytes_waits_for_them(pair: tuple[socket.socket, PlainStream]) -> None:
    _, stream = pair
    start = time.monotonic()
    assert stream.peek(100, 0.05, whole=True) == b"hello"
    assert time.monotonic() - start > 0.04
