"""The Maximum Packet Size of the client, and that of the server."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from server import Server
from tests.support.clients import Json
from tests.support.mqtt import MqttLine, body
from wire.frames import Join, Msg, Say
from wire.mqtt import (
    V5,
    ConnAck,
    Connect,
    Disconnect,
    Properties,
    Publish,
    Reason,
    SubAck,
    Subscribe,
    Subscription,
    Will,
    encode,
)

Mqtt = Callable[..., MqttLine]
Connecting = Callable[..., Json]

_MIB = 1 << 20


def test_maximum_packet_size_of_the_client(server: Server, mqtt: Mqtt, connect: Connecting) -> None:
    """A larger packet is not sent, and holds up no other ([MQTT-3.1.2-24])."""
    limit = 300
    alice = mqtt(server.address, "alice", properties=Properties(maximum_packet_size=limit))
    alice.subscribe("chat/channels/#", "chat/to/alice/#")
    bob = connect(server.address, "bob")
    bob.request(Join("lab"))
    for text in ("short", "x" * 250, "\x01" * 60, "short, too", "x" * 300, "the end"):
        bob.request(Say(text, "lab"))
    alice.hear("lab", "the end")
    assert alice.texts("lab") == ["short", "short, too", "the end"]
    alice.message("chat/channels/lab/text", lambda packet: packet.payload == b"bob: the end")
    assert [len(packet.payload) for packet in alice.messages("chat/channels/lab/text")] == [10, 255, 5, 15, 12]
    bob.request(Msg("alice", "y" * 300))
    bob.request(Msg("alice", "and that"))
    assert body(alice.message("chat/to/alice/msg/bob"))["text"] == "and that"
    page = alice.ask("history/lab")
    assert ([entry["text"] for entry in page["entries"]], page["more"]) == (["the end"], 6)
    alice.do("history/lab", '{"before": 6}')
    error = alice.error()
    assert (error["code"], error["topic"]) == ("too-long", "chat/from/alice/history/lab")
    assert alice.ask("history/lab", '{"limit": 1}')["entries"][0]["text"] == "the end"
    bob.send(*[Say("x" * 1_000, "lab") for _ in range(50)], Say("after all that", "lab"))
    alice.hear("lab", "after all that")


@pytest.mark.parametrize("limit", [4, 5, 16, 17])
def test_a_client_with_a_tiny_maximum_packet_size(server: Server, mqtt: Mqtt, limit: int) -> None:
    """It gets no larger packet, not even CONNACK or SUBACK; a client without a CONNACK has no will ([MQTT-3.1.2-8])."""
    watcher = mqtt(server.address, "watcher")
    watcher.do("join/lab")
    watcher.subscribe("chat/channels/lab")
    alice = mqtt(server.address, connect=False)
    will = Will("chat/from/alice/say/lab", b"lost")
    properties = Properties(maximum_packet_size=limit)
    alice.send(
        Connect(version=V5, client_id="a", username="alice", will=will, properties=properties),
        *[Subscribe(count, (Subscription("a"),) * count) for count in (12, 13)],
    )
    got = alice.until_closed()
    if limit == 17:
        assert [type(packet) for packet in got] == [ConnAck, SubAck, Disconnect]
    else:
        assert got == ([ConnAck(Reason.PACKET_TOO_LARGE)] if limit > 4 else [])
    watcher.do("say/lab", "the end")
    watcher.hear("lab", "the end")
    assert watcher.texts("lab") == (["lost"] if limit == 17 else []) + ["the end"]


def test_a_refusal_fits_the_maximum_packet_size(server: Server, mqtt: Mqtt) -> None:
    alice = mqtt(server.address, "no name", refused=True, properties=Properties(maximum_packet_size=20))
    assert alice.connack.reason == Reason.BAD_USER_NAME_OR_PASSWORD
    assert not alice.connack.properties.reason_string  # [MQTT-3.2.2-19]


def test_a_text_may_fit_while_its_json_does_not(server: Server, mqtt: Mqtt) -> None:
    """JSON may have six bytes for one byte of the text."""
    alice = mqtt(server.address, "alice", properties=Properties(maximum_packet_size=60_000))
    alice.subscribe("chat/channels/lab")
    alice.do("say/lab", "\x01" * 16_384)
    alice.do("say/lab", "x" * 16_384)
    alice.do("say/lab", "the end")
    alice.hear("lab", "the end")
    assert [len(text) for text in alice.texts("lab")] == [16_384, 7]


def test_maximum_packet_size_of_the_server(server: Server, mqtt: Mqtt, version: int) -> None:
    alice = mqtt(server.address, "alice", version=version)
    alice.subscribe("chat/to/alice/#")
    most = alice.connack.properties.maximum_packet_size or _MIB
    alice.do("say/lab", b"x" * (most - 100))
    assert alice.error()["code"] == "too-long", "the message is too long, and the connection goes on"
    alice.send_bytes(encode(Publish("chat/from/alice/say/lab", b"x" * most, 1, packet_id=9), version)[:1_000])
    rest = alice.until_closed()
    assert [item.reason for item in rest if isinstance(item, Disconnect)] == (
        [Reason.PACKET_TOO_LARGE] if version == V5 else []
    )
