"""Commands and private messages over a socket, in both versions of MQTT, with people in terminals in the same rooms."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from channels import Origin
from server import Server
from tests.support.clients import Json, Text
from tests.support.fixtures import StartServer
from tests.support.mqtt import MqttLine, body
from tests.support.waiting import eventually
from wire import VERSION
from wire.frames import BridgeStatus, Entry, Join, Leave, Msg, Register, Say
from wire.limits import Limits
from wire.mqtt import Disconnect, Properties, Publish, Reason

Mqtt = Callable[..., MqttLine]
Connecting = Callable[..., Json]


# Channels


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_saying_joins_and_is_heard(server: Server, alice: MqttLine, connect: Connecting, qos: int) -> None:
    bob = connect(server.address, "bob")
    bob.request(Join("lab"))
    alice.do("say/lab", "hello", qos)
    assert bob.expect(Entry).text == "hello"
    assert alice.do("say/lab", "with QoS 1").reason == 0
    assert [each.name for each in server.chat.members(server.chat.known_channel("lab"))] == ["alice", "bob"]


def test_all_clients_hear_all_posts(
    server: Server, mqtt: Mqtt, connect: Connecting, dial: Callable[..., Text], version: int
) -> None:
    listener = mqtt(server.address, "listener", version=version)
    listener.subscribe("chat/channels/lab", "chat/channels/+/text")
    nc, program = dial(server.address, "nick"), connect(server.address, "pia")
    nc.send("/join lab", "from nc: with a colon")
    nc.expect("from nc")
    program.request(Join("lab"))
    program.request(Say("from JSON\nin two lines", "lab", "id-1"))
    device = mqtt(server.address, "device", version=version)
    device.do("say/lab", "21.5 °C")
    device.do("say/lab", '{"text": "with an id", "id": "id-2"}')
    device.do("say/lab", '{"temperature": 21.5}')
    nc.expect('[lab] device: {"temperature": 21.5}')
    last = listener.message("chat/channels/lab/text", lambda packet: b"temperature" in packet.payload)
    assert last.payload == b'device: {"temperature": 21.5}'
    entries = [body(packet) for packet in listener.messages("chat/channels/lab")]
    assert [(each["number"], each["sender"], each["text"], each.get("id")) for each in entries] == [
        (1, "nick", "from nc: with a colon", None),
        (2, "pia", "from JSON\nin two lines", "id-1"),
        (3, "device", "21.5 °C", None),
        (4, "device", "with an id", "id-2"),
        (5, "device", '{"temperature": 21.5}', None),
    ]
    assert listener.messages("chat/channels/lab/text")[1].payload == b"pia: from JSON\n    in two lines"


def test_listening_is_not_joining(server: Server, alice: MqttLine, connect: Connecting) -> None:
    """A subscription makes nobody a member, and leaving a channel does not end a subscription to it."""
    bob = connect(server.address, "bob")
    bob.request(Join("lab"))
    alice.subscribe("chat/channels/lab")
    assert [each["name"] for each in alice.ask("who/lab")["members"]] == ["bob"]
    assert alice.ask("join/lab") == {"channel": "lab", "tail": 0, "members": 2}
    assert alice.ask("leave/lab") == {"channel": "lab"}
    bob.send(Say("are you there?", "lab"))
    alice.hear("lab", "are you there?")
    alice.unsubscribe("chat/channels/lab")
    bob.request(Say("and now?", "lab"))
    bob.request(Msg("alice", "what about you?"))
    alice.message("chat/to/alice/msg/bob")
    assert alice.texts("lab") == ["are you there?"]


def test_saying_joins_again_after_leaving(server: Server, alice: MqttLine, connect: Connecting) -> None:
    """Also if another connection of the user has left the channel, and if all packets come in one piece."""
    alice.subscribe("chat/channels/lab")
    for n in range(3):
        alice.do("say/lab", f"{n}")
    alice.ask("leave/lab")
    assert alice.do("say/lab", "back").reason == 0
    assert alice.ask("leave/lab") == {"channel": "lab"}
    one, other, third = alice.fresh_id(), alice.fresh_id(), alice.fresh_id()
    alice.send(
        Publish("chat/from/alice/say/lab", b"before", 1, packet_id=one),
        Publish("chat/from/alice/leave/lab", b"", 1, packet_id=other),
        Publish("chat/from/alice/say/lab", b"after", 1, packet_id=third),
    )
    for packet_id in (one, other, third):
        assert alice.settle(packet_id, 1).reason == 0
    alice.do("register", '{"password": "secret-word"}')
    connect(server.address, "alice", password="secret-word").request(Leave("lab"))
    assert alice.do("say/lab", "and again").reason == 0
    alice.hear("lab", "and again")
    assert alice.texts("lab") == ["0", "1", "2", "back", "before", "after", "and again"]


def test_a_subscription_gets_a_new_channel_from_its_first_entry(server: Server, alice: MqttLine) -> None:
    alice.subscribe("chat/channels/+", "chat/channels/Attic")
    for n in range(5):
        alice.do(f"say/channel{n}", "first")
        alice.hear(f"channel{n}", "first")
    alice.do("say/Attic", "cold")
    alice.hear("Attic", "cold")
    alice.do("say/ATTIC", "the same one")
    alice.hear("Attic", "the same one")


def test_channels_and_topic(server: Server, alice: MqttLine, connect: Connecting) -> None:
    connect(server.address, "bob").request(Join("hall"))
    alice.do("say/lab", "hello")
    assert alice.ask("topic/lab") == {"channel": "lab", "topic": ""}
    assert alice.ask("topic/lab", "Soldering tonight")["topic"] == "Soldering tonight"
    assert alice.ask("channels")["channels"] == [
        {"name": "hall", "members": 1, "tail": 0},
        {"name": "lab", "members": 1, "tail": 1, "topic": "Soldering tonight", "joined": True},
    ]
    alice.do("topic/hall", "mine")
    assert alice.error()["code"] == "not-a-member"


def test_who_and_lookup(server: Server, alice: MqttLine, connect: Connecting) -> None:
    with connect(server.address, "Bob") as bob:
        bob.request(Join("lab"))
        assert [each["name"] for each in alice.ask("who")["members"]] == ["alice", "Bob"]
        known = alice.ask("lookup/bob")
        assert (known["name"], known["online"], known["doors"], known["address"], known["channels"]) == (
            "Bob", True, ["socket"], "127.0.0.1", ["lab"],
        )  # fmt: skip
        assert alice.ask("lookup/alice")["doors"] == ["mqtt"]
        bob.request(Register("secret-word"))
    watch = alice.subscribe("chat/presence/Bob")
    assert watch == (1,)
    alice.message("chat/presence/Bob", lambda packet: not body(packet)["online"])
    known = alice.ask("lookup/Bob")
    assert (known["online"], known["registered"]) == (False, True)
    eventually(lambda: bool(alice.ask("lookup/Bob").get("seen", 0) > 1_600_000_000_000), lambda: "never seen")
    alice.do("lookup/nobody")
    assert alice.error()["code"] == "no-such-user"


def test_status_of_the_server(server: Server, alice: MqttLine) -> None:
    status = alice.ask("status")
    assert (status["version"], status["users"], status["connections"], status["channels"]) == (VERSION, 1, 1, 0)
    assert "bridge" not in status
    server.chat.mirror_status = lambda: BridgeStatus("mosquitto:1883", False, 7, error="Nobody listens there.")
    assert alice.ask("status")["bridge"] == {
        "broker": "mosquitto:1883", "connected": False, "since": 7, "error": "Nobody listens there.",
    }  # fmt: skip


def test_history(server: Server, alice: MqttLine, connect: Connecting) -> None:
    for n in range(1, 61):
        alice.do("say/lab", f"{n}", 0)
    connect(server.address, "bob").request(Msg("alice", "psst"))

    def numbers(what: str, payload: str = "") -> list[int]:
        return [entry["number"] for entry in alice.ask(what, payload)["entries"]]

    assert numbers("history/lab") == list(range(11, 61))
    assert numbers("history/lab", '{"since": 57}') == [58, 59, 60]
    assert numbers("history/lab", '{"since": 10, "limit": 3}') == [11, 12, 13]
    assert numbers("history/LAB", '{"before": 4}') == [1, 2, 3]
    assert numbers("history/lab", '{"since": 9007199254740991}') == []
    assert numbers("history/lab", '{"limit": 1000000}') == list(range(1, 61))
    assert alice.ask("history/@bob")["entries"][0]["text"] == "psst"
    for what, payload, code in (
        ("history/nowhere", "", "no-such-channel"),
        ("history/@nobody", "", "no-such-user"),
        ("history/lab", '{"since": 99999999999999999999999}', "bad-frame"),
        ("history/lab", '{"limit": -1}', "bad-frame"),
    ):
        alice.do(what, payload)
        assert alice.error()["code"] == code


# Private messages


def test_private_messages_to_and_from_a_terminal(server: Server, alice: MqttLine, dial: Callable[..., Text]) -> None:
    nick = dial(server.address, "nick")
    alice.do("msg/nick", "psst")
    nick.expect("alice -> nick: psst")
    stored = body(alice.message("chat/to/alice/stored"))
    assert (stored["user"], stored["number"]) == ("nick", 1)
    assert body(alice.message("chat/to/alice/msg/nick"))["text"] == "psst"
    nick.send("/msg alice yes?")
    assert body(alice.message("chat/to/alice/msg/nick"))["text"] == "yes?"
    assert body(alice.message("chat/to/alice/delivered"))["user"] == "nick"
    alice.do("msg/alice", "remember the milk")
    assert body(alice.message("chat/to/alice/msg/alice"))["text"] == "remember the milk"


@pytest.mark.parametrize("qos", [0, 1])
def test_a_stored_private_message_comes_once(
    server: Server, mqtt: Mqtt, connect: Connecting, version: int, qos: int
) -> None:
    """With a clean session, too: a private message is for a user, not for a session."""
    sender = connect(server.address, "bob")
    for n in range(5):
        sender.request(Msg("alice", f"for later {n}"))
    for expected in (5, 0):
        alice = mqtt(server.address, "alice", version=version)
        alice.subscribe("chat/to/alice/msg/+", qos=qos)
        for n in range(expected):
            assert body(alice.message("chat/to/alice/msg/bob"))["text"] == f"for later {n}"
        alice.ping()
        assert len(alice.messages()) == expected
        assert {packet.qos for packet in alice.messages()} <= {qos}
        alice.ping()
        alice.disconnect()


def test_an_unacknowledged_private_message_comes_again(
    server: Server, mqtt: Mqtt, connect: Connecting, version: int
) -> None:
    connect(server.address, "bob").request(Msg("alice", "psst"))
    for _ in range(3):
        alice = mqtt(server.address, "alice", version=version, acknowledge=False)
        alice.subscribe("chat/to/alice/msg/+")
        alice.message("chat/to/alice/msg/bob")
        alice.reset()
    alice = mqtt(server.address, "alice", version=version)
    alice.subscribe("chat/to/alice/msg/+")
    alice.message("chat/to/alice/msg/bob")
    alice.disconnect()
    assert server.chat.store.cursor(server.chat.private_log("alice", "bob", Origin("alice", None)).row, "alice") == 1


# Topics and the rate limit


def test_topic_aliases(server: Server, mqtt: Mqtt) -> None:
    alice = mqtt(server.address, "alice")
    listener = mqtt(server.address, "listener")
    listener.subscribe("chat/channels/+")
    alice.publish("chat/from/alice/say/lab", "one", topic_alias=1)
    alice.publish("", "two", topic_alias=1)
    alice.publish("chat/from/alice/say/hall", "three", topic_alias=1)
    alice.publish("", "four", topic_alias=1)
    listener.hear("hall", "four")
    assert (listener.texts("lab"), listener.texts("hall")) == (["one", "two"], ["three", "four"])
    alice.send(Publish("", b"x", properties=Properties(topic_alias=65)))
    assert alice.expect(Disconnect).reason == Reason.TOPIC_ALIAS_INVALID


def test_another_root(start_server: StartServer, mqtt: Mqtt) -> None:
    server = start_server(root="site/7")
    alice = mqtt(server.address, "alice")
    assert alice.subscribe("site/7/channels/+", "site/7/to/bob/#") == (1, Reason.NOT_AUTHORIZED)
    alice.publish("site/7/from/alice/say/lab", "hello")
    assert body(alice.message("site/7/channels/lab"))["text"] == "hello"
    assert alice.do("say/lab", "x").reason == Reason.NOT_AUTHORIZED


def test_a_client_that_exceeds_the_rate_limit_is_slowed(start_server: StartServer, mqtt: Mqtt) -> None:
    server = start_server(limits=Limits(posts_per_second=50, posts_burst=50))
    alice = mqtt(server.address, "alice")
    alice.subscribe("chat/to/alice/slowed")
    alice.send(*[Publish("chat/from/alice/say/lab", b"x", 0) for _ in range(80)])
    assert body(alice.message("chat/to/alice/slowed")) == {"rate": 50}
    alice.do("say/lab", "the last")
    assert server.chat.known_channel("lab").tail == 81
