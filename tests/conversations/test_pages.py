"""Lists come in pages, which are bounded in entries and in bytes, over every door, and cost only what they show."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from server import Config, Server
from tests.support.clients import Json, Text
from tests.support.fixtures import StartServer
from tests.support.mqtt import MqttLine
from tests.support.stores import WatchedStore
from wire.frames import ChannelList, Channels, Join, Leave, Msg, Topic
from wire.limits import Limits

Connect = Callable[..., Json]


def _make(client: Json, count: int) -> list[str]:
    names = [f"room{n:03}" for n in range(count)]
    for name in names:
        client.request(Join(name))
    return names


def _all_pages(client: Json, **asked: Any) -> list[ChannelList]:
    pages: list[ChannelList] = [client.request(Channels(**asked))]
    while pages[-1].more:
        pages.append(client.request(Channels(after=pages[-1].more, **asked)))
    return pages


def test_a_program_reads_the_channels_page_by_page(server: Server, connect: Connect) -> None:
    alice = connect(server.address, "alice")
    names = _make(alice, 25)
    pages = _all_pages(alice, limit=10)
    assert [len(page.channels) for page in pages] == [10, 10, 5]
    assert [info.name for page in pages for info in page.channels] == names
    assert {page.total for page in pages} == {25}
    assert [page.more for page in pages] == ["room009", "room019", None]
    whole = alice.request(Channels())
    assert ([info.name for info in whole.channels], whole.more) == (names, None)


def test_a_page_of_channels_has_as_many_entries_and_bytes_as_the_limits_say(
    start_server: StartServer, connect: Connect
) -> None:
    server = start_server(limits=Limits(page=7, page_bytes=2_000))
    alice = connect(server.address, "alice")
    names = _make(alice, 20)
    assert [len(page.channels) for page in _all_pages(alice)] == [7, 7, 6]
    for name in names:
        alice.request(Topic(name, "\t x" * 100))
        alice.request(Topic(name, "é" * 300))
    pages = _all_pages(alice)
    assert [len(page.channels) for page in pages] == [3] * 6 + [2], "300 characters of two bytes each"
    assert [info.name for page in pages for info in page.channels] == names


def test_a_person_is_told_how_to_go_on(server: Server, connect: Connect, dial: Callable[..., Text]) -> None:
    _make(connect(server.address, "alice"), 150)
    nick = dial(server.address, "nick")
    nick.send("/channels")
    assert nick.expect("more:") == "* 100 of 150 channels; more: /channels room099"
    nick.send("/channels room099")
    nick.expect("* room100 ")
    nick.expect("* room149 ")
    nick.send("/channels room149")
    nick.expect("* No further channels.")


def test_a_device_reads_the_channels_page_by_page(
    server: Server, connect: Connect, mqtt: Callable[..., MqttLine], version: int
) -> None:
    _make(connect(server.address, "alice"), 5)
    oven = mqtt(server.address, "oven", version=version)
    oven.subscribe("chat/to/oven/#")
    first = oven.ask("channels", '{"limit": 3}')
    assert [info["name"] for info in first["channels"]] == ["room000", "room001", "room002"]
    assert (first["total"], first["more"]) == (5, "room002")
    rest = oven.ask("channels", '{"after": "room002"}')
    assert [info["name"] for info in rest["channels"]] == ["room003", "room004"]
    assert "more" not in rest
    assert len(oven.ask("channels")["channels"]) == 5


def test_a_list_of_channels_asks_the_store_nothing(
    server: Server, stores: list[WatchedStore], connect: Connect
) -> None:
    """It counted all memberships, also those of private talks."""
    alice = connect(server.address, "alice")
    _make(alice, 3)
    for n in range(5):
        alice.request(Msg(f"user{n}", "hello"))
    calls: list[str] = []
    stores[0].before = calls.append
    assert len(alice.request(Channels()).channels) == 3
    assert calls == []


def test_members_are_counted_where_they_change(tmp_path: Path, start_server: StartServer, connect: Connect) -> None:
    server = Server(Config(port=0, mqtt_port=0, data=str(tmp_path / "data")))
    try:
        alice, bob, carol = (connect(server.address, name) for name in ("alice", "bob", "carol"))
        assert [client.request(Join("lab")).members for client in (alice, bob, carol, carol)] == [1, 2, 3, 3]
        bob.request(Leave("lab"))
        alice.request(Join("hall"))
        carol.close()
        assert _counts(alice) == {"hall": 1, "lab": 2}
    finally:
        server.close()
    server = start_server()
    assert _counts(connect(server.address, "alice")) == {"hall": 1, "lab": 2}
    assert connect(server.address, "dave").request(Join("lab")).members == 3


def _counts(client: Json) -> dict[str, int]:
    return {info.name: info.members for info in client.request(Channels()).channels}
