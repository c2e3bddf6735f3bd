"""A connection with a scripted speaker: what ends it, and in which order its speaker is told."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from channels import Chat
from doors import Speakers, json_speaker, refuse_unknown, text_speaker
from doors.connection import Connection
from net import WritePump
from store import Entries
from tests.support.waiting import DEADLINE, eventually
from wire.errors import PeerError
from wire.limits import Limits


class Speaker:
    """Notes what it is told; `mistake` is raised by its `walk`."""

    done = False
    patience: float | None = None

    def __init__(self) -> None:
        self.told: list[str] = []
        self.received = b""
        self.mistake: Exception | None = None

    def receive(self, data: bytes) -> None:
        self.received += data
        if data == b"wrong":
            raise PeerError("bad-frame", "That is wrong.")

    def input_ended(self) -> None:
        self.told.append("input_ended")

    def overdue(self) -> PeerError:
        return PeerError("too-slow", "That took too long.")

    def fail(self, error: PeerError) -> None:
        self.told.append(f"fail {error.code}")

    def refuse(self, data: bytes, error: PeerError) -> None:
        self.told.append(f"refuse {data!r} {error.code}")

    def dismiss(self) -> None:
        self.told.append("dismiss")

    def close(self) -> None:
        self.told.append("close")

    def note_last_read(self) -> None:
        self.told.append("note_last_read")

    def hang_up(self) -> None:
        self.told.append("hang_up")

    def walk(self, store: Entries, limits: Limits) -> None:
        self.told.append("walk")
        if self.mistake is not None:
            raise self.mistake

    def stop_sending(self) -> None:
        self.told.append("stop_sending")


class Line:
    """A connection, its speaker, and the peer's end of its socket."""

    def __init__(self, pump: WritePump) -> None:
        ours, self.peer = socket.socketpair()
        self.peer.settimeout(DEADLINE)
        self.speaker = Speaker()
        self.ended: list[Connection] = []
        chat = cast("Chat", SimpleNamespace(limits=Limits(), store=None))
        speakers = Speakers({b"!": lambda *_: self.speaker}, text_speaker, refuse_unknown)
        self.connection = Connection(ours, "127.0.0.1:9", chat, pump, speakers, None, self.ended.append)
        self.connection.thread.start()

    def open(self) -> None:
        """Send what chooses the speaker."""
        self.peer.sendall(b"!")
        eventually(lambda: self.speaker.received == b"!", lambda: "nothing was received")

    def closed(self) -> bool:
        """Return True once the connection has ended, which must be soon."""
        self.connection.thread.join(DEADLINE)
        return self.peer.recv(1) == b"" and self.ended == [self.connection]


@pytest.fixture
def line() -> Iterator[Line]:
    """A connection whose thread ends with the test."""
    pump = WritePump()
    made = Line(pump)
    yield made
    made.peer.close()
    made.connection.thread.join(DEADLINE)
    pump.close()


def test_a_walk_that_fails_ends_the_connection(line: Line) -> None:
    """The peer would miss entries without knowing it; when it comes back, it gets them."""
    line.open()
    line.speaker.mistake = ZeroDivisionError("a mistake")
    line.connection.resume_writing()
    assert line.closed()
    assert line.speaker.told[0] == "walk"
    assert {"stop_sending", "close", "note_last_read"} < set(
        line.speaker.told
    )  # by this thread, and by the connection's


def test_a_walk_that_does_not_fail_leaves_it_open(line: Line) -> None:
    line.open()
    line.connection.resume_writing()
    line.peer.sendall(b"more")
    eventually(lambda: line.speaker.received == b"!more", lambda: "it is closed")
    assert line.speaker.told == ["walk"]


def test_the_peer_s_mistake_is_told_and_ends_the_connection(line: Line) -> None:
    line.open()
    line.peer.sendall(b"wrong")
    line.peer.shutdown(socket.SHUT_WR)
    assert line.closed()
    assert line.speaker.told == ["fail bad-frame", "close", "note_last_read"]


def test_the_peer_s_end_is_the_end(line: Line) -> None:
    line.open()
    line.peer.shutdown(socket.SHUT_WR)
    assert line.closed()
    assert line.speaker.told == ["input_ended", "close", "note_last_read"]


def test_the_peer_is_told_that_the_server_goes_down(line: Line) -> None:
    line.open()
    hang_up: Any = line.speaker.hang_up

    def and_shut() -> None:
        hang_up()
        line.connection.hang_up()

    line.speaker.hang_up = and_shut  # type: ignore[method-assign]
    line.connection.retire()
    line.peer.shutdown(socket.SHUT_WR)
    assert line.closed()
    assert line.speaker.told == ["hang_up", "dismiss", "close", "note_last_read"]


@pytest.mark.parametrize(
    ("first", "chosen"), [(b"{", json_speaker), (b"\r\n {}", json_speaker), (b"x{", text_speaker), (b"", text_speaker)]
)
def test_the_first_byte_chooses_the_speaker(first: bytes, chosen: object) -> None:
    """White space before it does not count. Any other byte, or none, chooses the fallback."""
    assert Speakers({b"{": json_speaker}, text_speaker, refuse_unknown).choose(first) is chosen
