"""Questions have the same answers in every dialect: who, whois, channels, history, help."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from server import Server
from tests.conversations.doors import every_door, every_line_door, every_line_pair, every_pair
from tests.support.clients import Json, Text
from tests.support.fixtures import Meet
from tests.support.talkers import Refusal
from tests.support.waiting import eventually
from wire import VERSION
from wire.frames import BridgeStatus, Error, History, Join, Say, ServerStatus, Status, Stored
from wire.limits import Limits
from wire.text import COMMANDS


@every_pair
def test_who(doors: tuple[str, str], meet: Meet) -> None:
    alice, bob, carol = meet(doors[0], "alice"), meet(doors[1], "bob"), meet("json", "Carol")
    for talker in (alice, bob, carol):
        talker.join("lab")
    dave = meet(doors[1], "dave")
    bob.bye()
    carol.wait_for_notice("bob", "offline")
    for each in (alice, dave):  # another server hears it a moment later
        eventually(lambda each=each: "bob" not in each.who()[0], lambda each=each: repr(each.who()))  # type: ignore[misc]
    assert alice.who() == (["alice", "Carol", "dave"], [])
    assert alice.who("lab") == (["alice", "Carol"], ["bob"])
    assert dave.who("lab") == (["alice", "Carol"], ["bob"])
    with pytest.raises(Refusal, match="channel attic does not exist"):
        alice.who("attic")


@every_door
def test_channels(door: str, meet: Meet) -> None:
    alice, bob = meet(door, "alice"), meet("json", "bob")
    assert alice.channels() == {}
    alice.join("lab")
    bob.join("Attic")
    bob.join("lab")
    bob.say("one")
    bob.say("two")
    alice.topic("lab", "Soldering tonight")
    listed = alice.channels()
    assert list(listed) == ["Attic", "lab"]
    assert (listed["lab"].members, listed["lab"].tail, listed["lab"].joined) == (2, 2, True)
    assert listed["lab"].topic == "Soldering tonight"
    assert (listed["Attic"].members, listed["Attic"].tail, listed["Attic"].joined) == (1, 0, False)


@every_line_pair
def test_whois(doors: tuple[str, str], meet: Meet) -> None:
    alice, bob, carol = meet(doors[0], "alice"), meet(doors[1], "Bob"), meet("json", "carol")
    for talker in (bob, carol):
        talker.join("lab")
    known = alice.whois("BOB")
    assert (known.online, known.registered, known.channels) == (True, False, ["lab"])
    assert known.doors == ["socket"]
    bob.bye()
    carol.wait_for_notice("Bob", "offline")
    assert not alice.whois("bob").online
    alice.msg("zoe", "are you there?")
    assert not alice.whois("zoe").online
    with pytest.raises(Refusal, match="No user called nobody has ever connected"):
        alice.whois("nobody")


@every_door
def test_history_in_pages(door: str, meet: Meet) -> None:
    alice, bob = meet(door, "alice"), meet("json", "bob")
    for talker in (alice, bob):
        talker.join("lab")
    texts = [f"entry {n}" for n in range(1, 51)]
    bob.say_many(texts, "lab")
    bob.msg("alice", "a secret")
    expected = [("bob", text) for text in texts]
    alice.wait_for("lab", texts[-1])
    assert alice.history("lab", 5) == expected[-5:]
    assert alice.history("lab", 500) == expected
    pages, before = list[tuple[str, str]](), 51
    while before > 1:
        page = alice.history("lab", 7, before)
        pages, before = page + pages, before - len(page)
    assert pages == expected
    assert alice.history("lab", 5, 1) == []
    assert alice.history("@bob", 5) == [("bob", "a secret")]
    with pytest.raises(Refusal, match="channel attic does not exist"):
        alice.history("attic", 5)
    with pytest.raises(Refusal, match="No user called zoe"):
        alice.history("@zoe", 5)
    assert meet(door, "eve").history("@bob", 5) == [], "a conversation of others is none of hers"


def test_history_after_a_number(server: Server, connect: Callable[..., Json]) -> None:
    alice = connect(server.address, "alice", limits=Limits(line=1 << 26))
    alice.request(Join("lab"))
    alice.send(*[Say(f"{n}", "lab") for n in range(1, 1501)])
    assert alice.request(Say("last", "lab")).number == 1501
    numbers: list[int] = []
    while True:
        page = alice.request(History(channel="lab", after=numbers[-1] if numbers else 0, limit=600))
        assert page.tail == 1501
        if not page.entries:
            break
        numbers += [entry.number for entry in page.entries]
    assert numbers == list(range(1, 1502))
    assert len(alice.request(History(channel="lab", limit=5_000)).entries) == 1_000, "a page has its limit"


@every_pair
def test_topic(doors: tuple[str, str], meet: Meet) -> None:
    alice, bob = meet(doors[0], "alice"), meet(doors[1], "bob")
    alice.join("lab")
    bob.join("lab")
    assert alice.topic("lab") == ""
    assert alice.topic("lab", "Soldering: tonight") == "Soldering: tonight"
    bob.wait_for_notice("alice", "topic", "lab")
    assert bob.topic("LAB") == "Soldering: tonight"
    eve = meet(doors[0], "eve")
    assert eve.topic("lab") == "Soldering: tonight"
    with pytest.raises(Refusal, match="not in lab"):
        eve.topic("lab", "Eve was here")
    assert bob.topic("lab") == "Soldering: tonight"


def test_whose_topic_a_person_sets(server: Server, meet: Meet, dial: Callable[..., Text]) -> None:
    """That of the channel which the first word names, and never that of another one."""
    bob = meet("json", "bob")
    for channel in ("lab", "tea", "hall"):
        bob.join(channel)
    alice = dial(server.address, "alice")
    alice.send("/topic Tea time")
    assert alice.expect("!") == "! You are not in tea: /join tea first."
    alice.send("/topic green tea")
    assert alice.expect("!") == "! The channel green does not exist. /join green creates it."
    alice.send("/topic")
    alice.expect("! You are in no channel")
    alice.send("/join hall", "/join lab", "/topic Tea time", "/topic green tea")
    assert alice.expect("!") == "! You are not in tea: /join tea first."
    refusal = (
        "! The channel green does not exist. /join green creates it. To set the topic of lab: /topic lab green tea"
    )
    assert alice.expect("!") == refusal
    alice.send("/topic lab green tea", "/topic HALL Cakes", "/topic Hall", "/topic", "/topic tea", "/topic -")
    for line in ("lab: green tea", "hall: Cakes", "hall: Cakes", "lab: green tea"):
        alice.expect(f"* The topic of {line}")
    alice.expect("* tea has no topic.")
    alice.expect("* lab has no topic.")
    alice.send("/topic #tea time")
    assert alice.expect("!") == "! You are not in tea: /join tea first."
    assert bob.topic("tea") == ""
    with pytest.raises(Refusal, match="channel green does not exist"):
        bob.topic("green", "tea")


def test_a_hash_names_a_channel_whatever_exists(server: Server, meet: Meet, dial: Callable[..., Text]) -> None:
    """A mistyped channel's text is not said in the current one."""
    meet("json", "bob").join("hall")
    alice = dial(server.address, "alice")
    alice.send("/join lab", "#hal: hello", "#hall: hello", "hal: is text", "#lab: #1: first")
    assert alice.expect("!") == "! The channel hal does not exist. /join hal creates it."
    assert alice.expect("!") == "! You are not in hall: /join hall first."
    assert alice.expect("[") == "[lab] alice: hal: is text"
    assert alice.expect("[") == "[lab] alice: #1: first"


@every_line_door
def test_help_has_every_command(door: str, meet: Meet) -> None:
    alice = meet(door, "alice")
    lines = alice.help()
    for command in COMMANDS:
        assert any(line.startswith(command.usage) for line in lines), command.usage
    assert any("<channel>: <text>" in line for line in lines)
    assert "/quit" in " ".join(alice.help("exit"))
    assert alice.help("/join") == alice.help("join")
    with pytest.raises(Refusal, match="Did you mean /join"):
        alice.help("jion")


def test_unknown_commands_name_the_nearest(server: Server, dial: Callable[..., Text]) -> None:
    alice = dial(server.address, "alice")
    for typed, hint in (("/jion lab", "/join"), ("/hsitory", "/history"), ("/qiut", "/quit"), ("/LEVAE", "/leave")):
        alice.send(typed)
        assert alice.expect("Unknown command").endswith(f"Did you mean {hint}?")
    alice.send("/zzzzzzzz")
    alice.expect("Unknown command /zzzzzzzz. /help lists the commands.")
    alice.send("/regster sesame", "/registersesame", "/JOIN lab", "still here")
    alice.expect("[lab] alice: still here")
    assert alice.seen.count("! Unknown command. Did you mean /register?") == 2
    assert "sesame" not in alice.seen


def test_a_mistake_gets_one_line_and_the_connection_goes_on(server: Server, dial: Callable[..., Text]) -> None:
    alice = dial(server.address, "alice")
    for line, answer in (
        ("/join", "! Usage: /join <channel>"),
        ("/join a b", "! Usage: /join <channel>"),
        ("/join a/b", "! A channel name is 1 to 32 letters"),
        ("/msg bob", "! Usage: /msg <user> <text>"),
        ("/history lab x", "! Usage: /history "),
        ("/history lab 0", "! Usage: /history "),
        ("/whois", "! Usage: /whois <user>"),
        ("/register", "! Usage: /register <password>"),
        ("/register abc", "! A password has 8 to 128 characters."),
        ("hello?", "! You are in no channel. /join lobby"),
        ("/topic", "! You are in no channel"),
    ):
        start = len(alice.seen)
        alice.send(line, "/whois nobody-at-all")
        alice.expect("No user called nobody-at-all")
        mine = alice.seen[start:].splitlines()
        assert len(mine) == 2, mine
        assert mine[0].startswith(answer), mine


def test_a_program_gets_one_answer_for_each_mistake(server: Server, connect: Callable[..., Json]) -> None:
    alice = connect(server.address)
    alice.send_bytes(b'{"op":"join","channel":"lab","ref":"r1"}\n')
    assert alice.expect(Error, lambda e: e.ref == "r1").code == "hello-first"
    alice.send_bytes(b'{"op":"hello","name":"alice","ref":"r2"}\n{"op":"hello","name":"bob","ref":"r3"}\n')
    assert alice.expect(Error, lambda e: e.ref == "r3").code == "already-named"
    for line, code in (
        (b'{"op":"dance","ref":"r4"}', "unknown-frame"),
        (b'{"op":"join","ref":"r4"}', "bad-frame"),
        (b'{"op":"join","channel":7,"ref":"r4"}', "bad-frame"),
        (b'{"op":"history","limit":0,"ref":"r4"}', "bad-frame"),
        (b'{"op":"join","channel":"##lab","ref":"r4"}', "bad-name"),
        (b'{"op":"seen","number":1,"ref":"r4"}', "no-channel"),
        (b'{"op":"seen","number":1,"user":"nobody","ref":"r4"}', "no-such-user"),
        (b'{"op":"say","text":"","ref":"r4"}', "no-channel"),
    ):
        alice.send_bytes(line + b"\n")
        assert alice.expect(Error, lambda e: e.ref == "r4").code == code, line
    for line in (b"{", b"[]", b"null", b"\xff\xfe", b'{"op":"say","text":"\\ud800"}', b"[" * 16_000):
        alice.send_bytes(line + b"\n")
        assert alice.expect(Error).code == "bad-frame", line
    alice.request(Join("lab"))
    assert alice.request(Say("", "lab")).code == "empty"
    assert isinstance(alice.request(Say("still here", "lab")), Stored)


def test_how_the_server_is(server: Server, connect: Callable[..., Json], dial: Callable[..., Text]) -> None:
    alice = connect(server.address, "alice")
    alice.request(Join("lab"))
    person = dial(server.address, "bob")
    status = alice.request(Status())
    assert isinstance(status, ServerStatus)
    assert (status.version, status.users, status.connections, status.channels) == (VERSION, 2, 2, 1)
    assert 0 <= time.time_ns() // 1_000_000 - status.since < 60_000
    assert status.bridge is None
    bridge = BridgeStatus("mosquitto:1883", True, 1_790_000_000_000, "5", behind=3, received=120, sent=400, refused=2)
    server.chat.mirror_status = lambda: bridge
    assert alice.request(Status()).bridge == bridge
    person.send("/status")
    person.expect(f"* Partyline {VERSION}, running since")
    person.expect("* 2 users online over 2 connections; 1 channel.")
    person.expect("* Broker: connected to mosquitto:1883 over MQTT 5 since")
