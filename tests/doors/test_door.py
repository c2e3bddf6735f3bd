"""The door when the server stops: every peer is told, also one whose connection does not end by itself."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from channels import Chat, Outlet
from doors import Door, Speakers, door, text_speaker
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


def test_peers_are_told_whose_connections_do_not_end_in_time(
    start_server: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No connection gets any time. They were cut without a word."""
    monkeypatch.setattr(door, "_PATIENCE", 0.0)
    server = start_server()
    lines = enter(server.address, 300)
    server.close()
    for line in lines:
        is_told(line)


class Stuck(LineSpeaker):
    """A speaker whose thread does not come back from `receive` before `released`."""

    inside = threading.Event()
    released = threading.Event()

    def receive(self, data: bytes) -> None:
        super().receive(data)
        self.inside.set()
        self.released.wait(DEADLINE)


def stuck_speaker(chat: Chat, outlet: Outlet, address: str) -> Stuck:
    return Stuck(chat, outlet, address, TextLines(chat.limits))


def test_a_peer_whose_thread_is_stuck_is_told_and_cut(tmp_path: Path) -> None:
    """Its thread waits for a disk, for example."""
    store = open_store(tmp_path / "data")
    chat = Chat(store, Limits())
    doors = Door(chat)
    address = doors.open("127.0.0.1", 0, Speakers({b"s": stuck_speaker}, text_speaker))
    with Text(address, "stuck") as stuck, Text(address, "alice") as alice:
        assert Stuck.inside.wait(DEADLINE)
        doors.close()
        is_told(alice)
        is_told(stuck)
        Stuck.released.set()
        eventually(lambda: not connections(), lambda: f"{connections()} have not ended")
    chat.close()
    store.close()


def connections() -> list[str]:
    """Return the names of the connections' threads."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("connection-")]


def test_a_server_may_be_closed_twice(start_server: StartServer) -> None:
    server = start_server()
    with Json(server.address, "alice") as alice:
        server.close()
        server.close()
        assert alice.expect(Closing).code == "closing"
