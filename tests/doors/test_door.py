"""The door when the server stops: every peer is told, also one whose connection does not end by itself."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from channels import Chat, Outlet, SessionReport
from doors import Door, Speakers, refuse_unknown, text_speaker
from doors.line_speaker import LineSpeaker
from store import open_store
from tests.support.clients import Connection, Json, Text
from tests.support.fixtures import StartProcess, StartServer
from tests.support.mqtt import MqttLine
from tests.support.waiting import DEADLINE, eventually
from wire.frames import Closing
from wire.limits import Limits
from wire.mqtt import Disconnect, Reason
from wire.text import TextLines


def enter(address: str, count: int) -> list[Connection]:
    """Connect so many users, in each dialect by turns."""
    kinds = (Json, Text, MqttLine)
    return [kinds[number % 3](address, f"user{number}") for number in range(count)]


def is_told(line: Connection) -> None:
    """Read until the peer is told that the server goes down."""
    match line:
        case MqttLine():
            assert line.expect(Disconnect).reason == Reason.SERVER_SHUTTING_DOWN
        case Json():
            assert line.expect(Closing).code == "closing"
        case Text():
            line.expect("The server is going down.")
    line.close()


def test_a_thousand_peers_are_told_that_the_server_goes_down(start_process: StartProcess) -> None:
    process = start_process()
    lines = enter(process.address, 1_000)
    assert process.stop() == 0
    for line in lines:
        is_told(line)


class Stuck(LineSpeaker):
    """A speaker whose thread does not come back from `receive` before `released`."""

    inside = threading.Semaphore(0)
    released = threading.Event()

    def receive(self, data: bytes) -> None:
        super().receive(data)
        self.inside.release()
        self.released.wait(DEADLINE)


def stuck_speaker(chat: Chat, outlet: Outlet, report: SessionReport) -> Stuck:
    return Stuck(chat, outlet, report, TextLines(chat.limits))


@pytest.fixture
def doors(tmp_path: Path) -> Iterator[Door]:
    """A door of a chat; every connection's thread ends with the test."""
    store = open_store(tmp_path / "data")
    chat = Chat(store, Limits())
    made = Door(chat)
    yield made
    made.close()
    Stuck.released.set()
    eventually(lambda: not connections(), lambda: f"{connections()} have not ended")
    chat.close()
    store.close()


def connections() -> list[str]:
    """Return the names of the connections' threads."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("connection-")]


def test_peers_whose_threads_are_stuck_are_told_and_cut(doors: Door) -> None:
    """Their threads wait for a disk, for example. They were cut without a word."""
    address = doors.open("127.0.0.1", 0, Speakers({b"s": stuck_speaker}, text_speaker, refuse_unknown))
    lines = [Text(address, f"{'stuck' if number % 2 else 'alice'}{number}") for number in range(100)]
    for _ in lines[::2]:
        assert Stuck.inside.acquire(timeout=DEADLINE)
    doors.close()
    for line in lines:
        is_told(line)


class OneByOne(threading.Event):
    """Lets one more connection end for each time that somebody waits."""

    def __init__(self, ends: Callable[[], bool]) -> None:
        super().__init__()
        self._ends = ends

    def wait(self, timeout: float | None = None) -> bool:
        return self._ends()


def test_the_door_waits_as_long_as_connections_end(doors: Door) -> None:
    """It cut all that were left after one second."""
    doors._connections = cast("Any", set(range(20)))

    def end() -> bool:
        doors._connections.pop()
        return not doors._connections

    doors._empty = OneByOne(end)
    assert doors._wait_until_ended() == []
    assert not doors._connections


def test_a_server_may_be_closed_twice(start_server: StartServer) -> None:
    server = start_server()
    with Json(server.address, "alice") as alice:
        server.close()
        server.close()
        assert alice.expect(Closing).code == "closing"


def test_a_connection_has_the_options_of_its_port(start_server: StartServer) -> None:
    """A dead peer is noticed within two minutes, and small packets go out at once."""
    server = start_server()
    with Json(server.address, "alice"):
        (connection,) = server._door._connections
        sock = connection._stream.socket
        options = (socket.TCP_NODELAY, socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        values = [sock.getsockopt(socket.IPPROTO_TCP, option) for option in options]
        assert values == [1, 60, 20, 3]
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 120_000
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
