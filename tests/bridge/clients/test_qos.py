"""The server takes a PUBLISH of QoS 2 exactly once, and acknowledges in the order of publishing at each QoS."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from server import Server
from tests.support.clients import Json
from tests.support.mqtt import MqttLine, body
from wire.frames import Error, Join
from wire.mqtt import V5, Properties, PubComp, Publish, PubRec, PubRel

Mqtt = Callable[..., MqttLine]

Connecting = Callable[..., Json]


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
    assert all("id" not in body(packet) for packet in listener.messages()), "nobody is sent the server's own ids"


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


def test_packet_identifiers_of_clients_with_similar_client_ids(server: Server, mqtt: Mqtt) -> None:
    """A client that ends its session does not free the packet identifiers of another."""
    mqtt(server.address, "alice").do("register", '{"password": "secret-word"}')
    keep = Properties(session_expiry_interval=100)
    long = mqtt(server.address, "alice", client_id="a/b", password=b"secret-word", clean=False, properties=keep)
    long.send(Publish("chat/from/alice/say/lab", b"once", 2, packet_id=5))
    long.expect(PubRec)
    mqtt(server.address, "alice", client_id="a", password=b"secret-word").disconnect()
    long.send(Publish("chat/from/alice/say/lab", b"once", 2, dup=True, packet_id=5))
    long.settle(5, 2)
    assert server.chat.known_channel("lab").tail == 1


def test_a_json_client_cannot_use_the_ids_of_qos_2(server: Server, connect: Connecting) -> None:
    """An id that begins with a slash is the server's own."""
    assert isinstance(connect(server.address, "bob").request(Join("lab")), object)
    line = connect(server.address, "carol")
    line.send_bytes(json.dumps({"op": "say", "text": "x", "channel": "lab", "id": "/c/5", "ref": 1}).encode() + b"\n")
    assert line.expect(Error).code == "bad-frame"


def test_acknowledgements_keep_their_order(server: Server, alice: MqttLine, version: int) -> None:
    """[MQTT-4.6.0-2], for requests of any kind."""
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
