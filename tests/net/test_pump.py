"""The write pump resumes connections whose sockets take bytes again, and only those that asked."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from queue import SimpleQueue

import pytest

from net import WritePump
from tests.net.conftest import Pair, fill
from tests.support.waiting import DEADLINE


class Writer:
    """A connection that notes each call, and the thread that made it."""

    def __init__(self, pump: WritePump, sock: socket.socket, again: int = 0) -> None:
        self._pump = pump
        self._socket = sock
        self._again = again  # so many times it asks again
        self.calls: SimpleQueue[str] = SimpleQueue()

    def ask(self) -> None:
        """Ask to be resumed."""
        self._pump.add(self._socket.fileno(), self)

    def resume_writing(self) -> None:
        """Called by the pump."""
        if self._again:
            self._again -= 1
            self.ask()
        self.calls.put(threading.current_thread().name)


@pytest.fixture
def pump() -> Iterator[WritePump]:
    """A pump, whose thread ends with the test."""
    made = WritePump()
    yield made
    made.close()
    assert not any(thread.name == "pump" for thread in threading.enumerate())


def test_a_writer_is_resumed_once_for_each_time_it_asks(pump: WritePump, pair: Pair) -> None:
    writer = Writer(pump, pair[0], again=2)
    writer.ask()
    for _ in range(3):
        assert writer.calls.get(timeout=DEADLINE) == "pump"
    other = Writer(pump, pair[1])
    other.ask()
    other.calls.get(timeout=DEADLINE)  # the pump has been round, and had nothing to say to the first
    assert writer.calls.empty()


class Patient(Writer):
    """A connection that asks again for later, the first times, and notes whether it was the first to ask."""

    def __init__(self, pump: WritePump, sock: socket.socket, again: int) -> None:
        super().__init__(pump, sock)
        self._times = again
        self.firsts: list[bool] = []

    def resume_writing(self) -> None:
        """Called by the pump."""
        if self._times:
            self._times -= 1
            self.firsts.append(self._pump.add_later(self._socket.fileno()))
        self.calls.put(threading.current_thread().name)


def test_a_writer_is_resumed_later_until_it_asks_no_more(pump: WritePump, pair: Pair) -> None:
    """Its socket is not asked. Who is the first of a time of trouble is told so, once."""
    one, other = Patient(pump, pair[0], again=2), Patient(pump, pair[1], again=1)
    one.ask()
    one.calls.get(timeout=DEADLINE)
    other.ask()
    for _ in range(2):
        one.calls.get(timeout=DEADLINE)
    for _ in range(2):
        other.calls.get(timeout=DEADLINE)
    assert (one.firsts, other.firsts) == ([True, False], [False])
    other._times = 1
    other.ask()
    for _ in range(2):
        other.calls.get(timeout=DEADLINE)
    assert other.firsts == [False, True]


def test_a_full_socket_is_resumed_when_it_was_read(pump: WritePump, pair: Pair) -> None:
    one, other = pair
    fill(one)
    full, ready = Writer(pump, one), Writer(pump, other)
    full.ask()
    ready.ask()
    ready.calls.get(timeout=DEADLINE)
    assert full.calls.empty()
    other.setblocking(False)  # all may be read before the pump has made its call
    with contextlib.suppress(BlockingIOError):
        while other.recv(1 << 20):
            pass
    assert full.calls.get(timeout=DEADLINE) == "pump"


def test_a_socket_whose_peer_is_gone_is_resumed(pump: WritePump, pair: Pair) -> None:
    """So that the next send finds out."""
    one, other = pair
    fill(one)
    writer = Writer(pump, one)
    writer.ask()
    other.close()
    assert writer.calls.get(timeout=DEADLINE) == "pump"


def test_a_removed_writer_is_forgotten(pump: WritePump, pair: Pair) -> None:
    one, other = pair
    fill(one)
    writer = Writer(pump, one)
    writer.ask()
    pump.remove(one.fileno())
    pump.remove(one.fileno())  # no-op
    other.recv(1 << 20)
    late = Writer(pump, other)
    late.ask()
    late.calls.get(timeout=DEADLINE)
    assert writer.calls.empty()
