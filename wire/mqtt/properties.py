"""Floor 0: the properties of MQTT 5 packets (§2.2.2), in one table that reads, writes and checks them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from .codes import V5, Kind, MqttError, Reason, malformed, protocol_error
from .fields import LARGEST_VARINT, Reader
from .fields import binary as write_binary
from .fields import pair as write_pair
from .fields import text as write_text
from .fields import uint16 as write_uint16
from .fields import uint32 as write_uint32
from .fields import varint as write_varint


class Properties(msgspec.Struct, frozen=True, kw_only=True, gc=False, repr_omit_defaults=True):
    """The properties of one packet, with the names of the specification. None or () stands for an absent one.

    Intervals are in seconds, sizes in bytes, and flags are 0 or 1.
    """

    payload_format_indicator: int | None = None
    message_expiry_interval: int | None = None
    content_type: str | None = None
    response_topic: str | None = None
    correlation_data: bytes | None = None
    subscription_identifier: tuple[int, ...] = ()
    session_expiry_interval: int | None = None
    assigned_client_identifier: str | None = None
    server_keep_alive: int | None = None
    authentication_method: str | None = None
    authentication_data: bytes | None = None
    request_problem_information: int | None = None
    will_delay_interval: int | None = None
    request_response_information: int | None = None
    response_information: str | None = None
    server_reference: str | None = None
    reason_string: str | None = None
    receive_maximum: int | None = None
    topic_alias_maximum: int | None = None
    topic_alias: int | None = None
    maximum_qos: int | None = None
    retain_available: int | None = None
    user_property: tuple[tuple[str, str], ...] = ()
    maximum_packet_size: int | None = None
    wildcard_subscription_available: int | None = None
    subscription_identifier_available: int | None = None
    shared_subscription_available: int | None = None


NONE = Properties()


@dataclass(frozen=True, slots=True)
class Type:
    """A type of value: its reader and writer, and its range if it is a number (`least` None: it is not one)."""

    name: str
    read: Callable[[Reader], Any]
    write: Callable[[Any], bytes]
    least: int | None = None
    most: int = 0


@dataclass(frozen=True, slots=True)
class Property:
    """One row of §2.2.2.2: the identifier, the field of `Properties`, the type, and the packets that may have it."""

    id: int
    name: str
    type: Type
    kinds: frozenset[Kind]

    @property
    def words(self) -> str:
        return self.name.replace("_", " ")


def _byte(value: int) -> bytes:
    return bytes((value,))


# Every property of type Byte is a flag; a value over 1 is an error (§3.1.2.11.6 and so on). Where 0 is an error, the
# name says so: Receive Maximum §3.1.2.11.3, Maximum Packet Size §3.1.2.11.4, Topic Alias [MQTT-3.3.2-8],
# Subscription Identifier §3.8.2.1.2.
FLAG = Type("Byte", Reader.byte, _byte, 0, 1)
UINT16 = Type("Two Byte Integer", Reader.uint16, write_uint16, 0, 0xFFFF)
POSITIVE_UINT16 = Type("Two Byte Integer", Reader.uint16, write_uint16, 1, 0xFFFF)
UINT32 = Type("Four Byte Integer", Reader.uint32, write_uint32, 0, 0xFFFFFFFF)
POSITIVE_UINT32 = Type("Four Byte Integer", Reader.uint32, write_uint32, 1, 0xFFFFFFFF)
POSITIVE_VARINT = Type("Variable Byte Integer", Reader.varint, write_varint, 1, LARGEST_VARINT)
TEXT = Type("UTF-8 Encoded String", Reader.text, write_text)
BINARY = Type("Binary Data", Reader.binary, write_binary)
PAIR = Type("UTF-8 String Pair", Reader.pair, write_pair)


def _row(id: int, name: str, type: Type, *kinds: Kind) -> Property:
    return Property(id, name, type, frozenset(kinds))


_MESSAGE = (Kind.PUBLISH, Kind.WILL)
_ACKS = (Kind.PUBACK, Kind.PUBREC, Kind.PUBREL, Kind.PUBCOMP, Kind.SUBACK, Kind.UNSUBACK)
_LOGIN = (Kind.CONNECT, Kind.CONNACK)
_WITHOUT = (Kind.PINGREQ, Kind.PINGRESP)

PROPERTIES: tuple[Property, ...] = (
    _row(0x01, "payload_format_indicator", FLAG, *_MESSAGE),
    _row(0x02, "message_expiry_interval", UINT32, *_MESSAGE),
    _row(0x03, "content_type", TEXT, *_MESSAGE),
    _row(0x08, "response_topic", TEXT, *_MESSAGE),
    _row(0x09, "correlation_data", BINARY, *_MESSAGE),
    _row(0x0B, "subscription_identifier", POSITIVE_VARINT, Kind.PUBLISH, Kind.SUBSCRIBE),
    _row(0x11, "session_expiry_interval", UINT32, *_LOGIN, Kind.DISCONNECT),
    _row(0x12, "assigned_client_identifier", TEXT, Kind.CONNACK),
    _row(0x13, "server_keep_alive", UINT16, Kind.CONNACK),
    _row(0x15, "authentication_method", TEXT, *_LOGIN, Kind.AUTH),
    _row(0x16, "authentication_data", BINARY, *_LOGIN, Kind.AUTH),
    _row(0x17, "request_problem_information", FLAG, Kind.CONNECT),
    _row(0x18, "will_delay_interval", UINT32, Kind.WILL),
    _row(0x19, "request_response_information", FLAG, Kind.CONNECT),
    _row(0x1A, "response_information", TEXT, Kind.CONNACK),
    _row(0x1C, "server_reference", TEXT, Kind.CONNACK, Kind.DISCONNECT),
    _row(0x1F, "reason_string", TEXT, Kind.CONNACK, *_ACKS, Kind.DISCONNECT, Kind.AUTH),
    _row(0x21, "receive_maximum", POSITIVE_UINT16, *_LOGIN),
    _row(0x22, "topic_alias_maximum", UINT16, *_LOGIN),
    _row(0x23, "topic_alias", POSITIVE_UINT16, Kind.PUBLISH),
    _row(0x24, "maximum_qos", FLAG, Kind.CONNACK),
    _row(0x25, "retain_available", FLAG, Kind.CONNACK),
    _row(0x26, "user_property", PAIR, *(kind for kind in Kind if kind not in _WITHOUT)),
    _row(0x27, "maximum_packet_size", POSITIVE_UINT32, *_LOGIN),
    _row(0x28, "wildcard_subscription_available", FLAG, Kind.CONNACK),
    _row(0x29, "subscription_identifier_available", FLAG, Kind.CONNACK),
    _row(0x2A, "shared_subscription_available", FLAG, Kind.CONNACK),
)
_BY_ID: dict[int, Property] = {row.id: row for row in PROPERTIES}

# User properties may be repeated anywhere (§3.1.2.11.8 and so on). Subscription identifiers may be repeated only where
# several subscriptions have matched (§3.3.2.3.8), not in the SUBSCRIBE that sets one (§3.8.2.1.2).
_REPEATED = {(row.name, kind) for row in PROPERTIES for kind in row.kinds if row.name == "user_property"}
_REPEATED.add(("subscription_identifier", Kind.PUBLISH))
_IN_TUPLES = {name for name, _ in _REPEATED}


def read(reader: Reader, kind: Kind) -> Properties:
    """Read the property section of a packet; 3.1.1 has none. Raises MqttError."""
    if reader.version != V5:
        return NONE
    length = reader.varint()
    if not length:
        return NONE
    end, reader.end = reader.end, reader.at + length
    if reader.end > end:
        raise malformed("The properties are longer than their packet.")
    values: dict[str, Any] = {}
    while reader.at < reader.end:
        _read_one(reader, kind, values)
    reader.end = end
    for name in _IN_TUPLES & values.keys():
        values[name] = tuple(values[name])
    return Properties(**values)


def _read_one(reader: Reader, kind: Kind, values: dict[str, Any]) -> None:
    row = _BY_ID.get(identifier := reader.varint())
    if row is None or kind not in row.kinds:  # §2.2.2.2
        raise malformed(f"{kind.name} has no {row.words if row else f'property 0x{identifier:02X}'}.")
    name, type = row.name, row.type
    value = type.read(reader)
    if type.least is not None and not type.least <= value <= type.most:
        reason = Reason.TOPIC_ALIAS_INVALID if name == "topic_alias" else Reason.PROTOCOL_ERROR
        raise MqttError(reason, f"The {row.words} cannot be {value}.")
    if name in values and (name, kind) not in _REPEATED:
        raise protocol_error(f"The {row.words} occurs more than once.")
    if name in _IN_TUPLES:
        values.setdefault(name, []).append(value)
        if len(values[name]) > reader.bounds.user_properties:
            most = reader.bounds.user_properties
            raise MqttError(Reason.QUOTA_EXCEEDED, f"A packet has at most {most} of the property {row.words} here.")
    else:
        values[name] = value


def write(properties: Properties, kind: Kind) -> bytes:
    """Return the property section of a packet of MQTT 5. Raises ValueError for a property that it cannot have."""
    if properties is NONE:
        return b"\0"
    parts: list[bytes] = []
    for row in PROPERTIES:
        value = getattr(properties, row.name)
        if value is None or value == ():
            continue
        if kind not in row.kinds:
            raise ValueError(f"{kind.name} has no {row.name}")
        for each in value if row.name in _IN_TUPLES else (value,):
            if row.type.least is not None and not row.type.least <= each <= row.type.most:
                raise ValueError(f"{row.name} cannot be {each}")
            parts += (bytes((row.id,)), row.type.write(each))
    section = b"".join(parts)
    return write_varint(len(section)) + section
