"""What a person types at a text connection, as with `nc`: whom it goes to, and what is asked about first."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from server import Server
from store import StoreError
from tests.support.clients import Json, Text
from tests.support.fixtures import Meet, StartServer
from tests.support.stores import WatchedStore
from wire.frames import Join, Say, Stored
from wire.limits import Limits

Dial = Callable[..., Text]


def test_who_is_talked_with_gets_what_names_no_channel(server: Server, dial: Dial, meet: Meet) -> None:
    bob = meet("json", "Bob")
    bob.join("lab")
    alice = dial(server.address, "alice")
    alice.send("/join hall", "/join lab", "/query bob", "psst", "lab: to the lab", "/me nods", "//x", "/history")
    assert alice.expect("What you type") == "* What you type goes to Bob, privately. /query ends that."
    bob.wait_for("@alice", "/x")
    assert bob.heard("@alice") == [("alice", "psst"), ("alice", "/me nods"), ("alice", "/x")]
    assert bob.heard("lab") == [("alice", "to the lab")]
    assert alice.expect("alice -> Bob: p") == "alice -> Bob: psst"
    assert alice.expect("* 1 to 3") == "* 1 to 3 of 3 in @Bob"
    for typed in ("/topic", "/names"):
        alice.send(typed)
        assert alice.expect("!") == "! You are talking with Bob. Name the channel, or /query ends that."
    alice.send("/leave", "in the lab", "/query @bob", "again", "/join hall", "in the hall", "/query bob bye", "/query")
    assert alice.expect("What you type") == "* What you type goes to lab."
    assert alice.expect("in the") == "[lab] alice: in the lab"
    assert alice.expect("again") == "alice -> Bob: again"
    assert alice.expect("in the") == "[hall] alice: in the hall"
    assert alice.expect("bye") == "alice -> Bob: bye"
    assert alice.expect("What you type") == "* What you type goes to hall."
    bob.wait_for("@alice", "bye")
    bob.wait_for("lab", "in the lab")


def test_talking_with_somebody_who_is_away_or_was_never_here(server: Server, dial: Dial, meet: Meet) -> None:
    meet("json", "bob").bye()
    alice = dial(server.address, "alice")
    alice.send("/query bob hi", "/query bbo", "/query")
    assert alice.expect("away") == "* bob is away. The server keeps the message for them."
    assert alice.expect("goes to bbo") == "* What you type goes to bbo, privately. /query ends that."
    assert alice.expect("bbo") == "* No user called bbo has ever connected. The server would keep your messages."
    assert alice.expect("nobody") == "* What you type goes to nobody: you are in no channel."
    alice.send("hi")
    assert alice.expect("!") == "! You are in no channel. /join lobby joins one."
    bob = meet("json", "bob")
    bob.wait_for("@alice", "hi")


def test_a_conversation_that_may_not_begin_is_refused_and_the_connection_stays(
    start_server: StartServer, dial: Dial
) -> None:
    server = start_server(limits=Limits(guest_talks=1))
    alice = dial(server.address, "alice")
    alice.send("/query bob", "one", "/query carol", "two", "/query bob", "three")
    assert alice.expect(": one") == "alice -> bob: one"
    assert alice.expect("!").startswith("! A guest may begin 1 private conversations.")
    assert alice.expect(": three") == "alice -> bob: three"


def test_a_store_that_fails_refuses_what_is_said_and_the_connection_stays(
    server: Server, dial: Dial, stores: list[WatchedStore]
) -> None:
    alice = dial(server.address, "alice")
    alice.send("/query bob")
    alice.expect("goes to bob")

    def fail(method: str) -> None:
        if method == "open_private_log":
            raise StoreError("The disk is full.")

    stores[0].before = fail
    alice.send("one")
    assert alice.expect("!") == "! The disk is full."
    stores[0].before = None
    alice.send("two")
    assert alice.expect("two") == "alice -> bob: two"


@pytest.mark.parametrize(("word", "hint"), [("help", "/help for the commands"), ("Quit", "/quit to leave")])
def test_a_word_that_may_be_a_command_is_asked_about_once(server: Server, dial: Dial, word: str, hint: str) -> None:
    alice = dial(server.address, "alice")
    alice.send("/join lab", "first", word, "hello", word, word, word)
    assert alice.expect("first") == "[lab] alice: first"
    question = f"* Type {hint}, or send {word} again to say it."
    assert [alice.expect(part) for part in ("Type", "hello", "Type", f"alice: {word}", "Type")] == [
        question, "[lab] alice: hello", question, f"[lab] alice: {word}", question,
    ]  # fmt: skip


def test_such_a_word_is_no_name_at_once(server: Server, dial: Dial, meet: Meet) -> None:
    alice = dial(server.address)
    alice.send("help")
    assert alice.expect("!") == "! Type /help for the commands, or send help again to take it as your name."
    alice.send("/help")
    alice.expect("/join <channel>")
    alice.send("alice")
    alice.expect("Welcome, alice.")
    other = dial(server.address)
    other.send("quit", "quit")
    other.expect("Welcome, quit.")


def test_a_program_says_such_a_word_at_once(server: Server, connect: Callable[..., Json]) -> None:
    alice = connect(server.address, "alice")
    alice.request(Join("lab"))
    for text in ("help", "quit"):
        assert isinstance(alice.request(Say(text, "lab")), Stored)


@pytest.mark.parametrize("typed", ["/query bob/b", "/query #lab hi", "/names a b", "/me"])
def test_what_does_not_fit_is_refused(server: Server, dial: Dial, typed: str) -> None:
    alice = dial(server.address, "alice")
    alice.send(typed)
    assert alice.expect("!")
