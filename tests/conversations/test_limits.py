"""Limits and leaving under load, as a peer meets them: the server says so, and loses nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from channels import Chat
from channels.log import Log
from server import Config, Server
from tests.conversations.doors import every_line_door
from tests.support.clients import Json, Text
from tests.support.fixtures import Enter, StartServer
from tests.support.talkers import Refusal
from tests.support.waiting import DEADLINE, eventually
from wire.frames import (
    Closing,
    Entry,
    Error,
    FilePart,
    Have,
    History,
    Join,
    Leave,
    Msg,
    Offer,
    Page,
    Ping,
    Presence,
    Ranges,
    Say,
    Slowed,
    Stored,
    Topic,
)
from wire.limits import Limits

Connect = Callable[..., Json]


def test_above_the_pace_posts_wait_and_none_is_lost(start_server: StartServer, connect: Connect) -> None:
    server = start_server(limits=Limits(posts_per_second=40))
    alice, bob = connect(server.address, "alice"), connect(server.address, "bob")
    for client in (alice, bob):
        client.request(Join("lab"))
    start = time.monotonic()
    alice.send(*[Say(f"{n}", "lab", ref=f"r{n}") for n in range(100)])
    alice.expect(Stored, lambda frame: frame.ref == "r99")
    took = time.monotonic() - start
    assert took >= 1.4, f"100 posts, 40 of them at once, 40 a second: {took}"
    assert alice.of(Slowed) == [Slowed(rate=40)], "told once"
    bob.expect(Entry, lambda entry: entry.number == 100)
    assert [entry.text for entry in bob.of(Entry)] == [f"{n}" for n in range(100)]
    assert bob.request(Say("others are not slowed", "lab")).number == 101


def test_the_pace_holds_for_private_messages_and_people(
    start_server: StartServer, connect: Connect, dial: Callable[..., Text]
) -> None:
    server = start_server(limits=Limits(posts_per_second=19, posts_burst=19))
    bob = connect(server.address, "bob")
    alice = dial(server.address, "alice")
    start = time.monotonic()
    alice.send(*[f"/msg bob {n}" for n in range(40)])
    bob.expect(Entry, lambda entry: entry.text == "39")
    assert time.monotonic() - start >= 0.9
    assert [entry.text for entry in bob.of(Entry)] == [f"{n}" for n in range(40)]
    alice.expect("faster than 19 lines a second")


def test_a_paced_flood_does_not_hold_up_the_end(tmp_path: Path, connect: Connect) -> None:
    server = Server(Config(port=0, data=str(tmp_path / "data"), limits=Limits(posts_per_second=1, posts_burst=1)))
    alice = connect(server.address, "alice")
    alice.request(Join("lab"))
    alice.send(*[Say(f"{n}", "lab") for n in range(200)])
    alice.expect(Slowed)
    start = time.monotonic()
    server.close()
    assert time.monotonic() - start < DEADLINE / 2
    assert isinstance(alice.until_closed()[-1], Closing)


def test_pages_of_history_wait_and_none_is_lost(start_server: StartServer, connect: Connect) -> None:
    server = start_server(limits=Limits(pages_per_second=19, pages_burst=10))
    alice = connect(server.address, "alice")
    alice.request(Join("lab"))
    start = time.monotonic()
    alice.send(*[History(channel="lab", ref=f"{n}") for n in range(30)])
    alice.expect(Page, lambda page: page.ref == "29")
    assert time.monotonic() - start >= 0.9, "30 pages, 10 of them at once, 19 a second"
    assert [page.ref for page in alice.of(Page)] == [f"{n}" for n in range(30)]


def test_lists_of_the_files_in_a_folder_wait_and_none_is_lost(start_server: StartServer, connect: Connect) -> None:
    server = start_server(limits=Limits(pages_per_second=19, pages_burst=10))
    alice = connect(server.address, "alice")
    alice.request(Join("lab"))
    folder = alice.request(Offer(name="results", size=1, channel="lab", parts=[FilePart("a.txt", 1)])).file
    start = time.monotonic()
    alice.send(*[Have(file=folder, ref=f"{n}") for n in range(30)])
    alice.expect(Ranges, lambda answer: answer.ref == "29")
    assert time.monotonic() - start >= 0.9, "30 lists, 10 of them at once, 19 a second"


def test_ranges_of_a_single_file_are_no_list(start_server: StartServer, connect: Connect) -> None:
    server = start_server(limits=Limits(pages_per_second=1, pages_burst=1))
    alice = connect(server.address, "alice")
    alice.request(Join("lab"))
    file = alice.request(Offer(name="a.txt", size=1, channel="lab")).file
    start = time.monotonic()
    alice.send(*[Have(file=file, ref=f"{n}") for n in range(30)])
    alice.expect(Ranges, lambda answer: answer.ref == "29")
    assert time.monotonic() - start < 15, "30 lists would take 29 seconds"


def test_who_asks_and_vanishes_is_not_answered(
    server: Server, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server does no work for answers that nobody can get. What the peer has said counts."""
    asked: list[History] = []
    gone = threading.Event()
    history = Chat.history

    def counted(chat: Chat, log: Log, wanted: History, size: int) -> Page:
        asked.append(wanted)
        assert gone.wait(DEADLINE)
        return history(chat, log, wanted, size)

    monkeypatch.setattr(Chat, "history", counted)
    alice = connect(server.address, "alice")
    alice.request(Join("lab"))
    alice.send(*[History(channel="lab")] * 100, Say("the last word", "lab"))
    alice.close()
    gone.set()
    eventually(lambda: not server.chat.directory.is_there("alice"), lambda: f"alice is there; {len(asked)} pages")
    assert server.chat.known_channel("lab").tail == 1
    assert len(asked) < 100


@pytest.mark.parametrize("speaks_first", [True, False])
def test_one_address_has_so_many_connections(start_server: StartServer, connect: Connect, speaks_first: bool) -> None:
    server = start_server(limits=Limits(connections_per_address=3))
    clients = [connect(server.address, f"c{n}") for n in range(3)]
    for _ in range(10):
        refused = connect(server.address)
        if speaks_first:
            refused.send_bytes(b'{"op":"hello","name":"late","ref":1}\n')
        answer = refused.expect(Closing)
        assert answer.code == "address-full"
        refused.close()
    for client in clients[:2]:
        client.request(Join("lab"))
    clients[0].close()
    clients[1].expect(Presence, lambda frame: frame.what == "offline")
    _eventually_enters(connect, server, "late")


def test_the_server_has_so_many_connections(
    start_server: StartServer, connect: Connect, dial: Callable[..., Text]
) -> None:
    server = start_server(limits=Limits(connections=2))
    one, _two = connect(server.address, "one"), dial(server.address, "two")
    for _ in range(10):
        assert connect(server.address).expect(Closing).code == "server-full"
        assert "The server is full; try again later." in dial(server.address).until_closed()
    assert one.request(Ping()) is not None
    one.close()
    _eventually_enters(connect, server, "late")


def _eventually_enters(connect: Connect, server: Server, name: str) -> None:
    """A place that was given up is free as soon as the connection's thread has ended, which the peer cannot see."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        try:
            connect(server.address, name)
        except (AssertionError, ConnectionError):
            continue
        return
    raise AssertionError("the place of a connection that has ended is not given to another")


@every_line_door
def test_one_user_is_in_so_many_channels(start_server: StartServer, door: str, enter: Enter) -> None:
    server = start_server(limits=Limits(channels=3))
    alice = enter(server.address, door, "alice")
    for n in range(3):
        alice.join(f"room{n}")
    with pytest.raises(Refusal, match="You are in 3 channels"):
        alice.join("room3")
    alice.leave("room0")
    alice.join("room3")
    assert sorted(name for name, listed in alice.channels().items() if listed.joined) == ["room1", "room2", "room3"]


@every_line_door
def test_a_topic_has_so_many_characters(start_server: StartServer, door: str, enter: Enter) -> None:
    server = start_server()
    alice = enter(server.address, door, "alice")
    alice.join("lab")
    assert alice.topic("lab", "ä" * 300) == "ä" * 300
    with pytest.raises(Refusal, match="A topic has at most 300 characters, and this one has 301"):
        alice.topic("lab", "a" * 301)
    assert alice.topic("lab") == "ä" * 300


def test_private_conversations_do_not_count_as_channels(start_server: StartServer, connect: Connect) -> None:
    server = start_server(limits=Limits(channels=3))
    alice = connect(server.address, "alice")
    for n in range(5):
        assert isinstance(alice.request(Msg(f"user{n}", "hello")), Stored)
    assert not isinstance(alice.request(Join("lab")), Error)


@every_line_door
def test_after_leaving_under_load_nothing_of_it_arrives(server: Server, door: str, enter: Enter) -> None:
    """Others post, set the topic, come and go, while one joins and leaves again and again."""
    stop = threading.Event()
    failed: list[BaseException] = []
    posted = [0] * 3

    def flood(at: int) -> None:
        try:
            with Json(server.address, f"flood{at}") as client:
                while not stop.is_set():
                    client.request(Join("lab"))
                    client.send(*[Say(f"noise {at}", "lab") for _ in range(20)])
                    client.request(Topic("lab", f"topic {posted[at]}"))
                    client.request(Leave("lab"))
                    client.received.clear()
                    client.inbox.clear()
                    posted[at] += 1
        except BaseException as error:
            failed.append(error)

    floods = [threading.Thread(target=flood, args=(at,), name=f"flood-{at}") for at in range(3)]
    alice, bob = enter(server.address, door, "alice"), enter(server.address, "json", "bob")
    for talker in (alice, bob):
        talker.join("hall")
    for thread in floods:
        thread.start()
    try:
        for turn in range(25):
            alice.join("lab")
            alice.leave("lab")
            start = len(alice.everything())
            before = list(posted)
            while any(now < then + 2 for now, then in zip(posted, before, strict=True)) and not failed:
                alice.sync()
            bob.say(f"turn {turn}")
            alice.wait_for("hall", f"turn {turn}")
            late = [line for line in alice.everything()[start:].splitlines() if "lab" in line]
            assert not late, late[:5]
    finally:
        stop.set()
        for thread in floods:
            thread.join(DEADLINE)
    assert not failed, failed
