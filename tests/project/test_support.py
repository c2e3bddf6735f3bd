"""The helpers themselves: each fixture and client once, over a real connection."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from channels.locks import leaf
from server import Server
from tests.support.clients import Json, Text
from tests.support.processes import Process
from tests.support.stores import WatchedStore
from tests.support.strategies import pieces
from wire.frames import Entry, Join, Joined, Ping, Pong, Say, Stored


def test_both_dialects_meet_in_one_channel(
    server: Server, connect: Callable[..., Json], dial: Callable[..., Text]
) -> None:
    """A program and a person see each other's posts."""
    program = connect(server.address, "robot")
    assert isinstance(program.request(Join("lab")), Joined)
    person = dial(server.address, "Ann")
    person.send("/join lab", "hello")
    assert program.expect(Entry, lambda entry: entry.sender == "Ann").text == "hello"
    assert program.request(Say("beep", id="1")) == Stored(number=2, channel="lab", id="1", ref=3)
    assert person.expect("beep") == "[lab] robot: beep"
    person.send("exit")
    assert person.until_closed().endswith("Goodbye.\n")


def test_a_killed_server_comes_back_with_its_data(process: Process, connect: Callable[..., Json]) -> None:
    """The process fixture kills and restarts on the same folder and port."""
    address = process.address
    first = connect(address, "ann")
    first.request(Join("lab"))
    assert isinstance(first.request(Say("kept")), Stored)
    assert first.expect(Entry).text == "kept"
    process.restart()
    assert process.address == address
    assert first.until_closed() == []
    assert connect(address, "ann", since={"lab": 0}).expect(Entry).text == "kept"
    assert process.stop() == 0, process.log


def test_a_payload_comes_back(server: Server, connect: Callable[..., Json]) -> None:
    """Payload frames pass in both directions."""
    answer = connect(server.address, "alice").request(Ping(payload=b"\n{}\0" * 5))
    assert isinstance(answer, Pong)
    assert answer.payload == b"\n{}\0" * 5


def test_a_store_call_under_a_lock_fails(server: Server, stores: list[WatchedStore]) -> None:
    """The watch notices what it is there for."""
    assert stores[0].channels() == []
    with leaf(), pytest.raises(AssertionError, match="call the store's channels while holding a lock"):
        stores[0].channels()


def test_pieces_are_the_whole() -> None:
    """Cuts lose nothing."""
    assert pieces(b"abcdef", [2, 4, 4]) == [b"ab", b"cd", b"ef"]
    assert b"".join(pieces(b"abcdef", [7, 9, -3])) == b"abcdef"
