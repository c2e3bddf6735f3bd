"""The MQTT dialect as a whole: round trips, any cut of the bytes, and any bytes at all."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.examples import examples
from tests.support.mqtt.samples import (
    CONNECT,
    VERSIONS,
    body_of,
    client_packets,
    connected,
    connects,
    flat,
    from_clients,
    identifiers,
    pieces,
    properties,
    server_packets,
    topics,
    versions,
    with_length,
)
from wire.errors import CODES
from wire.mqtt import (
    PINGREQ,
    PINGRESP,
    PUBACK_SIZE,
    V5,
    V311,
    Bounds,
    ConnAck,
    Connect,
    Disconnect,
    Item,
    Kind,
    MqttError,
    MqttPackets,
    Oversized,
    Packet,
    PingReq,
    PingResp,
    Properties,
    PubAck,
    PubAcks,
    PubComp,
    Publish,
    Publisher,
    PubRec,
    Reason,
    Unusable,
    encode,
    encode_acknowledgement,
    encode_puback,
    encode_pubacks,
    encode_pubcomp,
    goodbye,
    protocol_level,
    publish,
)

# --- Round trips


@given(versions.flatmap(connects))
def test_a_connect_comes_back(packet: Connect) -> None:
    packets = MqttPackets()
    assert packets.receive(encode(packet, packet.version)) == [packet]
    assert packets.version == packet.version


@settings(max_examples=examples(4))
@given(client_packets)
def test_what_a_client_sends_comes_back(sample: tuple[int, Packet]) -> None:
    version, packet = sample
    connection = connected(version)
    data = encode(packet, version)
    assert connection.receive(data) == [packet]
    if not isinstance(packet, Disconnect):
        assert connection.receive(data) == [packet], "by the fast path"


@settings(max_examples=examples(4))
@given(server_packets)
def test_what_a_server_sends_comes_back(sample: tuple[int, Packet]) -> None:
    version, packet = sample
    connection = MqttPackets(version=version)
    data = encode(packet, version)
    assert connection.receive(data + data) in ([packet, packet], [PubAcks(getattr(packet, "packet_ids", ()) * 2)])


@given(versions, topics, st.lists(st.binary(max_size=300), max_size=5), st.integers(0, 2), st.booleans(), st.data())
def test_a_publisher_writes_what_publish_writes(
    version: int, topic: str, payloads: list[bytes], qos: int, retain: bool, data: st.DataObject
) -> None:
    sent = data.draw(properties(Kind.PUBLISH, version, "topic_alias"))
    publisher = Publisher(topic, version, qos, retain=retain, properties=sent)
    raw = topic.encode()
    if not qos:
        assert publisher.encode(payloads) == b"".join(
            [publish(raw, payload, 0, retain, version=version, properties=sent) for payload in payloads]
        )
        return
    ids = data.draw(st.lists(identifiers, min_size=len(payloads), max_size=len(payloads)))
    for dup in (False, True):
        assert publisher.encode_with_ids(payloads, ids, dup=dup) == b"".join(
            [
                publish(raw, payload, qos, retain, dup, number, version, sent)
                for payload, number in zip(payloads, ids, strict=True)
            ]
        )


@given(versions, st.lists(identifiers, max_size=5))
def test_bare_acknowledgements_have_a_short_way_to_be_written(version: int, packet_ids: list[int]) -> None:
    assert encode_pubacks(packet_ids) == b"".join([encode(PubAck(each), version) for each in packet_ids])
    for each in packet_ids:
        assert encode_puback(each) == encode_acknowledgement(1, each) == encode(PubAck(each), version)
        assert encode_acknowledgement(2, each) == encode(PubRec(each), version)
        assert encode_acknowledgement(0, each) == b""
        assert encode_pubcomp(each) == encode(PubComp(each), version)
        assert len(encode_puback(each)) == PUBACK_SIZE
    assert encode(PingReq(), version) == PINGREQ
    assert encode(PingResp(), version) == PINGRESP


@pytest.mark.parametrize("size", [0, 1, 120, 127, 128, 129, 16_380, 16_384, 20_000, 2_097_152, 3_000_000])
def test_remaining_lengths_of_every_size(size: int) -> None:
    packet = Publish("t", bytes(size))
    connection = connected(V311, limit=4_000_000)
    assert connection.receive(encode(packet, V311) * 2) == [packet, packet]


def test_what_mqtt_cannot_carry_is_not_written() -> None:
    for packet, why in (
        (Publish("t" * 70_000), "at most 65,535 bytes"),
        (Connect(client_id="a\0b"), r"U\+0000"),
        (ConnAck(Reason.MALFORMED_PACKET), "MQTT 3.1.1 cannot say"),
    ):
        with pytest.raises(ValueError, match=why):
            encode(packet, V311)
    for sent, why in (
        (Properties(receive_maximum=3), "receive_maximum"),
        (Properties(topic_alias=0), "topic_alias"),
        (Properties(content_type="a\0"), r"U\+0000"),
    ):
        with pytest.raises(ValueError, match=why):
            encode(Publish("t", properties=sent), V5)
    with pytest.raises(ValueError, match="a/#"):
        Publisher("a/#", V5)


# --- Any cut, any bytes


@settings(max_examples=examples(4))
@given(versions, st.data())
def test_any_cut_gives_the_same_packets(version: int, data: st.DataObject) -> None:
    later = data.draw(st.lists(from_clients(version), max_size=8))
    sent = [Connect(version=version, client_id="c"), *later, *later]  # twice, so that topics are known
    stream = b"".join([encode(each, version) for each in sent]) + data.draw(st.binary(max_size=6))
    whole = flat(MqttPackets().receive(stream))
    assert whole[: len(flat(sent))] == flat(sent)

    connection = MqttPackets()
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=12))
    assert flat(item for piece in pieces(stream, cuts) for item in connection.receive(piece)) == whole

    connection = MqttPackets()
    assert flat(item for byte in stream for item in connection.receive(bytes((byte,)))) == whole


@given(client_packets)
def test_a_packet_that_has_not_come_in_full_is_none(sample: tuple[int, Packet]) -> None:
    version, packet = sample
    data = encode(packet if not isinstance(packet, PubAcks) else PubAcks(packet.packet_ids[:1]), version)
    for cut in range(len(data)):
        assert connected(version).receive(data[:cut]) == []
        body = body_of(data)[:cut]
        for item in connected(version).receive(with_length(data[0], body)):  # the same with a length that agrees
            assert isinstance(item, MqttError | Oversized | Unusable) or len(encode(item, version)) <= len(body) + 3


def test_the_protocol_level_of_a_connect() -> None:
    for version in VERSIONS:
        assert protocol_level(body_of(CONNECT[version])) == version
    assert protocol_level(b"\x00\x04MQTT") is None
    assert protocol_level(b"\x00\x06MQIsdp\x03") is None


@given(versions.flatmap(connects))
def test_a_connect_that_is_cut_short_is_refused(packet: Connect) -> None:
    data = encode(packet, packet.version)
    for cut in range(len(body_of(data))):
        (item,) = MqttPackets().receive(with_length(data[0], body_of(data)[:cut]))
        assert isinstance(item, MqttError)
        assert item.version == (packet.version if cut >= 7 else 0)


@settings(max_examples=examples(4))
@given(client_packets, st.integers(0, 400), st.integers(0, 255))
def test_one_wrong_byte_gives_packets_or_one_error(sample: tuple[int, Packet], index: int, byte: int) -> None:
    version, packet = sample
    right = encode(packet, version)
    wrong = bytearray(right)
    wrong[index % len(wrong)] = byte
    check_items(connected(version), bytes(wrong))
    primed = connected(version)  # its fast path has the topic, and has to find the same
    primed.receive(right)
    assert flat(primed.receive(bytes(wrong))) == flat(connected(version).receive(bytes(wrong)))


@settings(max_examples=examples(4))
@given(versions, st.integers(1, 15), st.binary(max_size=60), st.booleans())
def test_random_bytes_give_packets_or_one_error(version: int, kind: int, body: bytes, after_connect: bool) -> None:
    connection = connected(version) if after_connect else MqttPackets()
    check_items(connection, with_length(kind << 4 | (2 if kind in (6, 8, 10) else 0), body))
    check_items(MqttPackets(version=version), body)
    check_items(MqttPackets(), body)


def check_items(connection: MqttPackets, data: bytes) -> None:
    items = connection.receive(data)
    assert not any(isinstance(item, MqttError) for item in items[:-1])
    if items and isinstance(items[-1], MqttError):
        assert items[-1].code in CODES
        assert items[-1].reason in set(Reason)
        assert connection.receive(data + CONNECT[V5]) == [], "nothing is read after an error"


# --- What one connection remembers


@pytest.mark.parametrize("version", VERSIONS)
def test_good_packets_before_an_error_are_not_lost(version: int) -> None:
    good = Publish("t", b"1", 1, packet_id=7)
    data = CONNECT[version] + encode(good, version) + b"\x36\x00" + encode(good, version)
    first, second, error = MqttPackets().receive(data)
    assert isinstance(first, Connect)
    assert second == good
    assert isinstance(error, MqttError)
    assert (error.reason, error.version) == (Reason.MALFORMED_PACKET, version)


def test_connect_comes_first_and_once() -> None:
    for first in (b"\xc0", b"\x30", b"\xe0"):
        (item,) = MqttPackets().receive(first)  # refused without waiting for the rest
        assert isinstance(item, MqttError)
        assert (item.reason, item.version) == (Reason.PROTOCOL_ERROR, 0)
    (item,) = connected(V5).receive(CONNECT[V5])
    assert isinstance(item, MqttError)
    assert (item.reason, item.version) == (Reason.PROTOCOL_ERROR, V5)


@pytest.mark.parametrize("kind", [Kind.CONNACK, Kind.SUBACK, Kind.UNSUBACK, Kind.PINGRESP])
def test_a_client_sends_nothing_of_a_servers(kind: Kind) -> None:
    (item,) = connected(V5).receive(bytes((kind << 4, 0)))
    assert isinstance(item, MqttError)
    assert item.reason == Reason.PROTOCOL_ERROR


@pytest.mark.parametrize("kind", [Kind.CONNECT, Kind.SUBSCRIBE, Kind.UNSUBSCRIBE, Kind.PINGREQ])
def test_a_server_sends_nothing_of_a_clients(kind: Kind) -> None:
    flags = 2 if kind in (Kind.SUBSCRIBE, Kind.UNSUBSCRIBE) else 0
    (item,) = MqttPackets(version=V5).receive(bytes((kind << 4 | flags, 0)))
    assert isinstance(item, MqttError)
    assert item.reason == Reason.PROTOCOL_ERROR


def test_a_packet_over_the_limit_is_refused_by_its_header() -> None:
    at_limit = Publish("t", bytes(97))
    assert connected(V311, limit=100).receive(encode(at_limit, V311) * 2) == [at_limit, at_limit]
    over = encode(Publish("t", bytes(98)), V311)
    for data in (over, over[:2]):
        connection = connected(V311, limit=100)
        assert connection.receive(encode(at_limit, V311)) == [at_limit]
        (item,) = connection.receive(data)
        assert isinstance(item, MqttError)
        assert (item.reason, item.code) == (Reason.PACKET_TOO_LARGE, "too-long")


def test_a_connect_has_a_limit_of_its_own() -> None:
    def connect(size: int) -> bytes:
        return encode(Connect(client_id="c", username="u", password=bytes(size)), V311)

    body, bounds = len(body_of(connect(0))), Bounds(connect=20_000)
    assert len(MqttPackets(bounds=bounds).receive(connect(20_000 - body - 1))) == 1
    (item,) = MqttPackets(bounds=bounds).receive(connect(20_001 - body))
    assert isinstance(item, MqttError)
    assert item.reason == Reason.PACKET_TOO_LARGE


def test_a_remaining_length_of_five_bytes_is_refused_at_the_fourth() -> None:
    connection = connected(V311)
    assert connection.receive(b"\x30\xff\xff\xff") == []
    (item,) = connection.receive(b"\xff")
    assert isinstance(item, MqttError)
    assert item.reason == Reason.MALFORMED_PACKET


def test_a_remaining_length_in_more_bytes_than_needed_is_legal_in_3_1_1_only() -> None:
    assert connected(V311).receive(b"\xc0\x80\x00") == [PingReq()]
    assert connected(V311).receive(b"\x30\x84\x00\x00\x01tx") == [Publish("t", b"x")]
    padded = [
        version_data[:1] + bytes((version_data[1] | 0x80, 0)) + version_data[2:] for version_data in CONNECT.values()
    ]
    (item,) = MqttPackets().receive(padded[0])
    assert isinstance(item, Connect)
    for connection, data in ((connected(V5), b"\xc0\x80\x00"), (MqttPackets(), padded[1])):
        (item,) = connection.receive(data)
        assert isinstance(item, MqttError)
        assert (item.reason, item.version) == (Reason.MALFORMED_PACKET, V5)


def test_bare_pubacks_come_as_runs() -> None:
    connection = connected(V5)
    acks = encode(PubAcks((1, 2, 65_535)), V5)
    assert acks == bytes.fromhex("40020001 40020002 4002ffff")
    refused = PubAck(4, Reason.NOT_AUTHORIZED)
    data = acks + encode(refused, V5) + encode(PubAcks((5,)), V5)
    assert connection.receive(data) == [PubAcks((1, 2, 65_535)), refused, PubAcks((5,))]


def test_pubacks_of_what_nobody_has_subscribed_to_come_as_runs_to_who_wants_that() -> None:
    data = bytes.fromhex("40020001 4003000210 4003000310 40020004 4003000510")
    unheard = [PubAck(number, Reason.NO_MATCHING_SUBSCRIBERS) for number in (2, 3, 5)]
    apart = [PubAcks((1,)), *unheard[:2], PubAcks((4,)), unheard[2]]
    assert MqttPackets(version=V5).receive(data) == apart
    runs = [PubAcks((1,)), PubAcks((2, 3)), PubAcks((4,)), PubAcks((5,))]
    assert MqttPackets(version=V5, unheard=True).receive(data) == runs
    refused = bytes.fromhex("4003000287")
    assert MqttPackets(version=V5, unheard=True).receive(refused) == [PubAck(2, Reason.NOT_AUTHORIZED)]
    (error,) = MqttPackets(version=V5, unheard=True).receive(bytes.fromhex("4003000010"))
    assert isinstance(error, MqttError)
    (error,) = MqttPackets(version=V311, unheard=True).receive(bytes.fromhex("4003000210"))
    assert isinstance(error, MqttError)


def test_an_identifier_of_0_in_a_long_run_costs_no_more_than_the_run() -> None:
    """The decoder does not read the run again for each PUBACK."""
    run = encode(PubAcks((1,) * 60_000), V311)
    first, error = connected(V311).receive(run + b"\x40\x02\x00\x00")
    assert first == PubAcks((1,) * 60_000)
    assert isinstance(error, MqttError)


def test_topic_aliases_are_resolved() -> None:
    connection = connected(V5, topic_alias_maximum=2)

    def receive(topic: str, alias: int) -> Item:
        (item,) = connection.receive(encode(Publish(topic, b"x", properties=Properties(topic_alias=alias)), V5))
        return item

    assert getattr(receive("a/b", 1), "topic", "") == "a/b"
    assert getattr(receive("c", 2), "topic", "") == "c"
    assert getattr(receive("", 1), "topic", "") == "a/b"
    assert getattr(receive("d", 1), "topic", "") == "d"
    assert getattr(receive("", 1), "topic", "") == "d"
    assert getattr(receive("e", 3), "reason", 0) == Reason.TOPIC_ALIAS_INVALID
    connection = connected(V5, topic_alias_maximum=2)
    assert getattr(receive("", 2), "reason", 0) == Reason.PROTOCOL_ERROR
    connection = connected(V5)
    assert getattr(receive("a", 1), "reason", 0) == Reason.TOPIC_ALIAS_INVALID


def test_many_topics_and_long_ones_are_right_as_well() -> None:
    connection = connected(V311)
    sent = [Publish(f"{number}/{'x' * (number % 300)}", b"p", 1, packet_id=1) for number in range(700)]
    data = b"".join([encode(each, V311) for each in sent])
    assert connection.receive(data) == sent
    assert connection.receive(data) == sent


# --- What is said before closing


def test_goodbye() -> None:
    taken = Reason.SESSION_TAKEN_OVER
    assert goodbye(0, taken) == b""
    assert goodbye(V311, taken) == b""
    assert goodbye(V311, Reason.MALFORMED_PACKET, connected=False) == b""
    assert goodbye(V311, Reason.UNSUPPORTED_PROTOCOL_VERSION, "no", connected=False) == bytes.fromhex("20020001")
    assert goodbye(V311, Reason.CLIENT_IDENTIFIER_NOT_VALID, connected=False) == bytes.fromhex("20020002")
    assert goodbye(V5, Reason.UNSUPPORTED_PROTOCOL_VERSION, connected=False) == bytes.fromhex("20030084 00")
    assert goodbye(V5, taken) == bytes.fromhex("e0018e")
    said = goodbye(V5, taken, "Elsewhere.")
    assert MqttPackets(version=V5).receive(said) == [Disconnect(taken, Properties(reason_string="Elsewhere."))]
    assert goodbye(V5, taken, "Elsewhere.", limit=len(said)) == said
    assert goodbye(V5, taken, "Elsewhere.", limit=len(said) - 1) == bytes.fromhex("e0018e")


def test_reasons_in_words() -> None:
    assert Reason.TOPIC_NAME_INVALID.words == "topic name invalid"
    assert Reason.QOS_NOT_SUPPORTED.words == "QoS not supported"
    assert Reason.RE_AUTHENTICATE.words == "re-authenticate"


def test_no_password_in_a_log() -> None:
    assert "secret-word" not in repr(Connect(client_id="c", username="u", password=b"secret-word"))
    assert repr(Publish("t", b"x")) == "Publish(topic='t', payload=b'x')"
