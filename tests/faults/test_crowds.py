"""A crowd that comes and vanishes at once leaves nothing: no user, thread, descriptor, object or memory."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import pytest

from bridge.clients import MqttSession
from channels import Reader, Session, User
from doors.connection import Connection
from doors.line_speaker import LineSpeaker
from server import Server
from tests.support.clients import Json, Text
from tests.support.fixtures import StartProcess, StartServer
from tests.support.mqtt import MqttLine
from tests.support.processes import Process, counts, memory, returns_to
from tests.support.waiting import eventually
from wire.frames import Join, Register, Registered, Status
from wire.limits import Limits
from wire.mqtt import V5, V311

CROWD = 150


def _come(address: str, count: int) -> list[Json | Text | MqttLine]:
    """Have a crowd log in by every dialect, and join or read a channel."""
    crowd: list[Json | Text | MqttLine] = []
    for n in range(count):
        name = f"user{n}"
        if n % 4 == 0:
            json = Json(address, name)
            json.request(Join("lobby"))
            crowd.append(json)
        elif n % 4 == 1:
            text = Text(address, name)
            text.send("/join lobby")
            text.expect("You are in lobby")
            crowd.append(text)
        else:
            line = MqttLine(address, name, version=(V311, V5)[n % 2])
            line.subscribe(f"chat/to/{name}/#", "chat/channels/lobby")
            crowd.append(line)
    return crowd


def _vanish(crowd: list[Json | Text | MqttLine]) -> None:
    for each in crowd:
        each.close()


@pytest.fixture
def no_collections() -> Iterator[None]:
    """Only what refers to itself in a circle waits for a collection."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_connections_that_have_ended_leave_no_garbage(server: Server, no_collections: None) -> None:
    """They were 41 objects each, which stayed until a collection of everything."""
    _vanish(_come(server.address, 8))
    eventually(lambda: not server._door._connections, lambda: f"{server._door._connections}")
    gc.collect()
    crowd = _come(server.address, 40)
    _vanish(crowd)
    del crowd
    eventually(lambda: not server._door._connections, lambda: f"{server._door._connections}")
    eventually(lambda: not _left(), lambda: f"{_left()} are left")


def _left() -> list[str]:
    """Return the types of the objects of connections that are there."""
    kinds = (Connection, Session, Reader, MqttSession, LineSpeaker, User)
    return [type(each).__name__ for each in gc.get_objects() if isinstance(each, kinds)]


def test_memory_is_given_back_when_a_crowd_has_left(start_server: StartServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server = start_server(limits=Limits(connections=1_000))
    released: list[int] = []

    def release(*, collect: bool) -> None:
        assert collect
        released.append(len(server._door._connections))

    monkeypatch.setattr("doors.door.release_free_memory", release)
    few = _come(server.address, 50)
    _vanish(few)
    eventually(lambda: not server._door._connections, lambda: f"{server._door._connections}")
    assert released == [], "a few connections are no crowd"
    _vanish(_come(server.address, CROWD))
    eventually(lambda: not server._door._connections, lambda: f"{server._door._connections}")
    assert 2 <= len(released) <= 6, "once for each half that has left, and once in the end"
    assert released[-1] == 0
    released.clear()
    _vanish(_come(server.address, 50))
    eventually(lambda: not server._door._connections, lambda: f"{server._door._connections}")
    assert released == [], "the crowd is over"


def test_memory_is_given_back_when_many_have_left_in_turn(
    start_server: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start_server()
    released: list[bool] = []
    monkeypatch.setattr("doors.door._ENDED", 10)
    monkeypatch.setattr("doors.door.release_free_memory", lambda *, collect: released.append(collect))
    for _ in range(29):
        _vanish(_come(server.address, 1))
        eventually(lambda: not server._door._connections, lambda: f"{server._door._connections}")
    assert released == [True] * 2


def test_hashes_of_passwords_leave_no_memory(process: Process, connect: Callable[..., Json]) -> None:
    """Each takes 19 MiB; the C library kept that of the last one, or of two."""
    line = connect(process.address, "alice")
    before = memory(process.pid)
    for n in range(4):
        assert isinstance(line.request(Register(password=f"a good password {n}")), Registered)
    assert memory(process.pid) - before < 4 << 20


def test_a_crowd_that_vanishes_leaves_a_server_as_it_was(
    start_process: StartProcess, connect: Callable[..., Json]
) -> None:
    """After 10,000 connections had vanished, 3,000 users were listed a minute later, and memory was five times more."""
    process = start_process()
    _vanish(_come(process.address, CROWD))
    watcher = connect(process.address, "watcher")
    eventually(lambda: watcher.request(Status()).users == 1, lambda: f"{watcher.request(Status()).users} users")
    before = counts(process)
    returns_to(process.pid, before)
    used = memory(process.pid)
    for _ in range(2):
        _vanish(_come(process.address, CROWD))
        eventually(lambda: watcher.request(Status()).users == 1, lambda: f"{watcher.request(Status()).users} users")
        returns_to(process.pid, before)
    eventually(lambda: memory(process.pid) < 1.1 * used, lambda: f"{memory(process.pid)} bytes, {used} before")
