"""The MQTT dialect against paho: its tables, the bytes that it sends, and what it makes of ours."""

from __future__ import annotations

import queue
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties as PahoProperties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from tests.support.mqtt.samples import VERSIONS
from wire.mqtt import (
    NONE,
    PROPERTIES,
    REASONS,
    V5,
    V311,
    ConnAck,
    Connect,
    Disconnect,
    Item,
    Kind,
    MqttPackets,
    Packet,
    Properties,
    PubAck,
    PubAcks,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    Reason,
    SubAck,
    Subscribe,
    Subscription,
    UnsubAck,
    Unsubscribe,
    Will,
    encode,
    goodbye,
)

SECONDS = 60.0  # that a test waits at most
T = TypeVar("T")


def test_properties_are_those_of_paho() -> None:
    table = paho_properties(PacketTypes.PUBLISH)
    kinds = {kind: PacketTypes.WILLMESSAGE if kind is Kind.WILL else int(kind) for kind in Kind}
    ours = {row.id: (row.name, row.type.name, {kinds[kind] for kind in row.kinds}) for row in PROPERTIES}
    theirs = {
        table.names[name]: (name.lower().replace(" ", "_"), table.types[type], set(packets))
        for name in table.names
        for type, packets in [table.properties[table.names[name]]]
    }
    assert ours == theirs


def test_reasons_are_those_of_paho() -> None:
    theirs: dict[int, set[int]] = {}
    for code, names in ReasonCode.names.items():
        for packets in names.values():
            for packet in packets:
                theirs.setdefault(packet, set()).add(code)
    theirs[PacketTypes.CONNACK].add(Reason.PAYLOAD_FORMAT_INVALID)  # of a will; in the standard's table, not in paho's
    assert {int(kind): set(codes) for kind, codes in REASONS.items()} == theirs
    assert {int(code) for code in Reason} == set(ReasonCode.names)


class Peer:
    """The server's end of one connection: what paho sends, as bytes and as packets, and what it is sent."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._packets = MqttPackets()
        self._waiting: list[Item] = []
        self._raw = b""
        self._items: list[Packet] = []

    def expect(self, type: type[T]) -> T:
        while not self._waiting:
            data = self._connection.recv(65_536)
            assert data, "paho has hung up"
            self._raw += data
            self._waiting = self._packets.receive(data)
        item = self._waiting.pop(0)
        assert isinstance(item, type), item
        self._items.append(item)  # type: ignore[arg-type]  # an error has failed the line above
        return item

    def send(self, *packets: Packet) -> None:
        self._connection.sendall(b"".join([encode(packet, self._packets.version) for packet in packets]))

    def close(self, reason: int, *, connected: bool) -> None:
        self._connection.sendall(goodbye(self._packets.version, reason, "Because.", connected=connected))
        self._connection.close()

    def check_bytes(self) -> None:
        """Every packet that paho has sent is, encoded again, the same bytes."""
        assert b"".join([encode(packet, self._packets.version) for packet in self._items]) == self._raw


class Client:
    """A paho client whose callbacks can be waited for, one by one."""

    def __init__(self, version: int) -> None:
        protocol = MQTTProtocolVersion.MQTTv5 if version == V5 else MQTTProtocolVersion.MQTTv311
        self.paho = paho.Client(CallbackAPIVersion.VERSION2, "paho-ü", protocol=protocol, reconnect_on_failure=False)
        self._calls: queue.Queue[tuple[str, tuple[Any, ...]]] = queue.Queue()
        for name in ("connect", "message", "publish", "subscribe", "unsubscribe", "disconnect"):
            setattr(self.paho, f"on_{name}", self._callback(name))

    def _callback(self, name: str) -> Any:
        def call(_client: Any, _data: Any, *arguments: Any) -> None:
            self._calls.put((name, arguments))

        return call

    def expect(self, name: str) -> tuple[Any, ...]:
        called, arguments = self._calls.get(timeout=SECONDS)
        assert called == name, arguments
        return arguments


@contextmanager
def connection(client: Client, **arguments: Any) -> Iterator[Peer]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client.paho.connect("127.0.0.1", listener.getsockname()[1], **arguments)
        accepted, _ = listener.accept()
    accepted.settimeout(SECONDS)
    with accepted:
        client.paho.loop_start()
        try:
            yield Peer(accepted)
        finally:
            client.paho.disconnect()
            client.paho.loop_stop()


def paho_properties(kind: int, **values: Any) -> PahoProperties:
    properties = PahoProperties(kind)  # type: ignore[no-untyped-call]
    for name, value in values.items():
        setattr(properties, name, value)
    return properties


def only_in_5(version: int, properties: Properties) -> Properties:
    return properties if version == V5 else NONE


@contextmanager
def logged_in(version: int) -> Iterator[tuple[Client, Peer]]:
    client = Client(version)
    with connection(client, keepalive=60) as peer:
        peer.expect(Connect)
        peer.send(ConnAck())
        client.expect("connect")
        yield client, peer


@pytest.mark.parametrize("version", VERSIONS)
def test_login(version: int) -> None:
    client = Client(version)
    client.paho.username_pw_set("alice", "secret ü")
    will, login = None, {}
    if version == V5:
        will = paho_properties(PacketTypes.WILLMESSAGE, WillDelayInterval=5, ContentType="text/plain")
        sent = {"SessionExpiryInterval": 3600, "ReceiveMaximum": 20, "TopicAliasMaximum": 3, "UserProperty": ("k", "v")}
        login = {"clean_start": False, "properties": paho_properties(PacketTypes.CONNECT, **sent)}
    client.paho.will_set("chat/from/alice/gone", b"\0\xff", 1, True, will)
    with connection(client, keepalive=77, **login) as peer:
        assert peer.expect(Connect) == Connect(
            version=version,
            client_id="paho-ü",
            clean=version == V311,
            keep_alive=77,
            username="alice",
            password="secret ü".encode(),
            will=Will(
                "chat/from/alice/gone", b"\0\xff", 1, True,
                only_in_5(version, Properties(will_delay_interval=5, content_type="text/plain")),
            ),
            properties=only_in_5(
                version,
                Properties(
                    session_expiry_interval=3600, receive_maximum=20, topic_alias_maximum=3, user_property=(("k", "v"),)
                ),
            ),
        )  # fmt: skip
        answer = Properties(maximum_qos=1, server_keep_alive=30, reason_string="Hi ü.", user_property=(("a", "b"),) * 2)
        peer.send(ConnAck(Reason.SUCCESS, False, only_in_5(version, answer)))
        flags, reason, properties = client.expect("connect")
        assert (flags.session_present, reason.value) == (False, 0)
        if version == V5:
            assert (properties.MaximumQoS, properties.ServerKeepAlive) == (1, 30)
            assert (properties.ReasonString, properties.UserProperty) == ("Hi ü.", [("a", "b"), ("a", "b")])
        peer.check_bytes()


@pytest.mark.parametrize("version", VERSIONS)
def test_subscribing(version: int) -> None:
    with logged_in(version) as (client, peer):
        if version == V5:
            options = [("a/#", SubscribeOptions(2, True, True, 2)), ("$share/g/+", SubscribeOptions(1))]
            client.paho.subscribe(options, properties=paho_properties(PacketTypes.SUBSCRIBE, SubscriptionIdentifier=9))
            expected = (Subscription("a/#", 2, True, True, 2), Subscription("$share/g/+", 1))
        else:
            client.paho.subscribe([("a/#", 2), ("$share/g/+", 1)])
            expected = (Subscription("a/#", 2), Subscription("$share/g/+", 1))
        asked = peer.expect(Subscribe)
        assert asked.subscriptions == expected
        assert asked.properties == only_in_5(version, Properties(subscription_identifier=(9,)))
        peer.send(SubAck(asked.packet_id, (1, Reason.NOT_AUTHORIZED)))
        number, reasons, _ = client.expect("subscribe")
        assert (number, [reason.value for reason in reasons]) == (asked.packet_id, [1, 0x87 if version == V5 else 0x80])

        client.paho.unsubscribe(["a/#", "b"])
        left = peer.expect(Unsubscribe)
        assert left.filters == ("a/#", "b")
        peer.send(UnsubAck(left.packet_id, (0, Reason.NO_SUBSCRIPTION_EXISTED)))
        number, reasons, _ = client.expect("unsubscribe")
        assert number == left.packet_id
        assert [reason.value for reason in reasons] == ([0, 0x11] if version == V5 else [])
        peer.check_bytes()


@pytest.mark.parametrize("version", VERSIONS)
def test_what_paho_publishes(version: int) -> None:
    properties, expected = None, NONE
    if version == V5:
        properties = paho_properties(
            PacketTypes.PUBLISH,
            PayloadFormatIndicator=1,
            MessageExpiryInterval=60,
            ResponseTopic="chat/to/alice",
            CorrelationData=b"\0\1",
            UserProperty=[("k", "v"), ("k", "")],
        )
        expected = Properties(
            payload_format_indicator=1,
            message_expiry_interval=60,
            response_topic="chat/to/alice",
            correlation_data=b"\0\1",
            user_property=(("k", "v"), ("k", "")),
        )
    with logged_in(version) as (client, peer):
        for qos, payload in ((0, b""), (1, "grüß".encode()), (2, bytes(70_000)), (0, b"again"), (1, b"again")):
            client.paho.publish("chat/ü", payload, qos, retain=qos == 1, properties=properties)
            packet = peer.expect(Publish)
            assert packet == Publish("chat/ü", payload, qos, qos == 1, False, packet.packet_id, expected)
            if qos == 1:
                peer.send(PubAck(packet.packet_id, Reason.NO_MATCHING_SUBSCRIBERS))
            elif qos:
                peer.send(PubRec(packet.packet_id))
                assert peer.expect(PubRel) == PubRel(packet.packet_id)
                peer.send(PubComp(packet.packet_id))
            _, reason, _ = client.expect("publish")
            assert reason.value == (0x10 if qos == 1 and version == V5 else 0)
        peer.check_bytes()


@pytest.mark.parametrize("version", VERSIONS)
def test_what_paho_is_sent(version: int) -> None:
    sent = Properties(
        content_type="text/plain",
        response_topic="r",
        correlation_data=b"c",
        subscription_identifier=(1, 200_000),
        user_property=(("k", "v"),),
    )
    packets = [
        Publish("chat/ü", b"", 0, True),
        Publish("chat/ü", "grüß".encode(), 1, False, True, 65_535, only_in_5(version, sent)),
        Publish("a", bytes(20_000), 1, packet_id=7),
        Publish("b", b"x", 2, packet_id=8),
    ]
    with logged_in(version) as (client, peer):
        peer.send(*packets)
        for packet in packets[:3]:
            check_message(client.expect("message")[0], packet)
        acks = peer.expect(PubAcks).packet_ids
        assert (acks if len(acks) == 2 else (*acks, *peer.expect(PubAcks).packet_ids)) == (65_535, 7)
        assert peer.expect(PubRec) == PubRec(8)
        peer.send(PubRel(8))
        assert peer.expect(PubComp) == PubComp(8)
        check_message(client.expect("message")[0], packets[3])
        peer.check_bytes()


def check_message(message: paho.MQTTMessage, packet: Publish) -> None:
    assert (message.topic, message.payload, message.qos) == (packet.topic, packet.payload, packet.qos)
    assert (message.retain, message.dup) == (packet.retain, packet.dup)
    if packet.properties != NONE:
        assert message.properties is not None
        assert message.properties.json() == {  # type: ignore[no-untyped-call]
            "ContentType": "text/plain",
            "ResponseTopic": "r",
            "CorrelationData": "63",
            "SubscriptionIdentifier": [1, 200_000],
            "UserProperty": [("k", "v")],
        }


@pytest.mark.parametrize("version", VERSIONS)
def test_leaving(version: int) -> None:
    with logged_in(version) as (client, peer):
        if version == V5:
            properties = paho_properties(PacketTypes.DISCONNECT, SessionExpiryInterval=9)
            client.paho.disconnect(ReasonCode(PacketTypes.DISCONNECT, identifier=4), properties)
        else:
            client.paho.disconnect()
        expected = Disconnect(4, Properties(session_expiry_interval=9)) if version == V5 else Disconnect()
        assert peer.expect(Disconnect) == expected
        peer.check_bytes()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_refused_login(version: int) -> None:
    client = Client(version)
    with connection(client) as peer:
        peer.expect(Connect)
        peer.close(Reason.BAD_USER_NAME_OR_PASSWORD, connected=False)
        _, reason, properties = client.expect("connect")
        assert reason.value == Reason.BAD_USER_NAME_OR_PASSWORD
        assert version == V311 or properties.ReasonString == "Because."


def test_a_server_that_hangs_up_says_why() -> None:
    with logged_in(V5) as (client, peer):
        peer.close(Reason.SESSION_TAKEN_OVER, connected=True)
        flags, reason, properties = client.expect("disconnect")
        assert flags.is_disconnect_packet_from_server
        assert (reason.value, properties.ReasonString) == (Reason.SESSION_TAKEN_OVER, "Because.")
