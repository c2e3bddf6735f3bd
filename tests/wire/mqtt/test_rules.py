"""Each MUST of the specifications that bytes alone can break, as bytes that break it and the reason that they get."""

from __future__ import annotations

import pytest

from tests.support.mqtt.samples import VERSIONS, connected, with_length
from wire.mqtt import (
    FROM_CLIENT,
    PROPERTIES,
    REASONS,
    V5,
    V311,
    ConnAck,
    Connect,
    Disconnect,
    Item,
    Kind,
    MqttError,
    MqttPackets,
    Properties,
    Property,
    PubAck,
    PubAcks,
    PubRel,
    Reason,
    Subscribe,
    UnsubAck,
    encode,
    fields,
)

MALFORMED, PROTOCOL = Reason.MALFORMED_PACKET, Reason.PROTOCOL_ERROR
TOPIC, FILTER, ALIAS = Reason.TOPIC_NAME_INVALID, Reason.TOPIC_FILTER_INVALID, Reason.TOPIC_ALIAS_INVALID
VERSION, CLIENT_ID = Reason.UNSUPPORTED_PROTOCOL_VERSION, Reason.CLIENT_IDENTIFIER_NOT_VALID
BOTH, OLD, NEW = (V311, V5), (V311,), (V5,)


def one(connection: MqttPackets, data: bytes) -> Item:
    (item,) = connection.receive(data)
    return item


def check(item: Item, reason: int, version: int) -> None:
    assert isinstance(item, MqttError), item
    assert (item.reason, item.version) == (reason, version), item.sentence
    assert item.sentence.endswith(".")


# What a client sends after its CONNECT: versions, first byte, body in hex (with `|` where MQTT 5 has the length of its
# properties, and text in quotes), the reason.
RULES: list[tuple[str, tuple[int, ...], int, str, int]] = [
    ("QoS 3", BOTH, 0x36, "0001 't' 0001", MALFORMED),
    ("a duplicate of QoS 0", BOTH, 0x38, "0001 't' |", MALFORMED),
    ("a packet of type 0", BOTH, 0x00, "", MALFORMED),
    ("AUTH in 3.1.1", OLD, 0xF0, "", MALFORMED),
    ("an empty topic", OLD, 0x30, "0000", TOPIC),
    ("an empty topic without an alias", NEW, 0x30, "0000 |", PROTOCOL),
    ("+ in a topic", BOTH, 0x30, "0003 'a/+' |", TOPIC),
    ("# in a topic", BOTH, 0x30, "0001 '#' |", TOPIC),
    ("U+0000 in a topic", BOTH, 0x30, "0002 'a' 00 |", MALFORMED),
    ("a surrogate in a topic", BOTH, 0x30, "0003 eda080 |", MALFORMED),
    ("an overlong form in a topic", BOTH, 0x30, "0002 c0af |", MALFORMED),
    ("a topic that is cut", BOTH, 0x30, "0002 'a'", MALFORMED),
    ("a topic's length that is cut", BOTH, 0x30, "00", MALFORMED),
    ("no topic", BOTH, 0x30, "", MALFORMED),
    ("QoS 1 with packet id 0", BOTH, 0x32, "0001 't' 0000 |", PROTOCOL),
    ("QoS 2 with packet id 0", BOTH, 0x34, "0001 't' 0000 |", PROTOCOL),
    ("QoS 1 without a packet id", BOTH, 0x32, "0001 't' 01", MALFORMED),
    ("a client's subscription identifier", NEW, 0x30, "0001 't' 02 0b01", PROTOCOL),
    ("topic alias 0", NEW, 0x30, "0001 't' 03 230000", ALIAS),
    ("a topic alias that was not offered", NEW, 0x30, "0001 't' 03 230001", ALIAS),
    ("a wildcard in the response topic", NEW, 0x30, "0001 't' 04 08 0001 '+'", PROTOCOL),
    ("an empty response topic", NEW, 0x30, "0001 't' 03 08 0000", PROTOCOL),
    ("properties longer than the packet", NEW, 0x30, "0001 't' 05 0101", MALFORMED),
    ("a property that is cut", NEW, 0x30, "0001 't' 03 02 0000", MALFORMED),
    ("a property past its section", NEW, 0x30, "0001 't' 03 02 0000 0000", MALFORMED),
    ("an overlong length of properties", NEW, 0x30, "0001 't' 8000", MALFORMED),
    ("a length of properties in 5 bytes", NEW, 0x30, "0001 't' 8080808001", MALFORMED),
    ("no length of properties", NEW, 0x30, "0001 't'", MALFORMED),
    ("PUBACK with packet id 0", BOTH, 0x40, "0000", PROTOCOL),
    ("PUBACK that is cut", BOTH, 0x40, "00", MALFORMED),
    ("PUBACK with a reason in 3.1.1", OLD, 0x40, "0001 00", MALFORMED),
    ("PUBACK with another's reason", NEW, 0x40, "0001 92", PROTOCOL),
    ("PUBACK with more than properties", NEW, 0x40, "0001 00 00 00", MALFORMED),
    ("PUBREC with packet id 0", BOTH, 0x50, "0000", PROTOCOL),
    ("PUBREL with packet id 0", BOTH, 0x62, "0000", PROTOCOL),
    ("PUBREL with another's reason", NEW, 0x62, "0001 80", PROTOCOL),
    ("PUBCOMP with packet id 0", BOTH, 0x70, "0000", PROTOCOL),
    ("SUBSCRIBE with packet id 0", BOTH, 0x82, "0000 | 0001 'a' 00", PROTOCOL),
    ("SUBSCRIBE without a filter", BOTH, 0x82, "0001 |", PROTOCOL),
    ("SUBSCRIBE without options", BOTH, 0x82, "0001 | 0001 'a'", MALFORMED),
    ("SUBSCRIBE with QoS 3", OLD, 0x82, "0001 0001 'a' 03", MALFORMED),
    ("SUBSCRIBE with QoS 3", NEW, 0x82, "0001 | 0001 'a' 03", PROTOCOL),
    ("options of MQTT 5 in 3.1.1", OLD, 0x82, "0001 0001 'a' 04", MALFORMED),
    ("reserved options", BOTH, 0x82, "0001 | 0001 'a' 40", MALFORMED),
    ("retain handling 3", NEW, 0x82, "0001 | 0001 'a' 30", PROTOCOL),
    ("no local and shared", NEW, 0x82, "0001 | 000a '$share/g/a' 04", PROTOCOL),
    ("an empty filter", BOTH, 0x82, "0001 | 0000 00", FILTER),
    ("# in the middle of a filter", BOTH, 0x82, "0001 | 0005 'a/#/b' 00", FILTER),
    ("+ in a part of a level", BOTH, 0x82, "0001 | 0002 'a+' 00", FILTER),
    ("a share without a filter", BOTH, 0x82, "0001 | 0008 '$share/g' 00", FILTER),
    ("a wrong filter after a good one", BOTH, 0x82, "0001 | 0001 'a' 00 0002 '##' 00", FILTER),
    ("two subscription identifiers", NEW, 0x82, "0001 04 0b01 0b02 0001 'a' 00", PROTOCOL),
    ("subscription identifier 0", NEW, 0x82, "0001 02 0b00 0001 'a' 00", PROTOCOL),
    ("UNSUBSCRIBE with packet id 0", BOTH, 0xA2, "0000 | 0001 'a'", PROTOCOL),
    ("UNSUBSCRIBE without a filter", BOTH, 0xA2, "0001 |", PROTOCOL),
    ("UNSUBSCRIBE with a wrong filter", BOTH, 0xA2, "0001 | 0002 'a#'", FILTER),
    ("PINGREQ with a body", BOTH, 0xC0, "00", MALFORMED),
    ("DISCONNECT with a body in 3.1.1", OLD, 0xE0, "00", MALFORMED),
    ("DISCONNECT with another's reason", NEW, 0xE0, "01", PROTOCOL),
    ("DISCONNECT with more than properties", NEW, 0xE0, "00 00 00", MALFORMED),
    ("AUTH with another's reason", NEW, 0xF0, "80 00", PROTOCOL),
    ("AUTH without a method", NEW, 0xF0, "18 00", PROTOCOL),
    ("AUTH with half a property", NEW, 0xF0, "18 03 15 00", MALFORMED),
]


def hexed(text: str, version: int) -> bytes:
    parts = text.replace("|", "00" if version == V5 else "").split("'")
    return b"".join([part.encode() if index % 2 else bytes.fromhex(part) for index, part in enumerate(parts)])


@pytest.mark.parametrize(
    ("version", "first", "body", "reason"),
    [
        pytest.param(version, first, body, reason, id=f"{'5' if version == V5 else '3.1.1'} {name}")
        for name, versions, first, body, reason in RULES
        for version in versions
    ],
)
def test_what_breaks_a_rule_gets_its_reason(version: int, first: int, body: str, reason: int) -> None:
    data = with_length(first, hexed(body, version))
    check(one(connected(version), data), reason, version)
    if first >> 4 == Kind.PUBLISH:  # and if the fast path knows the topic
        connection = connected(version)
        connection.receive(with_length(0x30, hexed("0001 't' |", version)))
        check(one(connection, data), reason, version)


# What comes first: protocol name, level, flags and the rest of a CONNECT; the reason, and the version of the answer.
CONNECTS: list[tuple[str, str, int, int]] = [
    ("MQTT 3.1", "0006 'MQIsdp' 03 02 0000 0001 'c'", VERSION, V311),
    ("level 3", "0004 'MQTT' 03 02 0000 0001 'c'", VERSION, V311),
    ("level 6", "0004 'MQTT' 06 02 0000 00 0001 'c'", VERSION, V5),
    ("a bridge of Mosquitto", "0004 'MQTT' 84 02 0000 0001 'c'", VERSION, V311),
    ("another protocol", "0004 'HTTP' 04 02 0000 0001 'c'", VERSION, 0),
    ("another protocol's bytes", "0004 fffefdfc 04 02 0000 0001 'c'", VERSION, 0),
    ("no level", "0004 'MQTT'", MALFORMED, 0),
    ("reserved flag", "0004 'MQTT' 04 03 0000 0001 'c'", MALFORMED, V311),
    ("reserved flag", "0004 'MQTT' 05 03 0000 00 0001 'c'", MALFORMED, V5),
    ("no client id", "0004 'MQTT' 04 02 0000", MALFORMED, V311),
    ("empty client id, session not clean", "0004 'MQTT' 04 00 0000 0000", CLIENT_ID, V311),
    ("U+0000 in the client id", "0004 'MQTT' 04 02 0000 0002 'c' 00", MALFORMED, V311),
    ("password without user name", "0004 'MQTT' 04 42 0000 0001 'c' 0001 'p'", MALFORMED, V311),
    ("user name that is missing", "0004 'MQTT' 04 82 0000 0001 'c'", MALFORMED, V311),
    ("password that is missing", "0004 'MQTT' 04 c2 0000 0001 'c' 0001 'u'", MALFORMED, V311),
    ("something after the end", "0004 'MQTT' 04 02 0000 0001 'c' 00", MALFORMED, V311),
    ("will QoS 3", "0004 'MQTT' 04 1e 0000 0001 'c' 0001 't' 0000", MALFORMED, V311),
    ("will QoS without a will", "0004 'MQTT' 04 0a 0000 0001 'c'", MALFORMED, V311),
    ("will retain without a will", "0004 'MQTT' 05 22 0000 00 0001 'c'", MALFORMED, V5),
    ("empty will topic", "0004 'MQTT' 04 06 0000 0001 'c' 0000 0000", TOPIC, V311),
    ("wildcard in the will topic", "0004 'MQTT' 05 06 0000 00 0001 'c' 00 0001 '#' 0000", TOPIC, V5),
    ("will payload that is missing", "0004 'MQTT' 04 06 0000 0001 'c' 0001 't'", MALFORMED, V311),
    ("receive maximum 0", "0004 'MQTT' 05 02 0000 03 210000 0001 'c'", PROTOCOL, V5),
    ("maximum packet size 0", "0004 'MQTT' 05 02 0000 05 2700000000 0001 'c'", PROTOCOL, V5),
    ("request problem information 2", "0004 'MQTT' 05 02 0000 02 1702 0001 'c'", PROTOCOL, V5),
    ("authentication data alone", "0004 'MQTT' 05 02 0000 03 160000 0001 'c'", PROTOCOL, V5),
]


@pytest.mark.parametrize(
    ("body", "reason", "version"), [pytest.param(*row[1:], id=f"{row[0]} {row[3]}") for row in CONNECTS]
)
def test_a_connect_that_breaks_a_rule_gets_its_reason(body: str, reason: int, version: int) -> None:
    check(one(MqttPackets(), with_length(0x10, hexed(body, V311))), reason, version)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_byte_of_connect_flags(version: int) -> None:
    for flags in range(256):
        will, will_qos, will_retain = flags & 4, flags >> 3 & 3, flags & 0x20
        fields_of_it = [(True, "| 0001 'c'"), (bool(will), "| 0001 't' 0000"), (bool(flags & 0x80), "0001 'u'"),
                        (bool(flags & 0x40), "0001 'p'")]  # fmt: skip
        body = f"0004 'MQTT' {version:02x} {flags:02x} 0000" + "".join([part for there, part in fields_of_it if there])
        legal = (
            not flags & 1
            and will_qos < 3
            and (will or not (will_qos or will_retain))
            and (version == V5 or flags & 0xC0 != 0x40)
        )
        item = one(MqttPackets(), with_length(0x10, hexed(body, version)))
        if not legal:
            check(item, MALFORMED, version)
            continue
        assert isinstance(item, Connect)
        assert (item.clean, item.username is None) == (bool(flags & 2), not flags & 0x80)
        assert (item.password is None, item.will is None) == (not flags & 0x40, not will)
        assert item.will is None or (item.will.qos, item.will.retain) == (will_qos, bool(will_retain))


def test_an_empty_client_id_is_legal_where_the_server_can_assign_one() -> None:
    for packet in (Connect(), Connect(version=V5, clean=False), Connect(version=V5)):
        assert one(MqttPackets(), encode(packet, packet.version)) == packet


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", [kind for kind in FROM_CLIENT if kind not in (Kind.PUBLISH, Kind.CONNECT)])
def test_every_reserved_flag_of_the_first_byte(version: int, kind: Kind) -> None:
    right = 2 if kind in (Kind.PUBREL, Kind.SUBSCRIBE, Kind.UNSUBSCRIBE) else 0
    for flags in range(16):
        if flags != right:
            check(one(connected(version), bytes((kind << 4 | flags,))), MALFORMED, version)
            check(one(connected(version), bytes((kind << 4 | flags, 2, 0, 1))), MALFORMED, version)


@pytest.mark.parametrize("flags", range(1, 16))
def test_every_reserved_flag_of_connect(flags: int) -> None:
    check(one(MqttPackets(), bytes((0x10 | flags,))), MALFORMED, 0)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_byte_of_subscription_options(version: int) -> None:
    for options in range(256):
        item = one(connected(version), with_length(0x82, hexed(f"0001 | 0001 'a' {options:02x}", version)))
        if options & 3 < 3 and (options < 4 if version == V311 else options < 0x30):
            assert isinstance(item, Subscribe)
            (each,) = item.subscriptions
            assert (each.qos, each.no_local) == (options & 3, bool(options & 4))
            assert (each.retain_as_published, each.retain_handling) == (bool(options & 8), options >> 4)
        else:
            assert isinstance(item, MqttError)


# --- Properties: every one in every packet, twice, and with every edge of its numbers


def section(*properties: bytes) -> bytes:
    joined = b"".join(properties)
    return fields.varint(len(joined)) + joined


# A packet of each kind around a section of properties, and who sends it.
AROUND: dict[Kind, tuple[int, bytes, bytes, bool]] = {
    Kind.CONNECT: (0x10, hexed("0004 'MQTT' 05 02 0000", V5), hexed("0001 'c'", V5), True),
    Kind.WILL: (0x10, hexed("0004 'MQTT' 05 06 0000 00 0001 'c'", V5), hexed("0001 't' 0000", V5), True),
    Kind.CONNACK: (0x20, b"\0\0", b"", False),
    Kind.PUBLISH: (0x30, b"\0\1t", b"payload", False),
    Kind.PUBACK: (0x40, b"\0\1\x10", b"", True),
    Kind.PUBREC: (0x50, b"\0\1\x10", b"", True),
    Kind.PUBREL: (0x62, b"\0\1\x92", b"", True),
    Kind.PUBCOMP: (0x70, b"\0\1\x92", b"", True),
    Kind.SUBSCRIBE: (0x82, b"\0\1", b"\0\1a\0", True),
    Kind.SUBACK: (0x90, b"\0\1", b"\0", False),
    Kind.UNSUBSCRIBE: (0xA2, b"\0\1", b"\0\1a", True),
    Kind.UNSUBACK: (0xB0, b"\0\1", b"\0", False),
    Kind.DISCONNECT: (0xE0, b"\0", b"", True),
    Kind.AUTH: (0xF0, b"\x18", b"", True),
}
METHOD = b"\x15\0\1m"
VALUES: dict[str, bytes] = {
    "Byte": b"\1",
    "Two Byte Integer": b"\0\1",
    "Four Byte Integer": b"\0\0\0\1",
    "Variable Byte Integer": b"\1",
    "Binary Data": b"\0\1b",
    "UTF-8 Encoded String": b"\0\1s",
    "UTF-8 String Pair": b"\0\1k\0\1v",
}


def with_properties(kind: Kind, *properties: bytes) -> Item:
    first, before, after, from_client = AROUND[kind]
    data = with_length(first, before + section(*properties) + after)
    if kind in (Kind.CONNECT, Kind.WILL):
        return one(MqttPackets(), data)
    return one(connected(V5) if from_client else MqttPackets(version=V5, topic_alias_maximum=9), data)


def needed(kind: Kind, row: Property) -> tuple[bytes, ...]:
    """Return the properties without which a property is illegal."""
    alone = row.name == "authentication_method" or kind not in (Kind.AUTH, Kind.CONNECT)
    return () if alone else (METHOD,)


@pytest.mark.parametrize("kind", AROUND)
def test_every_property_in_every_packet(kind: Kind) -> None:
    for row in PROPERTIES:
        data = bytes((row.id,)) + VALUES[row.type.name]
        beside = needed(kind, row)
        if kind in row.kinds:
            assert not isinstance(with_properties(kind, data, *beside), MqttError), row.name
            twice = with_properties(kind, data, *beside, data)
            if row.name == "user_property" or (row.name, kind) == ("subscription_identifier", Kind.PUBLISH):
                assert not isinstance(twice, MqttError), row.name
            else:
                check(twice, PROTOCOL, V5)
        else:
            check(with_properties(kind, data, *beside), MALFORMED, V5)


@pytest.mark.parametrize(
    "row", [row for row in PROPERTIES if row.type.least is not None], ids=lambda row: str(row.name)
)
def test_the_numbers_of_every_property(row: Property) -> None:
    kind = min(row.kinds - {Kind.AUTH})
    for value in (0, 1, 2, row.type.most):
        item = with_properties(kind, bytes((row.id,)) + row.type.write(value))
        if row.type.least is not None and row.type.least <= value <= (
            9 if row.name == "topic_alias" else row.type.most
        ):
            assert not isinstance(item, MqttError)
        else:
            check(item, ALIAS if row.name == "topic_alias" else PROTOCOL, V5)


@pytest.mark.parametrize("identifier", sorted(set(range(256)) - {row.id for row in PROPERTIES}))
def test_unknown_properties(identifier: int) -> None:
    check(with_properties(Kind.PUBLISH, fields.varint(identifier) + b"\1"), MALFORMED, V5)


# --- Reasons, and what a server alone sends


@pytest.mark.parametrize("kind", [Kind.PUBACK, Kind.PUBREC, Kind.PUBREL, Kind.PUBCOMP, Kind.DISCONNECT, Kind.AUTH])
def test_every_reason_of_every_packet(kind: Kind) -> None:
    first, before, *_ = AROUND[kind]
    for code in range(256):
        item = one(
            connected(V5),
            with_length(first, before[:-1] + bytes((code,)) + section(METHOD if kind is Kind.AUTH else b"")),
        )
        if code in REASONS[kind]:
            assert getattr(item, "reason", None) == code
        else:
            check(item, PROTOCOL, V5)


def test_the_short_forms_of_acknowledgements() -> None:
    for data, expected in (
        ("4002 0001", PubAcks((1,))),
        ("4003 0001 00", PubAck(1)),
        ("4004 0001 10 00", PubAck(1, 0x10)),
        ("6203 0001 92", PubRel(1, 0x92)),
        ("e000", Disconnect()),
        ("e001 04", Disconnect(4)),
        ("e002 04 00", Disconnect(4)),
        ("e007 00 05 11 00000009", Disconnect(0, Properties(session_expiry_interval=9))),
    ):
        assert one(connected(V5), bytes.fromhex(data)) == expected


SERVER_RULES: list[tuple[str, tuple[int, ...], str, int]] = [
    ("reserved flags of CONNACK", OLD, "2002 02 00", MALFORMED),
    ("reserved flags of CONNACK", NEW, "2003 02 00 00", MALFORMED),
    ("return code 6", OLD, "2002 00 06", PROTOCOL),
    ("another's reason in CONNACK", NEW, "2003 00 8b 00", PROTOCOL),
    ("a session after a refusal", OLD, "2002 01 05", PROTOCOL),
    ("a session after a refusal", NEW, "2003 01 87 00", PROTOCOL),
    ("SUBACK without reasons", OLD, "9002 0001", PROTOCOL),
    ("SUBACK without reasons", NEW, "9003 0001 00", PROTOCOL),
    ("SUBACK with a reason of MQTT 5", OLD, "9003 0001 87", PROTOCOL),
    ("SUBACK with another's reason", BOTH, "9004 0001 00 03", PROTOCOL),
    ("UNSUBACK with reasons", OLD, "b003 0001 00", MALFORMED),
    ("UNSUBACK without reasons", NEW, "b003 0001 00", PROTOCOL),
    ("PINGRESP with a body", BOTH, "d001 00", MALFORMED),
    ("DISCONNECT from a server", OLD, "e000", PROTOCOL),
    ("a session expiry from a server", NEW, "e007 00 05 11 00000009", PROTOCOL),
]


@pytest.mark.parametrize(
    ("version", "data", "reason"),
    [
        pytest.param(version, data, reason, id=f"{'5' if version == V5 else '3.1.1'} {name}")
        for name, versions, data, reason in SERVER_RULES
        for version in versions
    ],
)
def test_what_a_server_must_not_send(version: int, data: str, reason: int) -> None:
    check(one(MqttPackets(version=version), bytes.fromhex(data)), reason, version)


def test_return_codes_of_3_1_1_are_reasons_inside() -> None:
    for code, reason in enumerate((0x00, 0x84, 0x85, 0x88, 0x86, 0x87)):
        assert one(MqttPackets(version=V311), bytes((0x20, 2, 0, code))) == ConnAck(reason)
        assert encode(ConnAck(reason), V311) == bytes((0x20, 2, 0, code))
    assert encode(ConnAck(Reason.BANNED), V311) == bytes((0x20, 2, 0, 5))
    assert one(MqttPackets(version=V311), bytes.fromhex("b0020007")) == UnsubAck(7)
