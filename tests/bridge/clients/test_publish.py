"""PublishHandler by single packets: nothing is taken after `gone`, and a PUBREL frees a packet identifier of QoS 2."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from channels import Origin
from server import Server
from tests.support.mqtt import MqttLine
from wire.mqtt import PubComp, Publish, PubRec, PubRel

Mqtt = Callable[..., MqttLine]


def texts(server: Server, channel: str = "lab") -> list[str]:
    """Return the texts of a channel's entries in the store."""
    log = server.chat.known_channel(channel)
    return [entry.text for entry in server.chat.store.read(log.row, 0, 100)]


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("channel", ["lab", "hall"], ids=["a channel said to before", "another channel"])
def test_a_post_after_gone_is_not_taken(server: Server, mqtt: Mqtt, version: int, qos: int, channel: str) -> None:
    """Also if it comes in the same piece of bytes, and whether or not the topic was used before."""
    server.chat.open_channel("hall", Origin("alice", None))
    alice = mqtt(server.address, "alice", version=version)
    for text in ("first", "second"):
        alice.do("say/lab", text)
    late = Publish(f"chat/from/alice/say/{channel}", b"late", qos, packet_id=9 if qos else 0)
    alice.send(Publish("chat/from/alice/say/lab", b"before"), Publish("chat/from/alice/gone"), late)
    answers = alice.until_closed()
    assert texts(server) == ["first", "second", "before"]
    assert texts(server, "hall") == []
    assert not [each for each in answers if getattr(each, "packet_id", 0) == 9], "nothing acknowledges it"


@pytest.mark.parametrize("qos", [0, 1])
def test_a_post_to_a_topic_used_before_keeps_the_limits(server: Server, mqtt: Mqtt, qos: int) -> None:
    """Such a post takes a short way, which must refuse the same payloads."""
    limit = server.chat.limits.line
    alice = mqtt(server.address, "alice")
    alice.subscribe("chat/to/alice/error")
    for payload, code in ((b"x" * (limit + 1), "too-long"), (b"", "empty"), (b"\xff", "bad-frame")):
        alice.do("say/lab", b"x" * limit, qos)
        alice.do("say/lab", payload, qos)
        assert alice.error()["code"] == code
    alice.do("say/lab", b'{"text": "as JSON"}', qos)
    alice.ping()
    assert [len(text) for text in texts(server)] == [limit, limit, limit, len("as JSON")]


def test_pubrel_frees_the_packet_identifier_of_a_live_message(server: Server, mqtt: Mqtt, version: int) -> None:
    """[MQTT-4.3.3-2]: the same identifier then brings another message; without the PUBREL it is a duplicate."""
    alice, bob = mqtt(server.address, "alice", version=version), mqtt(server.address, "bob")
    bob.subscribe("chat/direct/bob/+")
    for payload in (b"first", b"second", b"third"):
        for dup in (False, True):
            alice.send(Publish("chat/direct/bob/alice", payload, 2, dup=dup, packet_id=9))
            assert alice.expect(PubRec).packet_id == 9
        alice.send(PubRel(9))
        assert alice.expect(PubComp).packet_id == 9
    alice.publish("chat/direct/bob/alice", b"the end")
    bob.message("", lambda packet: packet.payload == b"the end")
    assert [packet.payload for packet in bob.messages()] == [b"first", b"second", b"third", b"the end"]


def test_pubrel_frees_the_packet_identifier_of_a_post(server: Server, mqtt: Mqtt, version: int) -> None:
    alice = mqtt(server.address, "alice", version=version)
    for text in (b"first", b"second", b"third"):
        for dup in (False, True):
            alice.send(Publish("chat/from/alice/say/lab", text, 2, dup=dup, packet_id=9))
            assert alice.expect(PubRec).packet_id == 9
        alice.send(PubRel(9))
        assert alice.expect(PubComp).packet_id == 9
    assert texts(server) == ["first", "second", "third"]


def test_pubrel_frees_one_packet_identifier_only(server: Server, mqtt: Mqtt, version: int) -> None:
    alice, bob = mqtt(server.address, "alice", version=version), mqtt(server.address, "bob")
    bob.subscribe("chat/direct/bob/+")
    for packet_id in (7, 8):
        alice.send(Publish("chat/direct/bob/alice", b"%d" % packet_id, 2, packet_id=packet_id))
        alice.expect(PubRec)
    alice.send(PubRel(7))
    alice.expect(PubComp)
    alice.send(Publish("chat/direct/bob/alice", b"8", 2, dup=True, packet_id=8))
    alice.expect(PubRec)
    alice.publish("chat/direct/bob/alice", b"the end")
    bob.message("", lambda packet: packet.payload == b"the end")
    assert [packet.payload for packet in bob.messages()] == [b"7", b"8", b"the end"]
