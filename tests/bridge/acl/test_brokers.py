"""The printed access rules in real brokers: what clients may write and read with them."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bridge.acl import broker_rules
from tests.support.brokers.access import BROKERS, CLIENTS, PASSWORDS, READS, WRITES, Running
from tests.support.mqtt import MqttLine
from tests.support.mqtt.devices import Paho
from tests.support.waiting import DEADLINE
from wire.mqtt import V5, V311, Will

Enter = Callable[..., MqttLine]
SPEAKS = [("mosquitto", V311), ("mosquitto", V5), ("nats", V311)]


@pytest.fixture(params=SPEAKS, ids=lambda pair: f"{pair[0]}-{'5' if pair[1] == V5 else '3.1.1'}")
def speaks(request: pytest.FixtureRequest) -> tuple[str, int]:
    """Each broker with each version of MQTT that it supports."""
    pair: tuple[str, int] = request.param
    return pair


@pytest.fixture
def broker(speaks: tuple[str, int], tmp_path: Path) -> Iterator[tuple[Running, str]]:
    """A broker that enforces the rules printed for it, and its address."""
    running, address = BROKERS[speaks[0]](tmp_path, broker_rules(speaks[0], clients=CLIENTS))
    yield running, address
    running.close()


@pytest.fixture
def enter(broker: tuple[Running, str], speaks: tuple[str, int], mqtt: Callable[..., MqttLine]) -> Enter:
    """Connect by name, with the password."""

    def make(name: str, **fields: object) -> MqttLine:
        return mqtt(broker[1], name, **{"version": speaks[1], "password": PASSWORDS[name].encode(), **fields})

    return make


def test_what_a_client_may_write(enter: Enter) -> None:
    """The server, which reads everything, receives exactly what alice may write."""
    server = enter("partyline")
    assert server.subscribe("chat/#")[0] < 0x80
    for topic in WRITES:
        alice = enter("alice")  # reconnects each time, as a broker may end the connection after a forbidden publish
        alice.publish(topic, "hello", 0)
        alice.disconnect()
    server.publish("chat/server", "the end")
    server.message("chat/server", lambda packet: packet.payload == b"the end")
    got = [packet.topic for packet in server.messages() if packet.payload == b"hello"]
    assert got == [topic for topic, allowed in WRITES.items() if allowed]


def test_what_a_client_may_read(enter: Enter, speaks: tuple[str, int]) -> None:
    """The server writes to every kind of topic; alice receives only what she may read, whatever she subscribes to."""
    server, alice = enter("partyline"), enter("alice")
    for topic_filter, allowed in READS.items():
        granted = alice.subscribe(topic_filter, qos=0)[0] < 0x80
        assert granted or not allowed, topic_filter
        if speaks[0] == "nats":  # mosquitto grants every subscription, and withholds what the client may not read
            assert granted == allowed, topic_filter
    read = ["chat/channels/lab", "chat/channels/lab/text", "chat/presence/bob", "chat/to/alice/msg/bob",
            "chat/direct/alice/bob", "chat/to/alice/stored"]  # fmt: skip
    closed = ["chat/to/bob/msg/alice", "chat/direct/bob/alice", "chat/from/alice/say/lab", "chat/from/bob/say/lab",
              "chat/to/bob/stored", "chat/other"]  # fmt: skip
    for topic in (*closed, *read, "chat/server"):
        server.publish(topic, "hello")
    alice.message("chat/server")
    server.publish("chat/server", "the end")  # after it, also messages that two filters match have come
    alice.message("chat/server", lambda packet: packet.payload == b"the end")
    assert {packet.topic for packet in alice.messages()} == {*read, "chat/server"}


def test_two_clients_and_the_server_with_paho(broker: tuple[Running, str], speaks: tuple[str, int]) -> None:
    """At QoS 1, with persistent sessions."""
    filters = {name: (f"chat/to/{name}/#", "chat/channels/#", f"chat/direct/{name}/+") for name in CLIENTS}
    alice, bob, _ = devices = [Paho(broker[1], name, speaks[1], PASSWORDS[name], filters[name]) for name in CLIENTS]
    server = Paho(broker[1], "partyline", speaks[1], PASSWORDS["partyline"], ("chat/#",))
    alice.publish("chat/from/alice/say/lab", "hi")
    assert server.expect("chat/from/alice/say/lab") == "hi"
    server.publish("chat/channels/lab/text", "alice: hi")
    assert bob.expect("chat/channels/lab/text") == alice.expect("chat/channels/lab/text") == "alice: hi"
    alice.publish("chat/direct/bob/alice", "psst")
    assert bob.expect("chat/direct/bob/alice") == "psst"
    server.publish("chat/to/bob/msg/alice", "for bob")
    assert bob.expect("chat/to/bob/msg/alice") == "for bob"
    assert alice.heard == []
    for device in (*devices, server):
        device.close()


def test_a_will_obeys_the_rules(enter: Enter) -> None:
    """The broker publishes alice's will on her own topic, and not one on bob's."""
    server = enter("partyline")
    server.subscribe("chat/#")
    for topic in ("chat/from/bob/gone", "chat/from/alice/gone"):
        try:
            alice = enter("alice", will=Will(topic, b"lost", 0))
        except AssertionError:  # refused at once
            assert topic == "chat/from/bob/gone"
            continue
        alice.reset()
    server.message("chat/from/alice/gone")
    assert server.messages("chat/from/bob/gone") == []


@pytest.mark.parametrize("password", [None, b"wrong"])
def test_nobody_logs_in_without_the_password(
    broker: tuple[Running, str], speaks: tuple[str, int], mqtt: Callable[..., MqttLine], password: bytes | None
) -> None:
    for name in ("partyline", "alice", "nobody", None):
        if name or not password:
            line = mqtt(broker[1], name, version=speaks[1], password=password, refused=True, client_id="x")
            assert line.connack.reason


@pytest.mark.parametrize("speaks", [("nats", V311)], ids=["nats"], indirect=True)
def test_at_nats_the_users_connect_by_mqtt_only(broker: tuple[Running, str], tmp_path: Path) -> None:
    """Over NATS's own protocol, a client could read the subjects on which NATS delivers QoS 1."""
    port = next(line.rpartition(":")[2] for line in broker[0].log if "client connections on 127.0.0.1:" in line)
    with socket.create_connection(("127.0.0.1", int(port)), DEADLINE) as line, line.makefile("rwb") as file:
        assert file.readline().startswith(b"INFO ")
        file.write(b'CONNECT {"user":"alice","pass":"%s","verbose":false}\r\nPING\r\n' % PASSWORDS["alice"].encode())
        file.flush()
        assert file.readline().startswith(b"-ERR 'Authorization Violation'")


@pytest.mark.parametrize("speaks", [("nats", V311)], ids=["nats"], indirect=True)
def test_at_nats_nobody_subscribes_to_the_delivery_subjects(enter: Enter) -> None:
    """The permission for $MQTT.sub.> is for NATS itself, not for a client's filter."""
    alice = enter("alice")
    for topic_filter in ("$MQTT/sub/#", "$MQTT/#"):
        assert alice.subscribe(topic_filter)[0] >= 0x80
