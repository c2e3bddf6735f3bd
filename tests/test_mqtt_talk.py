"""The topic table over a socket, row by row, in both versions: MQTT clients and people in terminals in one room."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from server import Server
from store import StoreError
from tests.bulk import eventually
from tests.conftest import StartServer
from tests.helpers import Json, Text, WatchedStore
from tests.helpers_mqtt import MqttLine, body
from wire import VERSION
from wire.frames import BridgeStatus, Entry, Error, Join, Leave, Msg, Register, Say
from wire.limits import Limits
from wire.mqtt_codes import V5, Reason
from wire.mqtt_packets import Disconnect, PubComp, Publish, PubRec, PubRel, Subscribe, Subscription
from wire.mqtt_properties import Properties

Mqtt = Callable[..., MqttLine]
Connecting = Callable[..., Json]


@pytest.fixture
def alice(server: Server, mqtt: Mqtt, version: int) -> MqttLine:
    """Somebody by MQTT who reads all that is hers."""
    line = mqtt(server.address, "alice", version=version)
    line.subscribe("chat/to/alice/#", "chat/direct/alice/+")
    return line


# Channels


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_saying_joins_and_is_heard(server: Server, alice: MqttLine, connect: Connecting, qos: int) -> None:
    bob = connect(server.address, "bob")
    bob.request(Join("lab"))
    alice.do("say/lab", "hello", qos)
    assert bob.expect(Entry).text == "hello"
    assert alice.do("say/lab", "with QoS 1").reason == 0
    assert [each.name for each in server.chat.members(server.chat.known_channel("lab"))] == ["alice", "bob"]


def test_what_is_said_by_all_is_heard_by_all(
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
    """And leaving a channel does not end a subscription to it."""
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
    """Also when it was another connection of the same user that has left, and when all comes in one piece."""
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
    alice.do("register", '{"password": "secret"}')
    connect(server.address, "alice", password="secret").request(Leave("lab"))
    assert alice.do("say/lab", "and again").reason == 0
    alice.hear("lab", "and again")
    assert alice.texts("lab") == ["0", "1", "2", "back", "before", "after", "and again"]


def test_a_channel_that_is_made_later_is_heard_from_its_first_entry(server: Server, alice: MqttLine) -> None:
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
        bob.request(Register("secret"))
    watch = alice.subscribe("chat/presence/Bob")
    assert watch == (1,)
    alice.message("chat/presence/Bob", lambda packet: not body(packet)["online"])
    known = alice.ask("lookup/Bob")
    assert (known["online"], known["registered"]) == (False, True)
    eventually(lambda: bool(alice.ask("lookup/Bob").get("seen", 0) > 1_600_000_000_000), lambda: "never seen")
    alice.do("lookup/nobody")
    assert alice.error()["code"] == "no-such-user"


def test_how_the_server_is(server: Server, alice: MqttLine) -> None:
    status = alice.ask("status")
    assert (status["version"], status["users"], status["connections"], status["channels"]) == (VERSION, 1, 1, 0)
    assert "bridge" not in status
    server.chat.bridge = lambda: BridgeStatus("mosquitto:1883", False, 7, error="Nobody listens there.")
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


# Direct messages


def test_direct_messages_to_and_from_a_terminal(server: Server, alice: MqttLine, dial: Callable[..., Text]) -> None:
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
def test_what_was_kept_comes_once(server: Server, mqtt: Mqtt, connect: Connecting, version: int, qos: int) -> None:
    """With a clean session, too: who a message is for is a name, and not a session."""
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


def test_what_was_not_acknowledged_comes_again(server: Server, mqtt: Mqtt, connect: Connecting, version: int) -> None:
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
    assert server.chat.store.cursor(server.chat.direct("alice", "bob").row, "alice") == 1


def test_straight_to_another_client(server: Server, mqtt: Mqtt, alice: MqttLine, version: int) -> None:
    """Live, any bytes, with what belongs to them, and to nobody else."""
    bob, carol = mqtt(server.address, "bob"), mqtt(server.address, "carol")
    for line in (bob, carol):
        line.subscribe("#")
    sent: dict[str, Any] = {}
    if version == V5:
        sent = {"content_type": "image/png", "response_topic": "chat/direct/alice/bob", "correlation_data": b"7"}
        sent["user_property"] = (("a", "b"),)
    for qos in (0, 1, 2):
        alice.publish("chat/direct/bob/alice", b"\x00\xff", qos, **sent)
        got = bob.message("chat/direct/bob/alice")
        assert (got.payload, got.properties) == (b"\x00\xff", Properties(**sent))
    bob.publish("chat/direct/alice/bob", b"back")
    assert alice.message("chat/direct/alice/bob").payload == b"back"
    alice.publish("chat/direct/nobody/alice", b"lost")
    alice.do("say/lab", "the end")
    carol.hear("lab", "the end")
    assert not [packet for packet in carol.messages() if "direct" in packet.topic]


def test_straight_and_exactly_once(server: Server, mqtt: Mqtt, alice: MqttLine) -> None:
    bob = mqtt(server.address, "bob")
    bob.subscribe("chat/direct/bob/+")
    for dup in (False, True, True):
        alice.send(Publish("chat/direct/bob/alice", b"once", 2, dup=dup, packet_id=9))
        alice.expect(PubRec)
    alice.send(PubRel(9))
    alice.expect(PubComp)
    alice.publish("chat/direct/bob/alice", b"the end")
    bob.message("", lambda packet: packet.payload == b"the end")
    assert [packet.payload for packet in bob.messages()] == [b"once", b"the end"]


# Receipts, errors, answers where they are wanted


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_receipts(alice: MqttLine, qos: int) -> None:
    for n in range(1, 4):
        alice.do("say/lab", f"plain {n}", qos)
        stored = body(alice.message("chat/to/alice/stored"))
        assert {key: stored[key] for key in ("channel", "number")} == {"channel": "lab", "number": n}
        assert not str(stored.get("id", "")).startswith("/") or qos == 2
    for _ in range(2):
        alice.do("say/lab", '{"text": "once", "id": "mine"}', qos)
        stored = body(alice.message("chat/to/alice/stored"))
        assert (stored["id"], stored["number"]) == ("mine", 4), "the same number for the same id"


def test_errors_on_both_versions(alice: MqttLine, version: int) -> None:
    for what, payload, code, reason in (
        ("dance", b"", "unknown-command", Reason.TOPIC_NAME_INVALID),
        ("say/a b", b"x", "bad-name", Reason.TOPIC_NAME_INVALID),
        ("say/lab", b"\xff", "bad-frame", Reason.PAYLOAD_FORMAT_INVALID),
        ("say/lab", b"", "empty", Reason.IMPLEMENTATION_SPECIFIC_ERROR),
        ("say/lab", b"x" * 20_000, "too-long", Reason.QUOTA_EXCEEDED),
        ("msg/bob", b"  ", "empty", Reason.IMPLEMENTATION_SPECIFIC_ERROR),
        ("leave/lab2", b"", "no-such-channel", Reason.IMPLEMENTATION_SPECIFIC_ERROR),
        ("topic/lab3", b"", "no-such-channel", Reason.IMPLEMENTATION_SPECIFIC_ERROR),
    ):
        for qos in (0, 1, 2):
            answer = alice.do(what, payload, qos)
            error = alice.error()
            assert (error["code"], error["topic"]) == (code, f"chat/from/alice/{what}")
            if qos and version == V5:
                assert answer.reason == reason
                assert answer.properties.reason_string == error["error"]
            else:
                assert answer.reason == 0
    alice.do("say/lab", "fine")
    assert body(alice.message("chat/to/alice/stored"))["number"] == 1


def test_who_wants_no_words_gets_none(server: Server, mqtt: Mqtt) -> None:
    """Request Problem Information ([MQTT-3.1.2-29]), and a Maximum Packet Size that has no room for them."""
    for properties in (Properties(request_problem_information=0), Properties(maximum_packet_size=30)):
        line = mqtt(server.address, "alice", properties=properties)
        answer = line.do("dance")
        assert (answer.reason, answer.properties) == (Reason.TOPIC_NAME_INVALID, Properties())


def test_the_answer_goes_where_the_response_topic_says(server: Server, mqtt: Mqtt) -> None:
    alice = mqtt(server.address, "alice")
    alice.subscribe("chat/to/alice/#")
    for n, (what, payload) in enumerate(
        (("lookup/alice", ""), ("history/lab", ""), ("who", ""), ("channels", ""), ("say/lab", "x"), ("lookup/zoe", ""))
    ):
        alice.do("join/lab")
        alice.do(what, payload, response_topic=f"chat/to/alice/rpc/{n}", correlation_data=b"\x00\xff")
        answer = alice.message(f"chat/to/alice/rpc/{n}")
        assert answer.properties.correlation_data == b"\x00\xff"
        assert body(answer)
    alice.do("say/a b", "x", response_topic="chat/to/alice/rpc/error", correlation_data=b"7")
    assert body(alice.message("chat/to/alice/rpc/error"))["code"] == "bad-name"
    for elsewhere in ("chat/to/bob/rpc", "chat/channels/lab", "chat/direct/bob/alice", "chat/to/alicex/rpc"):
        alice.do("lookup/alice", response_topic=elsewhere, correlation_data=b"8")
        assert alice.message("chat/to/alice/lookup/alice").properties.correlation_data == b"8"
    quiet = mqtt(server.address, "quiet")
    quiet.subscribe("chat/to/quiet/error")
    quiet.do("lookup/zoe", response_topic="chat/to/quiet/rpc")
    assert quiet.error()["code"] == "no-such-user", "who does not listen there is told in the usual place"


def test_one_client_may_ask_and_another_of_the_same_user_listen(server: Server, mqtt: Mqtt, version: int) -> None:
    """As with mosquitto_pub and mosquitto_sub: what is below `chat/to/<me>/` is for the user, not for a connection."""
    mqtt(server.address, "dev").do("register", '{"password": "secret"}')
    more = {"password": b"secret", "version": version}
    listener = mqtt(server.address, "dev", client_id="sub", **more)
    listener.subscribe("chat/to/dev/#")
    asker = mqtt(server.address, "Dev", client_id="pub", **more)
    other = mqtt(server.address, "other")
    other.subscribe("#")
    for what in ("join/lab", "who", "channels", "lookup/DEV", "topic/lab", "leave/lab", "register"):
        asker.do(what)
        assert body(listener.message(f"chat/to/dev/{what}"))
    for qos in (0, 1, 2):
        for text in ("plain", '{"text": "with an id", "id": "7"}'):
            asker.do("say/lab", text, qos)
            assert body(listener.message("chat/to/dev/stored"))["channel"] == "lab"
    asker.do("say/a b", "x")
    assert listener.error()["code"] == "bad-name"
    asker.subscribe("chat/to/Dev/who")
    asker.do("who")
    asker.message("chat/to/Dev/who")
    listener.message("chat/to/dev/who")
    asker.ping()
    assert {packet.topic for packet in asker.messages()} == {"chat/to/Dev/who"}
    assert not [packet for packet in other.messages() if "/to/" in packet.topic]


def test_nobody_is_sent_what_they_did_not_subscribe_to(server: Server, mqtt: Mqtt, version: int) -> None:
    deaf = mqtt(server.address, "deaf", version=version)
    other = mqtt(server.address, "other")
    other.do("msg/deaf", "psst")
    deaf.do("say/lab", "hello")
    for what in ("join/lab", "who", "channels", "lookup/other", "history/lab", "dance", "register"):
        deaf.do(what)
    other.publish("chat/direct/deaf/other", "live")
    deaf.ping()
    assert deaf.messages() == []


def test_what_could_not_be_stored_is_not_acknowledged(
    start_server: StartServer, stores: list[WatchedStore], mqtt: Mqtt, version: int
) -> None:
    """MQTT 5 is told; 3.1.1 has no word for it, so the connection ends, and the client sends it again."""
    server = start_server()
    listener = mqtt(server.address, "listener")
    listener.subscribe("chat/channels/lab")
    alice = mqtt(server.address, "alice", version=version)
    alice.do("say/lab", "one")

    def full(method: str) -> None:
        if method == "append":
            raise StoreError("the disk is full")

    stores[-1].before = full
    for qos in (1, 2):
        packet_id = alice.fresh_id()
        alice.send(Publish("chat/from/alice/say/lab", b"lost?", qos, packet_id=packet_id))
        if version == V5:
            assert alice.settle(packet_id, qos).reason == Reason.IMPLEMENTATION_SPECIFIC_ERROR
        else:
            assert alice.until_closed() == []
            alice = mqtt(server.address, "alice", version=version)
    stores[-1].before = None
    alice.do("say/lab", "two")
    listener.hear("lab", "two")
    assert listener.texts("lab") == ["one", "two"]


def test_other_trouble_of_the_store_ends_the_connection_with_a_word(
    start_server: StartServer, stores: list[WatchedStore], mqtt: Mqtt, version: int
) -> None:
    server = start_server()
    alice = mqtt(server.address, "alice", version=version)
    alice.ping()

    def broken(method: str) -> None:
        if method in ("memberships", "join", "drop_client"):
            raise StoreError("the disk is full")

    stores[-1].before = broken
    if version == V5:
        assert alice.do("say/lab", "x").reason == Reason.IMPLEMENTATION_SPECIFIC_ERROR
    alice.send(Subscribe(1, (Subscription("#"),)))
    rest = alice.until_closed()
    if version == V5:
        assert isinstance(rest[-1], Disconnect)
        assert rest[-1].reason == Reason.UNSPECIFIED_ERROR
        assert "the disk is full" in (rest[-1].properties.reason_string or "")
    stores[-1].before = None
    mqtt(server.address, "alice", version=version).do("say/lab", "x")


# QoS 2


def test_qos_2_is_exactly_once(server: Server, alice: MqttLine, mqtt: Mqtt, version: int) -> None:
    listener = mqtt(server.address, "listener")
    listener.subscribe("chat/channels/lab")
    for dup in (False, True, True):
        alice.send(Publish("chat/from/alice/say/lab", b"once", 2, dup=dup, packet_id=5))
        alice.expect(PubRec)
    for _ in range(2):
        alice.send(PubRel(5))
        alice.expect(PubComp)
    alice.publish("chat/from/alice/say/lab", b"another with the same identifier", 2)
    alice.send(Publish("chat/from/alice/say/lab", b"the end", 2, packet_id=5))
    alice.settle(5, 2)
    listener.hear("lab", "the end")
    assert listener.texts("lab") == ["once", "another with the same identifier", "the end"]
    assert all("id" not in body(packet) for packet in listener.messages()), "the server's own ids are nobody's business"


def test_qos_2_over_a_lost_connection(server: Server, mqtt: Mqtt, version: int) -> None:
    keep: dict[str, Any] = {"clean": False, "version": version}
    if version == V5:
        keep["properties"] = Properties(session_expiry_interval=100)
    first = mqtt(server.address, "alice", **keep)
    first.send(Publish("chat/from/alice/say/lab", b"once", 2, packet_id=5))
    first.expect(PubRec)
    first.reset()
    second = mqtt(server.address, "alice", **keep)
    assert second.connack.session_present
    second.send(Publish("chat/from/alice/say/lab", b"once", 2, dup=True, packet_id=5))
    second.settle(5, 2)
    second.disconnect()
    third = mqtt(server.address, "alice", **(keep | {"clean": True}))
    third.send(Publish("chat/from/alice/say/lab", b"twice", 2, packet_id=5))
    third.expect(PubRec)
    third.reset()
    fourth = mqtt(server.address, "alice", **(keep | {"clean": True}))
    fourth.send(Publish("chat/from/alice/say/lab", b"a clean start knows no identifiers", 2, packet_id=5))
    fourth.settle(5, 2)
    assert [entry.text for entry in server.chat.store.read(server.chat.known_channel("lab").row, 0, 10)] == [
        "once", "twice", "a clean start knows no identifiers",
    ]  # fmt: skip


def test_qos_2_of_clients_with_similar_ids(server: Server, mqtt: Mqtt) -> None:
    """One that ends its session does not take another's identifiers along."""
    mqtt(server.address, "alice").do("register", '{"password": "secret"}')
    keep = Properties(session_expiry_interval=100)
    long = mqtt(server.address, "alice", client_id="a/b", password=b"secret", clean=False, properties=keep)
    long.send(Publish("chat/from/alice/say/lab", b"once", 2, packet_id=5))
    long.expect(PubRec)
    mqtt(server.address, "alice", client_id="a", password=b"secret").disconnect()
    long.send(Publish("chat/from/alice/say/lab", b"once", 2, dup=True, packet_id=5))
    long.settle(5, 2)
    assert server.chat.known_channel("lab").tail == 1


# Subscriptions


def test_wildcards_show_what_one_may_read(server: Server, mqtt: Mqtt, alice: MqttLine, connect: Connecting) -> None:
    everything = mqtt(server.address, "eve")
    assert everything.subscribe("#", "+/+/+/+/+", "chat/to/#", "chat/+/+/msg/+") == (1, 1, 1, 1)
    alice.do("say/lab", "in public")
    alice.do("msg/bob", "in private")
    alice.publish("chat/direct/bob/alice", "straight")
    connect(server.address, "bob").request(Msg("eve", "for eve"))
    assert body(everything.message("chat/to/eve/msg/bob"))["text"] == "for eve"
    everything.hear("lab", "in public")
    topics = {packet.topic for packet in everything.messages()}
    assert topics == {
        "chat/server", "chat/presence/eve", "chat/presence/alice", "chat/presence/bob", "chat/channels/lab",
        "chat/channels/lab/text", "chat/to/eve/msg/bob",
    }  # fmt: skip
    assert not [packet for packet in everything.messages() if b"private" in packet.payload]


def test_overlapping_subscriptions_are_one(alice: MqttLine) -> None:
    alice.subscribe("chat/channels/+", "chat/channels/lab", "chat/#")
    alice.do("say/lab", "once")
    alice.hear("lab", "once")
    alice.do("say/lab", "the end")
    alice.hear("lab", "the end")
    assert alice.texts("lab") == ["once", "the end"]


def test_what_is_granted_and_refused(server: Server, mqtt: Mqtt, version: int) -> None:
    alice = mqtt(server.address, "alice", version=version)
    reasons = alice.subscribe(
        Subscription("chat/channels/lab", 0), Subscription("chat/channels/lab", 2),
        "chat/to/bob/#", "$share/g/chat/channels/lab", "$SYS/#", "chat/from/alice/#",
    )  # fmt: skip
    if version == V5:
        assert reasons == (
            0, 1, Reason.NOT_AUTHORIZED, Reason.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED, 1, Reason.NOT_AUTHORIZED
        )  # fmt: skip
        assert alice.unsubscribe("chat/channels/lab", "chat/channels/lab", "chat/to/bob/#") == (
            0, Reason.NO_SUBSCRIPTION_EXISTED, Reason.NO_SUBSCRIPTION_EXISTED,
        )  # fmt: skip
    else:
        assert reasons == (0, 1, 0x80, 0x80, 1, 0x80)


def test_subscription_identifiers_are_not_available(server: Server, mqtt: Mqtt) -> None:
    alice = mqtt(server.address, "alice")
    alice.send(Subscribe(1, (Subscription("#"),), Properties(subscription_identifier=(7,))))
    assert alice.expect(Disconnect).reason == Reason.SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED


def test_a_large_subscribe_is_quick(server: Server, mqtt: Mqtt, version: int) -> None:
    """A packet of a megabyte: its filters are counted, and those over the limit cost next to nothing."""
    alice = mqtt(server.address, "alice", version=version)
    filters = [Subscription(f"{n:x}", 0) for n in range(120_000)]
    reasons = alice.subscribe(*filters)
    assert reasons.count(0) == 5_000
    assert len(reasons) == 120_000
    many = [f"{n:x}" for n in range(120_000)]
    alice.unsubscribe(*many[4_000:])
    alice.do("say/lab", "still here")


# Retained messages


def test_presence_and_server_state_are_retained(server: Server, mqtt: Mqtt, connect: Connecting, version: int) -> None:
    connect(server.address, "bob")
    alice = mqtt(server.address, "alice", version=version)
    alice.subscribe("chat/presence/+", "chat/server", qos=0)
    for name, door in (("alice", "mqtt"), ("bob", "socket")):
        kept = alice.message(f"chat/presence/{name}")
        assert kept.retain
        assert (body(kept)["online"], body(kept)["doors"]) == (True, [door])
    state = alice.message("chat/server")
    assert (state.payload, state.retain) == (b"online", True)
    carol = connect(server.address, "carol")
    news = alice.message("chat/presence/carol")
    assert not news.retain, "what is news is not sent as retained"
    carol.close()
    assert body(alice.message("chat/presence/carol"))["online"] is False
    alice.subscribe("chat/presence/carol", "chat/presence/nobody", "chat/presence/CAROL")
    gone = alice.message("chat/presence/carol")
    assert gone.retain
    assert body(gone)["online"] is False
    alice.ping()
    assert not [packet for packet in alice.inbox if isinstance(packet, Publish)]


def test_how_retained_messages_are_wanted(server: Server, mqtt: Mqtt) -> None:
    """Retain Handling and Retain As Published (5 §3.8.3.1)."""
    alice = mqtt(server.address, "alice")
    server_state = "chat/server"
    for handling, expected in ((0, 1), (0, 2), (1, 2), (2, 2)):
        alice.subscribe(Subscription(server_state, 1, retain_handling=handling))
        alice.ping()
        assert len(alice.messages(server_state)) == expected
    alice.unsubscribe(server_state)
    alice.subscribe(Subscription(server_state, 1, retain_handling=1))
    alice.ping()
    assert len(alice.messages(server_state)) == 3
    alice.subscribe(Subscription("chat/presence/+", 0, retain_as_published=True, retain_handling=2))
    mqtt(server.address, "bob")
    assert alice.message("chat/presence/bob").retain


def test_what_clients_want_retained_is_not(server: Server, mqtt: Mqtt, version: int) -> None:
    alice = mqtt(server.address, "alice", version=version)
    for topic in ("chat/from/alice/say/lab", "chat/direct/bob/alice"):
        alice.send(Publish(topic, b"kept?", 1, retain=True, packet_id=3))
        alice.settle(3, 1)
    bob = mqtt(server.address, "bob", version=version)
    bob.subscribe("#")
    alice.do("say/lab", "news")
    assert not bob.hear("lab", "news").retain
    bob.ping()
    assert {packet.topic.split("/")[1] for packet in bob.messages() if packet.retain} == {"server", "presence"}
    assert bob.texts("lab") == ["news"]


def test_presence_ends_as_it_is(server: Server, mqtt: Mqtt) -> None:
    """Whoever comes and goes quickly: the last word is true."""
    watcher = mqtt(server.address, "watcher")
    watcher.subscribe("chat/presence/alice")
    for _ in range(20):
        mqtt(server.address, "alice").reset()
    eventually(lambda: server.chat.directory.find("alice") is None, lambda: "alice is still there")
    mqtt(server.address, "bob").publish("chat/direct/watcher/bob")
    watcher.ping()
    seen = [body(packet)["online"] for packet in watcher.messages("chat/presence/alice")]
    assert not seen[-1]


# What goes together


def test_acknowledgements_keep_their_order(server: Server, alice: MqttLine, version: int) -> None:
    """[MQTT-4.6.0-2], whatever the packets ask."""
    asks = [("say/lab", b"x"), ("msg/bob", b"y"), ("say/hall", b"z"), ("msg/bob", b""), ("say/lab", b"\xff"),
            ("who", b""), ("dance", b""), ("say/lab", b"1"), ("join/attic", b""), ("say/lab", b"")]  # fmt: skip
    for _ in range(5):
        ids = [alice.fresh_id() for _ in range(20) for _ in asks]
        rows = asks * 20
        before = len(alice.received)
        alice.send(
            *[
                Publish(f"chat/from/alice/{what}", payload, 1, packet_id=id)
                for id, (what, payload) in zip(ids, rows, strict=True)
            ]
        )
        alice.settle(ids[-1], 1)
        answered = [each.packet_id for each in alice.received[before:] if type(each).__name__ == "PubAck"]  # type: ignore[union-attr]
        assert answered == ids


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


def test_who_posts_too_fast_is_slowed(start_server: StartServer, mqtt: Mqtt) -> None:
    server = start_server(limits=Limits(posts_per_second=50))
    alice = mqtt(server.address, "alice")
    alice.subscribe("chat/to/alice/slowed")
    alice.send(*[Publish("chat/from/alice/say/lab", b"x", 0) for _ in range(80)])
    assert body(alice.message("chat/to/alice/slowed")) == {"rate": 50}
    alice.do("say/lab", "the last")
    assert server.chat.known_channel("lab").tail == 81


def test_json_clients_get_errors_as_before(server: Server, connect: Connecting) -> None:
    """The id of QoS 2 is the server's own."""
    assert isinstance(connect(server.address, "bob").request(Join("lab")), object)
    line = connect(server.address, "carol")
    line.send_bytes(json.dumps({"op": "say", "text": "x", "channel": "lab", "id": "/c/5", "ref": 1}).encode() + b"\n")
    assert line.expect(Error).code == "bad-frame"
