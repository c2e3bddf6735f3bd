"""Live messages from one client to another, on `direct/<to>/<me>`: the server does not store them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from server import Server
from tests.support.mqtt import MqttLine
from wire.mqtt import V5, Properties, PubComp, Publish, PubRec, PubRel, Subscription

Mqtt = Callable[..., MqttLine]


def test_no_local_leaves_out_the_client_s_own_messages(server: Server, mqtt: Mqtt) -> None:
    """[MQTT-3.8.3-3]: another client of the user gets them; so does one with a second subscription without it."""
    alice = mqtt(server.address, "alice")
    alice.do("register", '{"password": "secret-word"}')
    other = mqtt(server.address, "alice", client_id="other", password=b"secret-word")
    quiet = Subscription("chat/direct/alice/#", 1, no_local=True)
    for line in (alice, other):
        line.subscribe(quiet)
    topic = "chat/direct/alice/alice"
    alice.publish(topic, "from alice")
    other.publish(topic, "from the other")
    assert other.message(topic).payload == b"from alice"
    assert alice.message(topic).payload == b"from the other"
    alice.subscribe("chat/direct/alice/+")
    alice.publish(topic, "and loud")
    assert other.message(topic).payload == b"and loud"
    assert alice.message(topic).payload == b"and loud"


def test_a_live_message_goes_to_its_receiver_alone(server: Server, mqtt: Mqtt, alice: MqttLine, version: int) -> None:
    """At every QoS, with any bytes and all properties."""
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


def test_a_live_message_at_qos_2_comes_exactly_once(server: Server, mqtt: Mqtt, alice: MqttLine) -> None:
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
