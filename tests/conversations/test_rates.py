"""Rate limits as peers meet them: for a user and for an address, on all connections, and one sentence above them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from server import Server
from tests.support.clients import Json, Text
from tests.support.fixtures import StartServer
from tests.support.mqtt import MqttLine, body
from tests.support.waiting import eventually
from wire.frames import (
    Attach,
    Attached,
    Cancel,
    Closing,
    Entry,
    Error,
    Hello,
    Join,
    Leave,
    Msg,
    Offer,
    Ping,
    Pong,
    Presence,
    Reach,
    Register,
    Registered,
    Request,
    Say,
    Seen,
    Slowed,
    Stored,
    Topic,
    TopicChanged,
    Welcome,
)
from wire.limits import Limits
from wire.mqtt import V5, V311, Connect, PingReq, PingResp, Publish, Reason, Will, encode

Connecting = Callable[..., Json]
Mqtt = Callable[..., MqttLine]


@contextmanager
def strangers(server: Server, count: int) -> Iterator[list[Json]]:
    """So many guests from one address."""
    with ExitStack() as stack:
        yield [stack.enter_context(Json(server.address, f"stranger{n}")) for n in range(count)]


def refused(answer: object) -> bool:
    """Return True for a refusal by a rate limit."""
    return isinstance(answer, Error) and answer.code == "rate-limited"


def _joins(n: int) -> Request:
    return Join(f"room{n}") if n % 2 == 0 else Leave(f"room{n - 1}")


_REQUESTS: dict[str, tuple[str, Callable[[int], Request]]] = {
    "joins": ("joins_per_minute", _joins),
    "topics": ("topics_per_minute", lambda n: Topic("hall", f"topic {n}")),
    "offers": ("offers_per_minute", lambda n: Offer(name=f"file{n}", size=1, channel="hall")),
    "cancels": ("offers_per_minute", lambda n: Cancel(file=f"file{n}")),
    "direct": ("direct_per_minute", lambda n: Reach(file=f"file{n}")),
    "new channels": ("new_channels_per_hour", lambda n: Join(f"new{n}")),
    "new talks": ("new_talks_per_hour", lambda n: Msg(f"nobody{n}", "psst")),
}


@pytest.mark.parametrize("what", _REQUESTS)
def test_a_user_has_a_limit_over_all_connections(start_server: StartServer, connect: Connecting, what: str) -> None:
    """The connection makes no difference; another user is not concerned, and the sentence says when to come back."""
    key, request = _REQUESTS[what]
    server = start_server(limits=Limits(**{key: 6}))
    alice = connect(server.address, "alice")
    alice.request(Register("correct-horse"))
    phone = connect(server.address, "alice", password="correct-horse")
    bob = connect(server.address, "bob")
    for client in (alice, phone, bob):
        client.request(Join("hall"))
    spent = 1 if what in ("joins", "new channels") else 0  # the first to join the hall
    answers = [(alice, phone)[n % 4 // 2].request(request(n)) for n in range(20)]
    allowed = [answer for answer in answers if not refused(answer)]
    assert len(allowed) == 6 - spent
    assert all(refused(answer) for answer in answers[6 - spent :])
    assert re.fullmatch(r"You .*\. Try again in \d+ (second|minute|hour)s?\.", answers[-1].error)
    if what != "joins":
        assert not refused(bob.request(request(100)))


@pytest.mark.parametrize("what", _REQUESTS)
def test_an_address_has_a_limit_over_all_names(start_server: StartServer, what: str) -> None:
    key, request = _REQUESTS[what]
    server = start_server(limits=Limits(**{key: 4, "users_per_address": 3}))
    with strangers(server, 8) as guests, Json(server.address, "far") as far:
        counted = 0
        for at, guest in enumerate(guests):
            joined = guest.request(Join("hall"))
            counted += key == "joins_per_minute" and not refused(joined)
            counted += key == "new_channels_per_hour" and at == 0
            for n in range(0, 8, 2):  # `_joins` leaves in odd turns
                counted += not refused(guest.request(request(at * 10 + n)))
        assert counted == 12, "as much as three users"
        assert far.request(Ping()) is not None


def test_asking_for_a_topic_and_joining_again_count_for_nothing(start_server: StartServer, connect: Connecting) -> None:
    server = start_server(limits=Limits(topics_per_minute=1, joins_per_minute=1, new_talks_per_hour=1))
    alice = connect(server.address, "alice")
    alice.request(Join("hall"))
    alice.request(Topic("hall", "set"))
    for _ in range(20):
        assert not refused(alice.request(Topic("hall")))
        assert not refused(alice.request(Join("hall")))
        assert isinstance(alice.request(Msg("bob", "hello")), Stored)
    assert refused(alice.request(Topic("hall", "again")))
    assert refused(alice.request(Join("other")))
    assert refused(alice.request(Msg("carol", "hello")))


def test_posts_of_a_user_wait_over_all_connections(start_server: StartServer, connect: Connecting) -> None:
    """Two connections are not twice as fast, and a new one has no burst of its own. No post is lost."""
    server = start_server(limits=Limits(posts_per_second=40, posts_burst=30))
    alice = connect(server.address, "alice")
    alice.request(Register("correct-horse"))
    alice.request(Join("lab"))
    phone = connect(server.address, "alice", password="correct-horse")
    start = time.monotonic()
    alice.send(*[Say(f"{n}", "lab", ref=f"{n}") for n in range(30)])
    alice.expect(Stored, lambda frame: frame.ref == "29")
    phone.send(*[Say(f"{n}", "lab", ref=f"{n}") for n in range(40)])
    phone.expect(Stored, lambda frame: frame.ref == "39")
    assert time.monotonic() - start >= 0.9, "70 posts, 30 of them at once, 40 a second"
    assert server.chat.known_channel("lab").tail == 70


def test_posts_wait_for_their_bytes(start_server: StartServer, connect: Connecting) -> None:
    """20 posts of 16 KB a second wrote 5.8 GB an hour from one address."""
    server = start_server(limits=Limits(post_bytes_per_second=50_000, post_bytes_burst=30_000, posts_per_second=19))
    alice = connect(server.address, "alice")
    alice.request(Join("lab"))
    start = time.monotonic()
    alice.send(*[Say("x" * 11_024, "lab", ref=f"{n}") for n in range(8)])
    alice.expect(Stored, lambda frame: frame.ref == "7")
    assert time.monotonic() - start >= 0.9, "80,000 bytes, 30,000 of them at once, 50,000 a second"
    assert alice.of(Slowed) == [Slowed(rate=19, bytes=50_000)], "told once"
    assert server.chat.known_channel("lab").tail == 8


def test_short_posts_do_not_wait_for_long_ones_of_the_address(start_server: StartServer, connect: Connecting) -> None:
    server = start_server(limits=Limits(post_bytes_per_second=1, post_bytes_burst=1, posts_per_second=0))
    alice, bob = connect(server.address, "alice"), connect(server.address, "bob")
    for client in (alice, bob):
        client.request(Join("lab"))
    alice.send(Say("x" * 10_000, "lab"))
    alice.expect(Slowed)
    assert isinstance(bob.request(Say("y" * 1_024, "lab")), Stored)


def test_posts_of_an_address_wait_over_all_names(start_server: StartServer) -> None:
    server = start_server(limits=Limits(posts_per_second=10, posts_burst=10, users_per_address=3))
    with strangers(server, 6) as guests:
        for guest in guests:
            guest.request(Join("lab"))
        start = time.monotonic()
        for guest in guests:
            guest.send(*[Say(f"{n}", "lab", ref=f"{n}") for n in range(10)])
        for guest in guests:
            guest.expect(Stored, lambda frame: frame.ref == "9")
        assert time.monotonic() - start >= 0.9, "60 posts, 30 of them at once, 30 a second"
        assert server.chat.known_channel("lab").tail == 60


def test_other_requests_wait_also_those_without_an_answer(start_server: StartServer, connect: Connecting) -> None:
    """30 guests who sent `seen` without end held others up for seconds."""
    server = start_server(limits=Limits(requests_per_second=40, requests_burst=30))
    alice = connect(server.address, "alice")
    alice.request(Join("lab"))
    start = time.monotonic()
    alice.send(*[Seen(number=1, channel="lab")] * 69, Ping(ref="the end"))
    alice.expect(Pong, lambda frame: frame.ref == "the end")
    assert time.monotonic() - start >= 0.9, "70 requests, 30 of them at once, 40 a second"
    assert not alice.of(Slowed)


@pytest.mark.parametrize("count", [20, 70])
def test_pings_of_devices_are_all_answered_and_wait(start_server: StartServer, mqtt: Mqtt, count: int) -> None:
    """One after the other or as a flood, which is cut within a packet. 150 devices held others up for half a second."""
    server = start_server(limits=Limits(requests_per_second=40, requests_burst=30))
    oven = mqtt(server.address, "oven")
    oven.subscribe("chat/to/oven/error")
    start = time.monotonic()
    pings = encode(PingReq(), V5) * count
    oven.send_bytes(pings[:-1])
    oven.send_bytes(pings[-1:])
    for _ in range(count):
        oven.expect(PingResp)
    assert (time.monotonic() - start >= 0.9) is (count == 70), "30 of them at once, 40 a second"


def test_pings_end_with_their_connection(start_server: StartServer, mqtt: Mqtt) -> None:
    """The name is free at once, although the limit would let them go in 19 seconds."""
    server = start_server(limits=Limits(requests_per_second=10, requests_burst=10))
    oven = mqtt(server.address, "oven")
    oven.send_bytes(encode(PingReq(), V5) * 200)
    oven.expect(PingResp)
    oven.close()
    eventually(lambda: server.chat.directory.find("oven") is None, lambda: "oven is there")


def test_who_connects_again_has_what_is_left(start_server: StartServer, connect: Connecting) -> None:
    server = start_server(limits=Limits(topics_per_minute=5))
    for n in range(5):
        with Json(server.address, "alice") as alice:
            alice.request(Join("lab"))
            assert not refused(alice.request(Topic("lab", f"{n}")))
    alice = connect(server.address, "alice")
    assert refused(alice.request(Topic("lab", "one more")))


def test_what_is_refused_is_not_seen_by_others(start_server: StartServer, connect: Connecting) -> None:
    server = start_server(limits=Limits(topics_per_minute=3, joins_per_minute=2))
    alice, bob = connect(server.address, "alice"), connect(server.address, "bob")
    for client in (alice, bob):
        client.request(Join("lab"))
    for n in range(20):
        alice.request(Topic("lab", f"{n}"))
    for _ in range(10):
        alice.request(Leave("lab"))
        alice.request(Join("lab"))
    bob.request(Ping())
    assert [each.topic for each in bob.of(TopicChanged)] == ["0", "1", "2"]
    assert [each.what for each in bob.of(Presence)] == ["leave"]


def test_people_are_told_in_a_sentence(start_server: StartServer, dial: Callable[..., Text]) -> None:
    server = start_server(limits=Limits(topics_per_minute=1))
    alice = dial(server.address, "alice")
    alice.send("/join lab", "/topic lab one", "/topic lab two")
    alice.expect("! You change topics too often. Try again in 60 seconds.")


# Logins and names


def test_logins_of_an_address_have_a_limit(start_server: StartServer, connect: Connecting, mqtt: Mqtt) -> None:
    """On every door, and also those that fail; connections that have logged in go on."""
    server = start_server(limits=Limits(logins_per_minute=5))
    alice = connect(server.address, "alice")
    wrong = connect(server.address)
    assert wrong.request(Hello(name="alice")).code == "name-taken"
    assert isinstance(wrong.request(Attach(name="alice", token=alice.welcome.token)), Attached)
    assert mqtt(server.address, "oven").connack.reason == Reason.SUCCESS
    late = connect(server.address)
    assert isinstance(late.request(Hello(name="bob")), Welcome)
    for version, reason in ((V5, Reason.CONNECTION_RATE_EXCEEDED), (V311, Reason.SERVER_UNAVAILABLE)):
        assert mqtt(server.address, "more", version=version, refused=True).connack.reason == reason
    answer = connect(server.address).request(Hello(name="carol"))
    assert refused(answer)
    assert answer.error.startswith("Too many logins come from your address. Try again in ")
    assert refused(connect(server.address).request(Attach(name="alice", token=alice.welcome.token)))
    assert mqtt(server.address, "oven2", source="127.0.0.2").connack.reason == Reason.SUCCESS, "another address"
    assert alice.request(Ping()) is not None


def test_new_names_of_an_address_have_a_limit(start_server: StartServer, connect: Connecting, mqtt: Mqtt) -> None:
    server = start_server(limits=Limits(new_names_per_hour=3))
    for name in ("a", "b", "c"):
        with Json(server.address, name):
            pass
    answer = connect(server.address).request(Hello(name="d"))
    assert refused(answer)
    assert "new names" in answer.error
    assert mqtt(server.address, refused=True).connack.reason == Reason.CONNECTION_RATE_EXCEEDED, "a guest's name"
    for name in ("a", "b", "c"):
        assert connect(server.address, name).welcome.name == name, "names that are known do not count"
    assert mqtt(server.address, "d", source="127.0.0.2").connack.reason == Reason.SUCCESS
    assert server.chat.store.account("e") is None


def test_setting_a_password_has_a_limit(start_server: StartServer, connect: Connecting) -> None:
    server = start_server(limits=Limits(registers_per_hour=2))
    alice = connect(server.address, "alice")
    assert isinstance(alice.request(Register("password number 1")), Registered)
    assert isinstance(alice.request(Register("password number 2")), Registered)
    assert refused(alice.request(Register("password number 3")))
    assert isinstance(connect(server.address).request(Hello(name="alice", password="password number 2")), Welcome)


# MQTT


@pytest.mark.parametrize("version", [V5, V311])
def test_live_messages_have_a_limit(start_server: StartServer, mqtt: Mqtt, version: int) -> None:
    server = start_server(limits=Limits(live_per_second=5))
    bob = mqtt(server.address, "bob", version=version)
    bob.subscribe("chat/direct/bob/+")
    alice = mqtt(server.address, "alice", version=version)
    alice.subscribe("chat/to/alice/error")
    alice.send(*[Publish("chat/direct/bob/alice", f"{n}".encode(), 0) for n in range(200)])
    error = body(alice.message("chat/to/alice/error"))
    assert error["code"] == "rate-limited"
    assert error["error"] == "You send live messages too fast. Try again in 1 second."
    alice.ping()
    bob.ping()
    got = [packet for packet in bob.received if isinstance(packet, Publish)]
    assert 5 <= len(got) < 100


def test_a_limit_is_in_the_acknowledgement(start_server: StartServer, mqtt: Mqtt) -> None:
    server = start_server(limits=Limits(new_channels_per_hour=1))
    alice = mqtt(server.address, "alice", version=V5)
    alice.do("say/lab", "the first channel")
    refusal = alice.do("say/den", "the second")
    assert refusal.reason == Reason.QUOTA_EXCEEDED
    assert str(refusal.properties.reason_string).startswith("You have created too many channels. Try again in ")
    assert server.chat.channel("den") is None


def test_wills_have_a_limit(start_server: StartServer, mqtt: Mqtt, connect: Connecting) -> None:
    """A client that connects and vanishes, again and again, is heard as often as the limit allows."""
    server = start_server(limits=Limits(wills_per_minute=3))
    bob = connect(server.address, "bob")
    bob.request(Join("lab"))
    will = Will("chat/from/oven/say/lab", b"lost", 1, False)
    for turn in range(10):
        line = mqtt(server.address, "oven", client_id=f"oven{turn}", will=will)
        line.reset()
        eventually(lambda: server.chat.directory.find("oven") is None, lambda: "oven is there")
    bob.request(Say("the end", "lab"))
    bob.expect(Entry, lambda entry: entry.text == "the end")
    assert [entry.text for entry in bob.of(Entry)] == ["lost"] * 3 + ["the end"]


# Connections


def test_by_default_an_address_has_200_connections(start_server: StartServer, connect: Connecting, mqtt: Mqtt) -> None:
    """A loopback address, too; another address is not concerned."""
    server = start_server(rates=True)
    with ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(Json(server.address))
        assert connect(server.address).expect(Closing).code == "address-full"
        assert mqtt(server.address, "oven", source="127.0.0.2").connack.reason == Reason.SUCCESS


def test_an_address_opens_so_many_connections_a_second(
    start_server: StartServer, connect: Connecting, mqtt: Mqtt
) -> None:
    """A flood of them kept the thread that accepts busy, until others could not connect any more."""
    server = start_server(limits=Limits(connections_per_second=1, connections_burst=3))
    for _ in range(3):
        connect(server.address).close()
    refused = connect(server.address).expect(Closing)
    assert refused.code == "rate-limited"
    assert refused.reason == "Too many connections come from your address. Try again in 1 second."
    assert mqtt(server.address, "oven", source="127.0.0.2").connack.reason == Reason.SUCCESS


def test_the_defaults_of_posts() -> None:
    assert (Limits().posts_per_second, Limits().posts_burst, Limits().connections_per_address) == (20, 40, 200)


def test_a_connect_that_nobody_answers_is_no_login(start_server: StartServer, mqtt: Mqtt) -> None:
    server = start_server(limits=Limits(logins_per_minute=1))
    mqtt(server.address, "alice", version=V5)
    line = mqtt(server.address, connect=False)
    line.send(Connect(version=V5, username="bob", client_id="x"))
    line.until_closed()
    assert server.chat.store.account("bob") is None
