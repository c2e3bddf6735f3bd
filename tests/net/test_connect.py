"""Connecting to a host with several addresses, of which the first ones do not answer."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from net import connect
from tests.support.waiting import DEADLINE

Place = tuple[str, int]


@pytest.fixture
def silent() -> Iterator[Place]:
    """An address whose machine answers no SYN: nobody accepts, and the queue is full."""
    with ExitStack() as opened:
        listener = opened.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(2):
            waiting = opened.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()


@pytest.fixture
def listening() -> Iterator[Place]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()


def _resolves_to(monkeypatch: pytest.MonkeyPatch, *places: Place) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", place) for place in places]

    def getaddrinfo(*_: Any, **__: Any) -> Any:
        return found

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def test_all_addresses_together_have_the_time(silent: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    _resolves_to(monkeypatch, *[silent] * 5)
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        connect("host", 7000, 0.3)
    assert 0.25 < time.monotonic() - began < 0.3 * 4, "five times the time of one address"


def test_an_address_that_does_not_answer_leaves_time_for_the_next(
    silent: Place, listening: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    _resolves_to(monkeypatch, silent, listening)
    with connect("host", 7000, 1.0) as sock:
        assert sock.getpeername() == listening
        timeout = sock.gettimeout()
        assert timeout is not None
        assert 0 < timeout < 0.6


def test_a_refused_address_is_passed_over_at_once(listening: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        refused = closed.getsockname()
    _resolves_to(monkeypatch, refused, listening)
    with connect("host", 7000, DEADLINE) as sock:
        assert sock.getpeername() == listening
    _resolves_to(monkeypatch, refused)
    with pytest.raises(ConnectionRefusedError):
        connect("host", 7000, DEADLINE)
