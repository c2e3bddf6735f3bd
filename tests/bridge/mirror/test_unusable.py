"""Messages that break a rule of MQTT or of the chat, and that the broker passes on, do not end the connection."""

from __future__ import annotations

import pytest

from bridge.mirror import BrokerConfig
from tests.support.brokers.scripted import ScriptedBroker, broker
from tests.support.fixtures import StartServer
from tests.support.mqtt import body
from wire.limits import Limits
from wire.mqtt import V5, V311, MqttError, MqttPackets, PubAck, Publish, Unusable

__all__ = ["broker"]

_TOPIC = b"chat/from/oven/say/lab"
# Properties that Mosquitto does not look into: a response topic with a wildcard, an empty one, a flag that is 5.
_PROPERTIES = (b"\x08\x00\x0echat/to/oven/+", b"\x08\x00\x00", b"\x01\x05")


def publish(properties: bytes, packet_id: int = 7, topic: bytes = _TOPIC) -> bytes:
    """Return a PUBLISH of MQTT 5; at QoS 0 if its packet identifier is -1."""
    identifier = b"" if packet_id < 0 else packet_id.to_bytes(2, "big")
    rest = len(topic).to_bytes(2, "big") + topic + identifier + bytes((len(properties),)) + properties + b"hello"
    assert len(rest) < 128
    return bytes((0x32 if identifier else 0x30, len(rest))) + rest


@pytest.mark.parametrize("properties", _PROPERTIES)
def test_wrong_properties_are_refused_and_acknowledged(
    start_server: StartServer, broker: ScriptedBroker, properties: bytes
) -> None:
    server = start_server(broker=BrokerConfig(url=broker.url))
    visit = broker.visit()
    visit.open()
    visit.socket.sendall(publish(properties))
    error = body(visit.message("chat/to/oven/error"))
    assert (error["code"], error["topic"]) == ("bad-frame", _TOPIC.decode())
    visit.expect(PubAck, lambda packet: packet.packet_id == 7)
    visit.bring(_TOPIC.decode(), "and it goes on")
    assert body(visit.message("chat/channels/lab"))["text"] == "and it goes on"
    assert server.chat.mirror_status is not None
    status = server.chat.mirror_status()
    assert (status.connected, status.refused) == (True, 1)


def test_the_number_of_users_is_limited(start_server: StartServer, broker: ScriptedBroker) -> None:
    start_server(broker=BrokerConfig(url=broker.url), limits=Limits(connections=2))
    visit = broker.visit()
    visit.open()
    for name in ("a", "b", "c"):
        visit.bring(f"chat/from/{name}/register", "")
    assert body(visit.message("chat/to/c/error"))["code"] == "server-full"
    visit.bring("chat/from/a/gone", "")
    visit.bring("chat/from/c/register", "")
    visit.message("chat/to/c/register")


@pytest.mark.parametrize("properties", _PROPERTIES)
@pytest.mark.parametrize("packet_id", [7, -1])
def test_an_unusable_packet_is_described_in_any_cut(properties: bytes, packet_id: int) -> None:
    wrong, right = publish(properties, packet_id), publish(b"")
    for cut in range(len(wrong)):
        packets = MqttPackets(version=V5, skips=True)
        items = packets.receive(wrong[:cut]) + packets.receive(wrong[cut:] + right)
        assert isinstance(items[0], Unusable)
        assert (items[0].topic, items[0].qos, items[0].packet_id) == (_TOPIC.decode(), packet_id > 0, max(0, packet_id))
        assert items[1:] == [Publish(_TOPIC.decode(), b"hello", 1, False, False, 7)]


@pytest.mark.parametrize(
    ("version", "data"),
    [
        (V5, publish(_PROPERTIES[0], 0)),  # without an identifier, nothing can be acknowledged
        (V311, b"\x32\x05\x00\x09chat"),
        (V311, b"\x32\x01\x00"),
    ],
)
def test_a_packet_without_identifier_or_topic_is_an_error(version: int, data: bytes) -> None:
    (item,) = MqttPackets(version=version, skips=True).receive(data)
    assert isinstance(item, MqttError)


def test_without_skips_it_is_an_error() -> None:
    (item,) = MqttPackets(version=V5).receive(publish(_PROPERTIES[0]))
    assert isinstance(item, MqttError)
