"""Messages whose bytes on the disk have changed: they are left out with a notice, and everything else arrives."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from store.sqlite import FILE
from tests.support.clients import Json, Text
from tests.support.fixtures import StartServer
from tests.support.mqtt import MqttLine
from wire.frames import Entry, Gap, History, Join, Page, Say
from wire.mqtt import V5, V311, Properties, Publish

COUNT = 12


def damage(folder: Path, *numbers: int) -> None:
    """Change a letter of these messages in the database file."""
    with sqlite3.connect(folder / FILE) as db:
        for number in numbers:
            done = db.execute("UPDATE runs SET body = replace(body, 'message', 'massage') WHERE last = ?", (number,))
            assert done.rowcount == 1
    db.close()


@pytest.fixture
def start_damaged(start_server: StartServer, connect: Callable[..., Json], tmp_path: Path) -> Callable[..., str]:
    """Start a server on a store in which messages of `lab` are damaged; `before` is called ahead of the messages."""

    def start(*numbers: int, before: Callable[[str], None] = lambda _: None) -> str:
        first = start_server()
        alice = connect(first.address, "alice")
        alice.request(Join("lab"))
        before(first.address)
        for number in range(1, COUNT + 1):
            alice.request(Say(f"message {number}", "lab"))
        alice.close()
        first.close()
        damage(tmp_path / "data", *numbers)
        return start_server().address

    return start


@pytest.mark.parametrize("numbers", [(5,), (1,), (12,), (1, 2, 6, 7, 9, 12), tuple(range(1, 13))])
def test_a_reader_gets_a_gap_in_their_place(
    start_damaged: Callable[..., str], connect: Callable[..., Json], numbers: tuple[int, ...]
) -> None:
    """Each number once and in order, as an entry or in a gap; then what is new."""
    address = start_damaged(*numbers)
    alice = connect(address, "alice", since={"lab": 0})
    alice.request(Say("new", "lab"))
    alice.expect(Entry, lambda entry: entry.text == "new")
    seen: list[int] = []
    for frame in alice.received:
        if isinstance(frame, Gap):
            seen += range(frame.first, frame.last + 1)
            assert set(range(frame.first, frame.last + 1)) <= set(numbers)
        elif isinstance(frame, Entry):
            seen.append(frame.number)
            assert frame.text == ("new" if frame.number > COUNT else f"message {frame.number}")
            assert frame.number not in numbers
    assert seen == list(range(1, COUNT + 2))


def test_history_leaves_them_out(
    start_damaged: Callable[..., str], connect: Callable[..., Json], dial: Callable[..., Text]
) -> None:
    """With a line for a person, and an error for a page of which nothing is left; `before` stays a bound."""
    address = start_damaged(5, 6, 9)
    alice = connect(address, "alice")

    def numbers(**fields: Any) -> list[int]:
        page = alice.request(History(channel="lab", **fields))
        assert isinstance(page, Page)
        return [entry.number for entry in page.entries]

    assert numbers() == [1, 2, 3, 4, 7, 8, 10, 11, 12]
    assert numbers(before=10, limit=3) == [7, 8]
    assert numbers(after=4, limit=2) == [7, 8]
    refused = alice.request(History(channel="lab", before=7, limit=2))
    assert (refused.code, "Messages 5 to 6 are damaged" in refused.error) == ("damaged", True)
    bob = dial(address, "bob")
    bob.send("/join lab")
    bob.send("/history lab")
    bob.expect("* 5 to 6 are damaged on the server's disk")
    bob.expect("message 7")
    bob.expect("* 9 to 9 are damaged on the server's disk")
    bob.expect("message 12")


@pytest.mark.parametrize("version", [V311, V5])
@pytest.mark.parametrize("numbers", [(5,), (1,), (12,), (1, 2, 6, 7, 9, 12), tuple(range(1, 13))])
def test_an_mqtt_client_that_returns_gets_the_rest(
    start_damaged: Callable[..., str], mqtt: Callable[..., MqttLine], version: int, numbers: tuple[int, ...]
) -> None:
    """At QoS 1, from its kept session."""
    kept = {"clean": False, "properties": Properties(session_expiry_interval=600 if version == V5 else None)}

    def subscribe(address: str) -> None:
        oven = mqtt(address, "oven", version=version, **kept)
        oven.subscribe("chat/channels/lab", "chat/to/oven/#")
        oven.close()

    address = start_damaged(*numbers, before=subscribe)
    oven = mqtt(address, "oven", version=version, **kept)
    assert oven.connack.session_present
    oven.publish("chat/from/oven/say/lab", b"new", qos=1)
    oven.expect(Publish, lambda packet: b'"new"' in packet.payload)
    entries = [
        json.loads(packet.payload)
        for packet in oven.received
        if isinstance(packet, Publish) and packet.topic == "chat/channels/lab"
    ]
    expected = [number for number in range(1, COUNT + 2) if number not in numbers]
    assert [entry["number"] for entry in entries] == expected
    assert all(entry["text"] == f"message {entry['number']}" for entry in entries[:-1])
