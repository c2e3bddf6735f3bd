"""Messages kept for a user who is away, slow or disconnected arrive in order and once, in every dialect."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from channels import read_tracker
from server import Server
from tests.conversations.doors import (
    every_door_that_keeps,
    every_line_door,
    every_pair_that_keeps,
    every_pair_with_passwords,
)
from tests.support.clients import Json, Text
from tests.support.fixtures import Enter, Meet, StartServer
from tests.support.stores import WatchedStore
from tests.support.talkers import Refusal, TextTalker
from tests.support.waiting import DEADLINE, eventually
from wire.frames import (
    Closing,
    Delivered,
    Entry,
    Error,
    Gap,
    Hello,
    Join,
    Leave,
    Msg,
    Ping,
    Presence,
    Register,
    Say,
    Seen,
    Stored,
    Who,
)
from wire.limits import Limits

Connect = Callable[..., Json]


@every_pair_that_keeps
def test_who_returns_gets_what_was_missed_in_order_and_once(doors: tuple[str, str], meet: Meet) -> None:
    alice = meet(doors[0], "alice")
    alice.join("lab")
    alice.join("hall")
    for turn in range(3):
        bob = meet(doors[1], "bob")
        for channel in ("lab", "hall"):
            bob.join(channel)
            missed = [("alice", f"{channel} {turn - 1}.{n}") for n in range(20)] if turn else []
            if missed:
                bob.wait_for(channel, missed[-1][1])
            assert bob.heard(channel) == missed
            alice.say(f"live in {channel}, {turn}", channel)
            bob.wait_for(channel, f"live in {channel}, {turn}")
        bob.sync()
        assert len(bob.heard("lab")) == (21 if turn else 1), "and none of them twice"
        assert bob.bye() == "Goodbye."
        for channel in ("lab", "hall"):
            alice.say_many([f"{channel} {turn}.{n}" for n in range(20)], channel)


@every_door_that_keeps
def test_who_lost_the_line_gets_what_was_missed(door: str, meet: Meet) -> None:
    alice, bob = meet("json", "alice"), meet(door, "bob")
    for talker in (alice, bob):
        talker.join("lab")
    alice.say("before")
    bob.wait_for("lab", "before")
    bob.sync()
    bob.drop()
    alice.wait_for_notice("bob", "offline")
    alice.say_many([f"missed {n}" for n in range(50)], "lab")
    bob = meet(door, "bob")
    bob.wait_for("lab", "missed 49")
    # A person cannot acknowledge, so after a line that broke there may be something again, but nothing is left out.
    assert bob.heard("lab")[-50:] == [("alice", f"missed {n}") for n in range(50)]
    assert len(bob.heard("lab")) <= 51


def test_a_listener_who_closes_amid_traffic_loses_nothing(
    server: Server, enter: Enter, dial: Callable[..., Text]
) -> None:
    alice = enter(server.address, "json", "alice")
    alice.join("lab")
    first = dial(server.address, "bob")
    first.send("/join lab")
    first.expect("You are in lab")
    alice.say_many([f"entry {n}" for n in range(1, 401)], "lab")
    first.expect("alice: entry 400")
    first.close()
    alice.wait_for_notice("bob", "offline")
    alice.say_many([f"entry {n}" for n in range(401, 500)], "lab")
    second = dial(server.address, "bob")
    second.expect("alice: entry 499")
    numbers = [int(number) for number in re.findall(r"alice: entry (\d+)", second.seen)]
    assert numbers == list(range(401, 500)), "all that was missed, in order, and nothing that was had"


@every_line_door
def test_more_than_the_limit_is_a_gap_and_the_rest(start_server: StartServer, door: str, enter: Enter) -> None:
    server = start_server(limits=Limits(missed=30))
    alice, bob = enter(server.address, "json", "alice"), enter(server.address, door, "bob")
    for talker in (alice, bob):
        talker.join("lab")
    bob.bye()
    alice.say_many([f"entry {n}" for n in range(1, 101)], "lab")
    for n in range(100):
        alice.msg("bob", f"private {n}")
    bob = enter(server.address, door, "bob")
    bob.wait_for("lab", "entry 100")
    bob.wait_for("@alice", "private 99")
    assert sorted(bob.gaps()) == [("lab", 1, 70)]
    assert bob.heard("lab") == [("alice", f"entry {n}") for n in range(71, 101)]
    assert bob.heard("@alice") == [("alice", f"private {n}") for n in range(100)], "what was kept comes whole"
    if isinstance(bob, TextTalker):
        hint = re.search(r"Skipped 70 entries of lab \(1 to 70\). /history lab (\d+) (\d+) shows", bob.everything())
        assert hint is not None
        assert bob.history("lab", int(hint[1]), int(hint[2]))[-1] == ("alice", "entry 70")
        assert len(bob.history("lab", int(hint[1]), int(hint[2]))) == 70
    else:
        assert bob.history("lab", 100, 71) == [("alice", f"entry {n}") for n in range(1, 71)]


def test_since_brings_what_follows_it(server: Server, connect: Connect) -> None:
    alice, bob = connect(server.address, "alice"), connect(server.address, "bob")
    for client in (alice, bob):
        client.request(Join("Lab"))
    alice.send(*[Say(f"{n}", "lab") for n in range(1, 1001)])
    alice.request(Msg("bob", "one"))
    alice.request(Msg("bob", "two"))
    bob.expect(Entry, lambda entry: entry.text == "two")
    bob.close()
    for since, first in (({"lab": 0}, 1), ({"LAB": 990}, 991), ({"lab": 1000}, 1001), ({"lab": 5000}, 1004)):
        bob = connect(server.address, "bob", token=bob.welcome.token, since=since)
        bob.request(Ping())
        new = alice.request(Say("new", "lab")).number
        bob.expect(Entry, lambda entry, new=new: entry.channel == "Lab" and entry.number == new)  # type: ignore[misc]
        numbers = [entry.number for entry in bob.of(Entry) if entry.channel]
        assert numbers == list(range(first, new + 1)), since
        assert not bob.of(Gap)
        bob.close()
    bob = connect(server.address, "bob", token=bob.welcome.token, since={"@ALICE": 1, "lab": 1004, "nowhere": 7})
    assert bob.expect(Entry).text == "two"


def test_a_token_takes_the_name_over_from_the_lost_connection(server: Server, connect: Connect) -> None:
    alice = connect(server.address, "alice")
    alice.request(Join("lab"))
    for token in (None, "", "guessed", alice.welcome.token[:-1]):
        assert connect(server.address).request(Hello(name="alice", token=token)).code == "name-taken"
    again = connect(server.address, "ALICE", token=alice.welcome.token, since={"lab": 0})
    assert again.welcome.name == "alice", "a name is kept as first written"
    assert [state.channel for state in again.welcome.logs] == ["lab"]
    last = alice.until_closed()[-1]
    assert isinstance(last, Closing)
    assert last.code == "replaced"
    assert again.request(Say("I am back", "lab")).number == 1
    assert again.expect(Entry).text == "I am back"
    assert [member.name for member in again.request(Who()).members] == ["alice"]


def test_seen_moves_the_cursor_and_tells_delivered(server: Server, connect: Connect) -> None:
    alice, bob = connect(server.address, "alice"), connect(server.address, "bob")
    alice.request(Join("lab"))
    bob.request(Join("lab"))
    for n in range(1, 6):
        alice.request(Msg("bob", f"{n}"))
        alice.request(Say(f"{n}", "lab"))
    bob.expect(Entry, lambda entry: entry.channel == "lab" and entry.number == 5)
    bob.request(Seen(number=3, user="alice"))
    assert alice.expect(Delivered) == Delivered("bob", 3)
    bob.request(Seen(number=2, user="alice"))  # never backwards
    bob.request(Seen(number=1_000, channel="lab"))  # no further than what was sent
    bob.close()
    bob = connect(server.address, "bob", token=bob.welcome.token)
    bob.request(Ping())
    assert [(state.channel, state.user, state.seen, state.tail) for state in bob.welcome.logs] == [
        ("lab", None, 5, 5),
        (None, "alice", 3, 5),
    ]
    alice.request(Say("6", "lab"))
    bob.expect(Entry, lambda entry: entry.channel == "lab")
    bob.expect(Entry, lambda entry: entry.text == "5")
    assert [entry.text for entry in bob.of(Entry) if entry.to] == ["4", "5"]
    assert [entry.text for entry in bob.of(Entry) if entry.channel] == ["6"]
    bob.request(Seen(number=5, user="alice"))
    assert alice.expect(Delivered) == Delivered("bob", 5)


def test_a_person_has_a_message_when_their_machine_has_it(
    server: Server, connect: Connect, dial: Callable[..., Text]
) -> None:
    """Nobody acknowledges with nc, so what the peer's TCP has taken counts, and the sender is told."""
    alice, bob = connect(server.address, "alice"), dial(server.address, "bob")
    for n in range(1, 4):
        alice.request(Msg("bob", f"{n}"))
    bob.expect("alice -> bob: 3")
    bob.send("exit")
    bob.until_closed()
    bob.close()
    delivered = alice.expect(Delivered, lambda frame: frame.number == 3)
    assert delivered.user == "bob"
    numbers = [frame.number for frame in alice.of(Delivered)]
    assert numbers == sorted(set(numbers))


def test_who_only_reads_has_it_too(
    server: Server, connect: Connect, dial: Callable[..., Text], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some time after a delivery it is noted what has arrived, without a word from the one who reads."""
    monkeypatch.setattr(read_tracker, "PERIOD", 0.01)
    alice = connect(server.address, "alice")
    alice.request(Msg("bob", "while you are away"))
    bob = dial(server.address, "bob")
    assert alice.expect(Delivered).number == 1, "what was missed"
    for n in range(2, 5):
        alice.request(Msg("bob", f"{n}"))
        bob.expect(f"alice -> bob: {n}")
        assert alice.expect(Delivered).number == n
    alice.request(Join("lab"))
    bob.send("/join lab")
    alice.expect(Presence, lambda frame: frame.what == "join")
    alice.request(Say("hello", "lab"))
    alice.request(Msg("bob", "last"))
    assert alice.expect(Delivered).number == 5

    def cursors() -> dict[str, int]:
        """Of channels, and of conversations in which something waits for bob."""
        return {membership.log.name: membership.cursor for membership in server.chat.store.memberships("bob")}

    eventually(lambda: cursors() == {"lab": 1}, lambda: f"bob's cursors are {cursors()}")


def test_a_line_of_a_person_costs_one_transaction(
    start_server: StartServer, stores: list[WatchedStore], dial: Callable[..., Text], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server stores a person's read position after a pause and at the end, not with each typed line."""
    monkeypatch.setattr(read_tracker, "PERIOD", DEADLINE)
    server = start_server()
    alice, bob = dial(server.address, "alice"), dial(server.address, "bob")
    for person in (alice, bob):
        person.send("/join lab")
        person.expect("You are in lab")
    calls: list[str] = []
    stores[0].before = calls.append
    for n in range(10):
        for person in (alice, bob):
            person.send(f"line {n}")
            for each in (alice, bob):
                each.expect(f"line {n}")
    assert calls == ["append"] * 20
    stores[0].before = None
    alice.send("exit")
    alice.until_closed()
    alice.close()
    store, lab = server.chat.store, server.chat.known_channel("lab").row
    eventually(lambda: store.cursor(lab, "alice") == 20, lambda: f"the cursor is {store.cursor(lab, 'alice')}")


def test_who_does_not_acknowledge_gets_it_again(server: Server, connect: Connect) -> None:
    alice, bob = connect(server.address, "alice"), connect(server.address, "bob")
    bob.request(Join("lab"))
    alice.request(Join("lab"))
    for n in range(1, 4):
        alice.request(Say(f"{n}", "lab"))
    bob.expect(Entry, lambda entry: entry.number == 3)
    bob.request(Seen(number=1, channel="lab"))
    bob.close()
    bob = connect(server.address, "bob", token=bob.welcome.token)
    bob.expect(Entry, lambda entry: entry.number == 3)
    assert [entry.number for entry in bob.of(Entry)] == [2, 3]


def test_a_post_that_is_sent_again_is_kept_once(server: Server, connect: Connect) -> None:
    alice, bob = connect(server.address, "alice"), connect(server.address, "bob")
    for client in (alice, bob):
        client.request(Join("lab"))
    first = [alice.request(Say(f"{n}", "lab", id=f"a{n}")).number for n in range(5)]
    private = alice.request(Msg("bob", "psst", id="m1"))
    alice.reset()
    alice = connect(server.address, "alice", token=alice.welcome.token, since={"lab": 0})
    again = [alice.request(Say(f"{n}", "lab", id=f"a{n}")).number for n in range(7)]
    assert again == [*first, 6, 7]
    assert alice.request(Msg("bob", "psst", id="m1")).number == private.number
    # in one piece, and twice in it
    alice.send(*[Say("x", "lab", f"b{n % 3}", ref=f"r{n}") for n in range(6)])
    numbers = [alice.expect(Stored, lambda frame, n=n: frame.ref == f"r{n}").number for n in range(6)]  # type: ignore[misc]
    assert numbers == [8, 9, 10, 8, 9, 10]
    # the id is the sender's own: another one's is another post
    assert bob.request(Say("mine", "lab", id="a0")).number == 11
    bob.expect(Entry, lambda entry: entry.number == 11)
    bob.expect(Entry, lambda entry: entry.to is not None)  # what is said in different places comes in any order
    assert [entry.number for entry in bob.of(Entry) if entry.channel] == list(range(1, 12))
    assert [entry.text for entry in bob.of(Entry) if entry.to] == ["psst"]


@every_pair_with_passwords
def test_registered_names_take_their_password_on_every_dialect(doors: tuple[str, str], meet: Meet) -> None:
    alice = meet(doors[0], "Alice")
    assert not alice.whois("alice").registered
    alice.register("correct-horse")
    assert alice.whois("alice").registered
    for online in (True, False):
        with pytest.raises(Refusal, match="registered"):
            meet(doors[1], "ALICE")
        with pytest.raises(Refusal, match="password is wrong"):
            meet(doors[1], "alice", "wrong-horse")
        second = meet(doors[1], "alice", "correct-horse")
        second.bye()
        if online:
            alice.bye()


@pytest.mark.parametrize("password", ["/slash-first", "exit", "with  two spaces", "ünïcödé-π"])
def test_any_password_fits_every_dialect(server: Server, password: str, enter: Enter, connect: Connect) -> None:
    alice = connect(server.address, "alice")
    answer = alice.request(Register(password))
    if isinstance(answer, Error):
        assert answer.code == "bad-password"  # what cannot be typed may be refused, but then at once
        return
    alice.close()
    for door in ("json", "text"):
        enter(server.address, door, "alice", password).bye()


def test_three_wrong_passwords_end_the_connection(server: Server, connect: Connect, dial: Callable[..., Text]) -> None:
    connect(server.address, "alice").request(Register("correct-horse"))
    person = dial(server.address)
    person.send("alice")
    person.expect("What is the password?")
    person.send("wrong 1", "wrong 2")
    person.expect("password is wrong")
    person.expect("password is wrong")
    person.send("wrong 3")
    assert person.until_closed().count("Too many wrong passwords") == 1
    program = connect(server.address)
    program.send_bytes(b'{"op":"hello","name":"alice","password":"wrong","ref":7}\n' * 5)
    codes = [frame.code for frame in program.until_closed() if isinstance(frame, Error)]
    assert codes == ["wrong-password"] * 3


def test_a_registered_user_gets_everything_on_each_connection(server: Server, connect: Connect, enter: Enter) -> None:
    connect(server.address, "alice").request(Register("correct-horse"))
    bob = connect(server.address, "bob")
    first = connect(server.address, "alice", password="correct-horse")
    second = connect(server.address, "alice", password="correct-horse")
    third = enter(server.address, "text", "alice", "correct-horse")
    first.request(Join("lab"))
    bob.request(Join("lab"))
    for n in range(10):
        bob.request(Say(f"said {n}", "lab"))
        bob.request(Msg("alice", f"private {n}"))
    second.request(Say("from the second", "lab"))
    third.say("from the third", "lab")
    for client in (first, second):
        client.expect(Entry, lambda entry: entry.text == "from the third")
        client.expect(Entry, lambda entry: entry.text == "private 9")
        assert [entry.number for entry in client.of(Entry) if entry.channel] == list(range(1, 13))
        assert [entry.number for entry in client.of(Entry) if entry.to] == list(range(1, 11))
    third.wait_for("@bob", "private 9")
    third.wait_for("lab", "from the third")
    assert len(third.heard("lab")) == 12
    assert [member.name for member in bob.request(Who("lab")).members] == ["alice", "bob"]
    second.request(Leave("lab"))  # the user leaves, not the connection
    bob.request(Say("nobody of alice hears this", "lab"))
    bob.request(Msg("alice", "but this"))
    third.wait_for("@bob", "but this")
    for client in (first, second):
        client.expect(Entry, lambda entry: entry.text == "but this")
        client.request(Ping())
        assert "nobody of alice" not in repr(client.received)
    assert "nobody of alice" not in third.everything()


def test_a_name_is_the_same_in_any_case_and_kept_as_first_written(server: Server, enter: Enter) -> None:
    alice, bob = enter(server.address, "text", "Alice"), enter(server.address, "json", "bob")
    alice.join("MyLab")
    bob.join("mylab")
    bob.say("hello", "MYLAB")
    alice.wait_for("MyLab", "hello")
    bob.msg("aLICE", "psst")
    alice.wait_for("@bob", "psst")
    assert bob.who("mylab") == (["Alice", "bob"], [])
    assert list(bob.channels()) == ["MyLab"]
    for name in ("alice", "ALICE"):
        for door in ("text", "json"):
            with pytest.raises(Refusal, match="Alice is taken"):
                enter(server.address, door, name)
    alice.bye()
    again = enter(server.address, "text", "ALICE")
    assert "Welcome, Alice." in again.everything()
