"""The window of an upload: both kinds of file connection have a limited number of unanswered chunks."""

from __future__ import annotations

import socket
from collections import deque

import pytest

from terminal.files import json_connection as json_module
from terminal.files import mqtt_connection as mqtt_module
from terminal.files.connection import FileConnection
from terminal.files.json_connection import JsonFileConnection
from terminal.files.mqtt_connection import MqttFileConnections
from terminal.links.endpoint import Endpoint
from terminal.links.link import Connected, Deliver, Disconnected, Event, Link, Received
from tests.support.waiting import DEADLINE
from wire.frames import Attached, Frame, Kept, More, Ok, Put
from wire.jsonlines import JsonLines

_PUTS = 20


def upload(connection: FileConnection) -> None:
    """Put more chunks than a window has."""
    for at in range(_PUTS):
        connection.put("abcd2345", at, b"x")
    connection.settle()


def kept(ref: int | str | None) -> Kept:
    """Return the answer to a chunk."""
    return Kept(file="abcd2345", offset=0, length=1, ref=ref)


def test_an_upload_over_tcp_waits_for_answers_before_it_exceeds_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server answers `attach`, and then one chunk each time that the upload waits."""
    peers, unanswered = list[socket.socket](), list[int]()
    receive = JsonFileConnection._receive

    def answer_one(connection: JsonFileConnection) -> Frame | None:
        refs = sorted(ref for ref in connection._due if isinstance(ref, int))
        if not peers:
            peers.append(listener.accept()[0])
            peers[0].sendall(JsonLines.encode(Attached(name="alice", ref=refs[0])))
        else:
            unanswered.append(len(refs))
            peers[0].sendall(JsonLines.encode(kept(refs[0])))
        return receive(connection)

    monkeypatch.setattr(JsonFileConnection, "_receive", answer_one)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connection = JsonFileConnection("127.0.0.1", listener.getsockname()[1], "alice", "token")
        upload(connection)
        connection.close()
        peers[0].close()
    assert len(unanswered) == _PUTS
    assert max(unanswered) == json_module._PUTS == 8


HERE = Endpoint("here", 1883)


class _FakeLink(Link):
    """A link without a server: it keeps what is sent; `receive` delivers frames."""

    def __init__(self, deliver: Deliver) -> None:
        super().__init__([HERE], deliver)
        self.sent: deque[Frame] = deque()

    def send(self, frames: object) -> None:
        assert isinstance(frames, list)
        self.sent += frames

    def receive(self, event: Event) -> None:
        """Deliver an event."""
        self._deliver(event)

    def _dial(self, endpoint: Endpoint) -> tuple[bool, Disconnected]:
        raise AssertionError


class _Answering:
    """In the place of a queue of received frames: each wait has the server answer one chunk."""

    def __init__(self, link: _FakeLink) -> None:
        self._link = link
        self.unanswered: list[int] = []

    def get(self, timeout: float) -> Frame:
        """Answer the oldest chunk."""
        assert timeout > 0
        self.unanswered.append(len(self._link.sent))
        put = self._link.sent.popleft()
        assert isinstance(put, Put)
        return kept(put.ref)


def test_an_upload_over_mqtt_waits_for_answers_before_it_exceeds_the_window() -> None:
    connections, links = MqttFileConnections(), list[_FakeLink]()

    def make(deliver: Deliver) -> Link:
        links.append(_FakeLink(deliver))
        return links[0]

    connections.make_link(make, lambda _: None)
    connection = connections.open("alice", "token")
    answering = _Answering(links[0])
    connection.came = answering  # type: ignore[assignment]
    upload(connection)
    links[0].stop()
    assert len(answering.unanswered) == _PUTS
    assert max(answering.unanswered) == mqtt_module._WINDOW == 8


def test_the_frames_of_file_connections_are_not_delivered_to_the_session() -> None:
    """An event with nothing else is not delivered at all. The loss of the connection is delivered first."""
    connections, links, events = MqttFileConnections(), list[_FakeLink](), list[Event]()

    def make(deliver: Deliver) -> Link:
        links.append(_FakeLink(deliver))
        return links[0]

    connections.make_link(make, events.append)
    connection = connections.open("alice", "token")
    more, ours, other = More(file="abcd2345"), kept("file 1 1"), Ok(ref=1)
    for event in (Connected(HERE), Received([more]), Received([ours, other]), Disconnected("cut")):
        links[0].receive(event)
    links[0].stop()
    assert events == [Connected(HERE), Received([other]), Disconnected("cut")]
    assert [connection.came.get(timeout=DEADLINE) for _ in range(3)] == [more, ours, None]
