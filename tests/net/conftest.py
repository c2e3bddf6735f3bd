"""Socket pairs for the tests of net/."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from tests.support.waiting import DEADLINE

Pair = tuple[socket.socket, socket.socket]


def fill(sock: socket.socket) -> None:
    """Send until the kernel takes nothing more; the socket does not block from then on."""
    sock.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while sock.send(b"x" * 65_536):
            pass


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two connected sockets without an address."""
    one, other = socket.socketpair()
    with one, other:
        yield one, other


@pytest.fixture
def tcp() -> Iterator[Pair]:
    """Two connected TCP sockets: the accepted one, and the one that connected."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname(), DEADLINE)
        client.settimeout(None)
        server = listener.accept()[0]
    with server, client:
        yield server, client
