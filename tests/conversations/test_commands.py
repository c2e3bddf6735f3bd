"""Conversations over the real door: every command does what its name says, whoever speaks which dialect."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from server import Server
from tests.conversations.doors import every_door, every_line_door, every_line_pair, every_pair
from tests.support.clients import Json, Text
from tests.support.fixtures import Meet
from tests.support.mqtt import MqttLine, body
from tests.support.talkers import Refusal
from wire.frames import Channels, Join, Msg, Say, Whois


@every_pair
def test_what_is_said_is_heard_by_all_in_order(doors: tuple[str, str], meet: Meet) -> None:
    alice, bob = meet(doors[0], "alice"), meet(doors[1], "bob")
    alice.join("lab")
    bob.join("lab")
    alice.wait_for_notice("bob", "join", "lab")
    said = [(("alice", "bob")[n % 2], f"line {n}") for n in range(10)]
    for sender, text in said:
        {"alice": alice, "bob": bob}[sender].say(text)
    for talker in (alice, bob):
        talker.wait_for("lab", "line 9")
        assert talker.heard("lab") == said


@every_pair
def test_an_action_is_said_like_any_text(doors: tuple[str, str], meet: Meet) -> None:
    """Every dialect can post one, keeps its order, and finds it in the history."""
    alice, bob = meet(doors[0], "alice"), meet(doors[1], "bob")
    for talker in (alice, bob):
        talker.join("lab")
    alice.say("hello", "lab")
    alice.say("/me waves: at bob", "lab")
    bob.wait_for("lab", "/me waves: at bob")
    bob.say("/me waves back", "lab")
    said = [("alice", "hello"), ("alice", "/me waves: at bob"), ("bob", "/me waves back")]
    for talker in (alice, bob):
        talker.wait_for("lab", "/me waves back")
        assert talker.heard("lab") == said
        assert talker.history("lab", 5) == said
    alice.msg("bob", "/me nods")
    bob.wait_for("@alice", "/me nods")


def test_an_action_over_mqtt(server: Server, dial: Callable[..., Text], mqtt: Callable[..., MqttLine]) -> None:
    """A small device reads a sentence, another program the text as it was typed; both can act."""
    bob = mqtt(server.address, "bob")
    bob.subscribe("chat/channels/+", "chat/channels/+/text")
    alice = dial(server.address, "alice")
    alice.send("/join lab", "/me waves", "lab: /me nods")
    assert bob.message("chat/channels/lab/text").payload == b"* alice waves"
    assert body(bob.message("chat/channels/lab"))["text"] == "/me waves"
    assert alice.expect("waves") == "[lab] * alice waves"
    assert alice.expect("nods") == "[lab] * alice nods"
    bob.publish("chat/from/bob/say/lab", b"/me beeps")
    assert alice.expect("beeps") == "[lab] * bob beeps"


def test_who_is_in_the_current_channel(server: Server, dial: Callable[..., Text], meet: Meet) -> None:
    bob, carol = meet("json", "bob"), meet("json", "carol")
    bob.join("lab")
    carol.join("lab")
    carol.bye()
    alice = dial(server.address, "alice")
    alice.send("/names")
    assert alice.expect("!") == "! You are in no channel. /join lobby joins one."
    alice.send("/join hall", "/join lab", "/names", "/names hall", "/names attic")
    assert alice.expect("In lab") == "* In lab: alice, bob"
    assert alice.expect("Away") == "* Away: carol"
    assert alice.expect("In hall") == "* In hall: alice"
    assert alice.expect("!") == "! The channel attic does not exist. /join attic creates it."
    alice.send("/part", "/list")
    assert alice.expect("left") == "* You have left lab."
    assert alice.expect("* hall ").startswith("* hall  1 member")


@every_pair
def test_join_makes_it_current_and_channels_stay_apart(doors: tuple[str, str], meet: Meet) -> None:
    alice, bob = meet(doors[0], "alice"), meet(doors[1], "bob")
    for talker in (alice, bob):
        talker.join("lab")
        talker.join("hall")
    alice.say("to the hall")
    alice.say("to the lab", "lab")
    alice.say("to the hall again")
    for talker in (alice, bob):
        talker.wait_for("hall", "to the hall again")
        talker.wait_for("lab", "to the lab")  # between places there is no order
        assert talker.heard("hall") == [("alice", "to the hall"), ("alice", "to the hall again")]
        assert talker.heard("lab") == [("alice", "to the lab")]
    alice.join("lab")  # joining again does no harm, and changes the current one
    alice.say("back in the lab")
    bob.wait_for("lab", "back in the lab")


@every_line_pair
def test_after_leaving_nothing_of_it_arrives(doors: tuple[str, str], meet: Meet) -> None:
    alice, bob = meet(doors[0], "alice"), meet(doors[1], "bob")
    for talker in (alice, bob):
        talker.join("hall")
        talker.join("lab")
    bob.leave()
    alice.wait_for_notice("bob", "leave", "lab")
    alice.say("nobody hears this", "lab")
    alice.topic("lab", "nor sees this")
    alice.say("but this", "hall")
    bob.wait_for("hall", "but this")
    bob.sync()
    assert bob.heard("lab") == []
    assert "nor sees this" not in bob.everything()
    bob.say("in the other one now")
    alice.wait_for("hall", "in the other one now")
    with pytest.raises(Refusal, match="not in lab"):
        bob.leave("lab")
    with pytest.raises(Refusal, match="channel attic does not exist"):
        bob.leave("attic")
    bob.leave("hall")
    with pytest.raises(Refusal, match=r"no channel\. /join"):
        bob.leave()
    with pytest.raises(Refusal, match=r"no channel\. /join"):
        bob.say("to whom?")


@every_pair
def test_msg_reaches_who_is_online(doors: tuple[str, str], meet: Meet) -> None:
    alice, bob, eve = meet(doors[0], "alice"), meet(doors[1], "bob"), meet("json", "eve")
    assert not alice.msg("bob", "psst")
    bob.wait_for("@alice", "psst")
    assert not bob.msg("ALICE", "yes?")
    alice.wait_for("@bob", "yes?")
    for talker, peer in ((alice, "@bob"), (bob, "@alice")):
        talker.wait_for(peer, "yes?")
        assert talker.heard(peer) == [("alice", "psst"), ("bob", "yes?")]
    eve.sync()
    assert "psst" not in eve.everything()


@pytest.mark.parametrize("known", [True, False], ids=["away", "never-seen"])
@every_pair
def test_msg_is_kept_for_who_is_not(doors: tuple[str, str], known: bool, meet: Meet) -> None:
    alice = meet(doors[0], "alice")
    if known:
        meet(doors[1], "bob").bye()
    texts = [f"for later {n}" for n in range(5)]
    for text in texts:
        assert alice.msg("bob", text), "the sender is told that it is kept"
    for expected in ([("alice", text) for text in texts], []):  # once, on the first connection after it
        bob = meet(doors[1], "bob")
        bob.sync()
        if expected:
            bob.wait_for("@alice", texts[-1])
            bob.sync()
        assert bob.heard("@alice") == expected
        bob.bye()


@every_door
def test_msg_to_oneself_and_to_no_name(door: str, meet: Meet) -> None:
    alice = meet(door, "alice")
    assert not alice.msg("alice", "remember the milk")
    alice.wait_for("@alice", "remember the milk")
    alice.sync()
    assert alice.heard("@alice") == [("alice", "remember the milk")]
    with pytest.raises(Refusal, match="A user name is 1 to 32 letters"):
        alice.msg("b/b", "hello")


def test_a_line_for_a_channel_by_its_prefix(server: Server, dial: Callable[..., Text], meet: Meet) -> None:
    """The three cases of `<channel>: text`, as lines."""
    bob = meet("json", "bob")
    for channel in ("lab", "hall", "attic"):
        bob.join(channel)
    alice = dial(server.address, "alice")
    alice.send("/join lab", "/join hall", "lab: to the lab", "LAB: to the lab, too")
    alice.expect("[lab] alice: to the lab")
    alice.expect("[lab] alice: to the lab, too")
    alice.send("attic: is it cold?")
    assert alice.expect("attic") == "! You are not in attic: /join attic first."
    for text in ("note: no channel", "https://example.org", "lab:", ": lab", "la b: x", "attic is far: yes"):
        alice.send(text)
        assert alice.expect("[hall]") == f"[hall] alice: {text}"
    assert bob.heard("attic") == []


@every_line_door
def test_to_a_channel_that_was_not_joined(door: str, meet: Meet) -> None:
    meet("json", "bob").join("attic")
    alice = meet(door, "alice")
    alice.join("lab")
    with pytest.raises(Refusal, match="not in attic: /join attic"):
        alice.say("hello", "attic")
    with pytest.raises(Refusal, match=r"channel attic2 does not exist\. /join attic2"):
        alice.topic("#attic2" if door == "text" else "attic2")


def test_a_program_is_told_that_there_is_no_such_channel(server: Server, connect: Callable[..., Json]) -> None:
    alice = connect(server.address, "alice")
    error = alice.request(Say("hello", "nowhere", id="a1"))
    assert (error.code, error.id) == ("no-such-channel", "a1")


@every_line_door
def test_exit_says_goodbye_and_frees_the_name(door: str, meet: Meet) -> None:
    bob = meet("json", "bob")
    bob.join("lab")
    for _ in range(3):
        alice = meet(door, "alice")
        alice.join("lab")
        assert alice.bye() == "Goodbye."
        bob.wait_for_notice("alice", "offline")
    assert bob.who("lab") == (["bob"], ["alice"])


@pytest.mark.parametrize("word", ["exit", "/quit", "/exit", "EXIT", "/Quit"])
def test_every_word_for_leaving(server: Server, dial: Callable[..., Text], word: str) -> None:
    alice = dial(server.address, "alice")
    alice.send("/join lab", "exit is not the end of a sentence", word, "nobody reads this")
    said = alice.until_closed()
    assert "[lab] alice: exit is not the end of a sentence" in said
    assert said.endswith("* Goodbye.\n")


def test_a_program_that_thinks_first_is_greeted_and_understood(server: Server, dial: Callable[..., Text]) -> None:
    """The server greets a silent peer as a person; its first bytes then decide the dialect."""
    slow = dial(server.address)
    slow.expect("What is your name?")
    slow.send('{"op":"hello","name":"alice","ref":1}')
    assert '"op":"welcome","ref":1,' in slow.expect("welcome")


def test_a_sign_before_a_name_is_no_part_of_it(server: Server, connect: Callable[..., Json]) -> None:
    """It has to be that of a channel, or that of a user."""
    alice = connect(server.address, "alice")
    assert alice.request(Join("#lab")).channel == "lab"
    assert [info.name for info in alice.request(Channels()).channels] == ["lab"]
    assert alice.request(Msg("@bob", "hello")).user == "bob"
    for wrong in (Join("@bob"), Msg("#lab", "hello"), Whois("#lab")):
        assert alice.request(wrong).code == "bad-name"
