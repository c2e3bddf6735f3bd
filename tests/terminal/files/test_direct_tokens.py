"""The tokens of direct transfers: each is for one user, one file and one connection."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from server import Server
from terminal.files import direct_listener as listener_module
from terminal.files.connection import ConnectionLostError
from terminal.files.direct_listener import DirectListener
from terminal.files.json_connection import JsonFileConnection
from terminal.files.sources import Source
from tests.support.clients import Json, endpoint
from tests.support.files import PHOTO
from wire.frames import (
    Attach,
    Attached,
    Cancel,
    Error,
    Fetched,
    Files,
    Frame,
    Get,
    Have,
    Join,
    Listen,
    More,
    Offer,
    Ok,
    Put,
    Ranges,
    Reach,
    Request,
    Taken,
    Visitor,
    Wanted,
    Way,
)
from wire.jsonlines import JsonLines

Connect = Callable[..., Json]
SHA256 = hashlib.sha256(PHOTO).hexdigest()


def request(line: Json, frame: Request, kind: type[Frame] = Error) -> Any:
    """Return the answer, after a check of its kind."""
    answer = line.request(frame)
    assert isinstance(answer, kind), answer
    return answer


def test_only_a_receiver_gets_a_token(server: Server, connect: Connect) -> None:
    """Only the sender learns the token, and each request gets another one."""
    alice, bob, carol = (connect(server.address, name) for name in ("alice", "bob", "carol"))
    file = alice.request(Offer(name="a", size=3, user="bob")).file
    assert request(bob, Reach(file=file)).code == "not-direct"
    assert request(bob, Listen(file=file, port=7, sha256=SHA256)).code == "not-allowed"
    assert request(carol, Listen(file=file, port=7, sha256=SHA256)).code == "no-such-file"
    assert request(alice, Listen(file=file, port=7)).code == "bad-frame"
    alice.request(Listen(file=file, port=7, sha256=SHA256))
    assert request(carol, Reach(file=file)).code == request(carol, Reach(file="zzzzzzzz")).code == "no-such-file"
    ways = [request(bob, Reach(file=file), Way) for _ in range(2)]
    assert [(way.host, way.port, way.sha256) for way in ways] == [("127.0.0.1", 7, SHA256)] * 2
    seen = [alice.expect(Visitor) for _ in range(2)]
    assert [visitor.token for visitor in seen] == [way.token for way in ways]
    assert {visitor.user for visitor in seen} == {"bob"}
    assert ways[0].token != ways[1].token
    assert request(bob, Taken(file=file, sha256="0" * 64)).code == "incomplete"
    assert request(bob, Taken(file=file)).code == "incomplete"
    request(bob, Have(file=file, watch=True), Ranges)
    assert alice.expect(Wanted).file == file
    assert request(bob, Reach(file=file)).code == "not-direct"
    assert carol.of(Visitor) == bob.of(Visitor) == []


def test_a_disconnected_sender_cannot_be_reached(server: Server, connect: Connect) -> None:
    """Neither can one who was asked for 100 times."""
    alice, bob = connect(server.address, "alice"), connect(server.address, "bob")
    file = alice.request(Offer(name="a", size=3, user="bob")).file
    line = Json(server.address)
    request(line, Attach(name="alice", token=alice.welcome.token), Attached)
    line.request(Listen(file=file, port=7, sha256=SHA256))
    for _ in range(100):
        request(bob, Reach(file=file), Way)
    assert request(bob, Reach(file=file)).code == "not-direct"
    line.request(Listen(file=file, port=8, sha256=SHA256))
    assert request(bob, Reach(file=file), Way).port == 8
    request(bob, Get(file=file, offset=0, length=1), Frame)
    line.expect(Wanted)
    line.request(Listen(file=file, port=9, sha256=SHA256))
    line.close()
    while isinstance(bob.request(Reach(file=file)), Way):
        pass
    alice.request(Put(file=file, offset=0, bytes=3, payload=b"abc"))


@pytest.fixture
def door(photo: Path) -> Iterator[DirectListener]:
    """A DirectListener with one file."""
    source = Source(str(photo))
    info = Ranges(file="abcd2345", name="photo.jpg", size=source.size, sender="alice", sha256=SHA256)
    with DirectListener("127.0.0.1", 0, source, info, lambda _: None) as made:
        yield made


def heard(door: DirectListener, *frames: Frame, raw: bytes = b"") -> bytes:
    """Return all bytes that the listener answers until it hangs up."""
    with socket.create_connection(("127.0.0.1", door.port), 10) as line:
        line.sendall(b"".join(map(JsonLines.encode, frames)) + raw)
        said = b""
        while piece := _received(line):
            said += piece
        return said


def _received(line: socket.socket) -> bytes:
    try:
        return line.recv(1 << 16)
    except ConnectionError:
        return b""


def test_without_a_valid_token_no_byte_is_sent(door: DirectListener, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong, missing, foreign, used and expired tokens, other protocols, and silence."""
    monkeypatch.setattr(listener_module, "_PATIENCE", 0.1)
    door.expect("Bob", "secret")
    assert heard(door, Attach(name="bob", token="secre")) == b""
    assert heard(door, Get(file="abcd2345", offset=0, length=1)) == b""
    assert heard(door, raw=b"GET / HTTP/1.1\r\n\r\n") == b""
    assert heard(door, raw=b"x" * 10_000) == b""
    assert heard(door) == b""
    assert heard(door, Attach(name="carol", token="secret")) == b""
    assert heard(door, Attach(name="bob", token="secret")) == b""
    monkeypatch.setattr(listener_module, "_TOKEN", 0.0)
    door.expect("bob", "old")
    assert heard(door, Attach(name="bob", token="old")) == b""
    assert not door.busy


def test_a_token_is_valid_once_and_for_one_file(door: DirectListener, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request for another file ends the connection. The listener waits for a token that comes late."""
    line = threading.Timer(0.05, door.expect, ("bob", "secret"))
    line.start()
    connection = JsonFileConnection("127.0.0.1", door.port, "Bob", "secret")
    assert b"".join(map(bytes, connection.fetch("abcd2345", 10, 1_000_000))) == PHOTO[10:1_000_000]
    assert connection.sum("abcd2345", 5, 10) == hashlib.sha256(PHOTO[5:15]).hexdigest()
    assert connection.have("abcd2345").sha256 == SHA256
    assert door.busy
    monkeypatch.setattr(listener_module, "_PATIENCE", 0.1)
    with pytest.raises(ConnectionLostError):
        JsonFileConnection("127.0.0.1", door.port, "bob", "secret")
    with pytest.raises(ConnectionLostError):
        connection.sum("other", 0, 1)
    connection.close()
    for wrong in (
        Get(file="abcd2345", offset=len(PHOTO), length=1),
        Put(file="abcd2345", offset=0, bytes=3, payload=b"abc"),
        Files(),
    ):
        door.expect("bob", "again")
        assert heard(door, Attach(name="bob", token="again"), wrong) == JsonLines.encode(Attached(name="alice"))


def test_the_number_of_connections_is_limited(door: DirectListener) -> None:
    """A connection over the limit is closed at once."""
    lines = [socket.create_connection(("127.0.0.1", door.port), 10) for _ in range(listener_module._CONNECTIONS)]
    assert heard(door) == b""
    for line in lines:
        line.close()
    door.close()
    with pytest.raises(ConnectionLostError):
        JsonFileConnection("127.0.0.1", door.port, "bob", "x", within=1.0)


def test_a_listening_sender_learns_that_the_offer_was_cancelled(server: Server, connect: Connect) -> None:
    """Else its connection would wait without end, because another connection cancelled the offer."""
    alice = connect(server.address, "alice")
    file = alice.request(Offer(name="a", size=3, user="bob")).file
    line = connect(server.address)
    line.request(Attach(name="alice", token=alice.welcome.token))
    line.request(Listen(file=file, port=7, sha256=SHA256))
    alice.request(Cancel(file=file))
    assert line.expect(Wanted).file == file
    assert request(line, Put(file=file, offset=0, bytes=3, payload=b"abc")).code == "gone"
    assert alice.of(Wanted) == []


def test_a_receiver_learns_when_the_sender_is_back(server: Server, connect: Connect) -> None:
    """After a restart of the server, which has already stored the receipt."""
    alice, bob = connect(server.address, "alice"), connect(server.address, "bob")
    file = alice.request(Offer(name="a", size=3, user="bob")).file
    server.chat.store.note_fetched(file, "bob")
    assert request(bob, Taken(file=file, sha256=SHA256)).code == "incomplete"
    request(alice, Listen(file=file, port=7, sha256=SHA256), Ok)
    assert bob.expect(More).file == file
    request(bob, Taken(file=file, sha256=SHA256), Ok)
    assert alice.expect(Fetched) == Fetched(file, "a", "bob")
    assert request(bob, Have(file=file)).code == "gone"


@pytest.mark.parametrize(
    "wait", [JsonFileConnection.more, lambda connection: connection.event(1.0)], ids=["more", "event"]
)
def test_a_connection_that_is_closed_before_a_wait_raises_connection_lost(
    server: Server, connect: Connect, wait: Callable[[JsonFileConnection], object]
) -> None:
    """Stopping a transfer closes its connection; that must not look like an error of the disk."""
    alice = connect(server.address, "alice")
    connection = JsonFileConnection(*endpoint(server.address), "alice", alice.welcome.token)
    connection.close()
    with pytest.raises(ConnectionLostError):
        wait(connection)


def test_nothing_goes_directly_to_a_channel(server: Server, connect: Connect) -> None:
    """The first receiver would end it for the others."""
    alice = connect(server.address, "alice")
    alice.request(Join("lab"))
    file = alice.request(Offer(name="a", size=3, channel="lab")).file
    assert request(alice, Listen(file=file, port=7, sha256=SHA256)).code == "not-direct"
    assert request(alice, Reach(file=file)).code == "not-direct"
    request(alice, Listen(file=file, port=0), Ok)


def test_a_direct_transfer_to_oneself_completes(server: Server, connect: Connect) -> None:
    """From one machine to another of the same user."""
    alice = connect(server.address, "alice")
    file = alice.request(Offer(name="a", size=3, user="alice")).file
    alice.request(Listen(file=file, port=7, sha256=SHA256))
    line = connect(server.address)
    line.request(Attach(name="alice", token=alice.welcome.token))
    request(line, Reach(file=file), Way)
    request(line, Taken(file=file, sha256=SHA256), Ok)
    assert alice.expect(Fetched) == Fetched(file, "a", "alice")
    assert request(line, Have(file=file)).code == "gone"
