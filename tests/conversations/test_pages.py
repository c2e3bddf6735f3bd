"""Lists come in pages, which are bounded in entries and in bytes, over every door, and cost only what they show."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from channels import User
from server import Config, Server
from store import NewPosts, open_store
from tests.support.clients import Bulk, Json, Text
from tests.support.fixtures import StartProcess, StartServer
from tests.support.mqtt import MqttLine
from tests.support.processes import memory, peak_memory
from tests.support.stores import WatchedStore
from tests.support.stores.filled import LONG, fill
from tests.support.waiting import eventually
from wire.frames import ChannelList, Channels, History, Join, Leave, Msg, Page, Say, Topic, Who
from wire.jsonlines import JsonLines
from wire.limits import Limits
from wire.mqtt import NONE, V5, Properties
from wire.names import fold

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


@pytest.mark.parametrize("channel", ["", "lab"])
def test_users_come_page_by_page(
    start_server: StartServer, connect: Connect, mqtt: Callable[..., MqttLine], channel: str
) -> None:
    server = start_server(limits=Limits(page=4, page_bytes=100))
    names = [f"user{n}" for n in range(9)]
    clients = [connect(server.address, name) for name in names]
    for client in clients:
        client.request(Join("lab"))
    clients[4].close()
    away = {"user4"}
    eventually(lambda: server.chat.directory.find("user4") is None, lambda: "user4 is connected")
    found: list[str] = []
    sizes: list[int] = []
    page = clients[0].request(Who(channel, limit=3))
    while True:
        found += [member.name for member in page.members]
        sizes.append(len(page.members))
        if page.more is None:
            break
        page = clients[0].request(Who(channel, page.more, 3))
    assert found == [name for name in names if channel or name not in away]
    assert sizes == ([3, 3, 3] if channel else [3, 3, 2])
    whole = clients[0].request(Who(channel))
    assert len(whole.members) == 3, "31 bytes each"
    oven = mqtt(server.address, "oven")
    oven.subscribe("chat/to/oven/#")
    topic = f"who/{channel}" if channel else "who"
    rest = oven.ask(topic, '{"after": "user6", "limit": 9}')
    assert [member["name"] for member in rest["members"]] == ["user7", "user8"]


def test_a_page_of_users_costs_what_it_shows(server: Server, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each `who` sorted all users who were connected."""
    clients = [connect(server.address, f"user{n}") for n in range(20)]
    looked_at: list[str] = []

    def key(user: User) -> str:
        looked_at.append(user.name)
        return fold(user.name)

    monkeypatch.setattr(User, "key", property(key))
    page = clients[0].request(Who("", "user13", 3))
    monkeypatch.undo()
    assert [member.name for member in page.members] == ["user14", "user15", "user16"]
    assert len(looked_at) < 10, looked_at


def test_a_person_is_told_of_further_users(start_server: StartServer, dial: Callable[..., Text]) -> None:
    server = start_server(limits=Limits(page=2))
    people = [dial(server.address, name) for name in ("ann", "bob", "carol")]
    for person in people:
        person.send("/join lab")
        person.expect("You are in lab")
    people[0].send("/who")
    assert people[0].expect("There are more") == "* There are more: /who * bob"
    people[0].send("/who * bob")
    assert people[0].expect("* Online") == "* Online: carol"
    people[0].send("/who lab")
    assert people[0].expect("There are more") == "* There are more: /who lab bob"
    people[0].send("/who lab bob")
    assert people[0].expect("* In lab") == "* In lab: carol"


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


# History


def test_a_page_of_history_is_bounded_in_bytes(server: Server, connect: Connect) -> None:
    """60 bytes asked for 98 MB: a page was bounded in entries only."""
    fill(server, 100)
    size = server.chat.limits.page_bytes
    alice = connect(server.address, "alice", limits=Limits(line=1 << 30))
    last = alice.request(History(channel="lab", limit=1_000))
    assert [entry.number for entry in last.entries] == [99, 100]
    assert len(JsonLines.encode(last)) < size + 1_000
    assert last.more == 99
    before = alice.request(History(channel="lab", limit=1_000, before=last.more))
    assert ([entry.number for entry in before.entries], before.more) == ([97, 98], 97)
    after = alice.request(History(channel="lab", limit=1_000, after=50))
    assert ([entry.number for entry in after.entries], after.more) == ([51, 52], 52)
    few = alice.request(History(channel="lab", limit=2, after=50))
    assert ([entry.number for entry in few.entries], few.more) == ([51, 52], None), "no limit made it shorter"


@pytest.mark.parametrize("step", ["after", "before"])
def test_all_of_a_log_is_read_by_following_more(start_server: StartServer, connect: Connect, step: str) -> None:
    server = start_server(limits=Limits(page=20, page_bytes=3_000))
    fill(server, 60, "x" * 500)
    alice = connect(server.address, "alice")
    numbers: list[int] = []
    page = alice.request(History(channel="lab", limit=1_000, after=0 if step == "after" else None))
    while page.entries:
        found = [entry.number for entry in page.entries]
        numbers = [*numbers, *found] if step == "after" else [*found, *numbers]
        edge = found[-1] if step == "after" else found[0]
        assert page.more in (edge, None)
        page = alice.request(
            History(channel="lab", limit=1_000, after=edge)
            if step == "after"
            else History(channel="lab", limit=1_000, before=edge)
        )
    assert numbers == list(range(1, 61))


def test_an_entry_over_the_limit_comes_alone(start_server: StartServer, connect: Connect) -> None:
    server = start_server(limits=Limits(page_bytes=1_000))
    fill(server, 3, "x" * 5_000)
    alice = connect(server.address, "alice")
    page = alice.request(History(channel="lab", after=1))
    assert ([entry.number for entry in page.entries], page.more) == ([2], 2)


def test_a_person_is_told_that_no_more_fit(server: Server, dial: Callable[..., Text]) -> None:
    fill(server, 100, "x" * 16_000)
    nick = dial(server.address, "nick")
    nick.send("/history lab 100")
    line = nick.expect("of 100 in lab")
    assert line == "* 85 to 100 of 100 in lab (no more fit into one answer); older: /history lab 16 85"


def test_a_device_gets_as_much_history_as_its_packets_hold(
    server: Server, mqtt: Callable[..., MqttLine], version: int
) -> None:
    fill(server, 100, "x" * 1_000)
    properties = Properties(maximum_packet_size=8_000) if version == V5 else NONE
    oven = mqtt(server.address, "oven", version=version, properties=properties)
    oven.subscribe("chat/to/oven/#")
    page = oven.ask("history/lab", '{"limit": 50}')
    assert len(page["entries"]) == (6 if version == V5 else 50)
    assert page.get("more") == (95 if version == V5 else None)


def test_guests_who_do_not_read_their_history_take_little_memory(tmp_path: Path, start_process: StartProcess) -> None:
    """Four of them took 528 MB."""
    store = open_store(tmp_path / "full")
    posts = [Say(LONG, "lab") for _ in range(300)]
    store.append([NewPosts(store.open_channel("lab"), "filler", "filler", posts)], 1)
    store.close()
    process = start_process(folder=tmp_path / "full")
    with Bulk(process.address, "first"):
        before = memory(process.pid)
    guests = [Bulk(process.address, f"guest{n}") for n in range(4)]
    for guest in guests:
        guest.send(*[History(channel="lab", limit=1_000) for _ in range(50)])
    with Bulk(process.address, "last") as last:
        last.send(History(channel="lab", limit=1_000, ref=1))
        while not any(isinstance(frame, Page) for frame in last.take()):
            pass
    grown = peak_memory(process.pid) - before
    for guest in guests:
        guest.close()
    assert grown < 32 << 20, f"{grown >> 20} MiB"
