"""Floor 0: one MQTT packet from its first byte and its body, with every check that needs no other packet."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from .bounds import UNBOUNDED, Bounds
from .codes import FROM_RETURN_CODE, REASONS, V5, V311, Kind, MqttError, Reason, malformed, protocol_error
from .fields import Reader
from .filters import SHARE, valid_filter, valid_topic
from .packets import (
    Auth,
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PingReq,
    PingResp,
    PubAck,
    PubAcks,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    Subscription,
    UnsubAck,
    Unsubscribe,
    Will,
)
from .properties import NONE, Properties, read

_KINDS: dict[int, Kind] = {kind: kind for kind in Kind if kind is not Kind.WILL}
# The lower half of the first byte (§2.2.2; 5 §2.1.3): [MQTT-3.6.1-1], -3.8.1-1, -3.10.1-1 want 2; the others 0.
_FLAGS: dict[Kind, int] = {Kind.PUBREL: 2, Kind.SUBSCRIBE: 2, Kind.UNSUBSCRIBE: 2}


def parse_first(first: int, version: int) -> Kind:
    """Return the kind of packet of a first byte. Raises MqttError, also for wrong flags."""
    kind = _KINDS.get(first >> 4)
    if kind is None or (kind is Kind.AUTH and version == V311):  # §2.2.1; 5 §2.1.2
        raise malformed(f"MQTT has no packet of type {first >> 4}.")
    if kind is Kind.PUBLISH:
        if first & 0b0110 == 0b0110:  # [MQTT-3.3.1-4]
            raise malformed("A PUBLISH cannot have QoS 3.")
        if first & 0b1110 == 0b1000:  # [MQTT-3.3.1-2]
            raise malformed("A PUBLISH of QoS 0 cannot be a duplicate.")
    elif first & 0x0F != _FLAGS.get(kind, 0):  # 3.1.1 [MQTT-2.2.2-1] and -2, 5 [MQTT-2.1.3-1]
        raise malformed(f"The reserved flags of {kind.name} are wrong.")
    return kind


def parse(kind: Kind, first: int, body: bytes, version: int, from_client: bool, bounds: Bounds = UNBOUNDED) -> Packet:
    """Return the packet of that kind, first byte (see `parse_first`) and body, from a client or from a server.

    A CONNECT brings its own version. A bare PUBACK becomes `PubAcks` of one. Raises MqttError.
    """
    reader = Reader(body, first, version, from_client, bounds)
    try:
        packet = _PARSERS[kind](reader)
        reader.done()
    except MqttError as error:
        error.version = error.version or reader.version  # a CONNECT may have told it before its mistake
        raise
    return packet


# Login: CONNECT, CONNACK, AUTH, DISCONNECT


def protocol_level(body: bytes) -> int | None:
    """Return the protocol level that the body of a CONNECT asks for (§3.1.2.2), None if its protocol is not MQTT."""
    return body[6] if len(body) > 6 and body[:6] == b"\x00\x04MQTT" else None


def _protocol(reader: Reader) -> None:
    """Set the version from the name and the level of the protocol (§3.1.2.1, §3.1.2.2)."""
    name, level = reader.binary(), reader.byte()
    if name == b"MQTT" and level in (V311, V5):
        reader.version = level
        return
    # [MQTT-3.1.2-1], [MQTT-3.1.2-2]: 3.1 (MQIsdp) and bridges of Mosquitto, which set the top bit of the level to try
    # an extension, understand the answer of 3.1.1. A peer of another protocol gets no answer.
    answer = 0 if name not in (b"MQTT", b"MQIsdp") else V5 if level & 0x7F >= V5 else V311
    raise MqttError(
        Reason.UNSUPPORTED_PROTOCOL_VERSION, "This server speaks MQTT 3.1.1 (level 4) and MQTT 5 (level 5).", answer
    )


def _connect(reader: Reader) -> Connect:
    _protocol(reader)
    flags = reader.byte()
    _check_connect_flags(flags, reader.version)
    keep_alive = reader.uint16()
    properties = read(reader, Kind.CONNECT)
    if properties.authentication_data is not None and properties.authentication_method is None:  # 5 §3.1.2.11.10
        raise protocol_error("CONNECT has authentication data without an authentication method.")
    # The order of the payload is [MQTT-3.1.3-1]. The fields of the flags are required: [MQTT-3.1.2-9], -19, -21.
    client_id = reader.text()
    if not client_id and reader.version == V311 and not flags & 0x02:  # 3.1.1 [MQTT-3.1.3-7], [MQTT-3.1.3-8]
        raise MqttError(Reason.CLIENT_IDENTIFIER_NOT_VALID, "A client without a client id needs a clean session.")
    will = _will(reader, flags) if flags & 0x04 else None
    username = reader.text() if flags & 0x80 else None
    password = reader.binary() if flags & 0x40 else None
    return Connect(
        version=reader.version,
        client_id=client_id,
        clean=bool(flags & 0x02),
        keep_alive=keep_alive,
        username=username,
        password=password,
        will=will,
        properties=properties,
    )


def _check_connect_flags(flags: int, version: int) -> None:
    if flags & 0x01:  # [MQTT-3.1.2-3]
        raise malformed("The reserved flag of CONNECT is set.")
    if not flags & 0x04 and flags & 0x38:  # [MQTT-3.1.2-11], -13, -15
        raise malformed("CONNECT has a will QoS or a will retain flag without a will.")
    if flags & 0x18 == 0x18:  # [MQTT-3.1.2-14]
        raise malformed("A will cannot have QoS 3.")
    if version == V311 and flags & 0xC0 == 0x40:  # 3.1.1 [MQTT-3.1.2-22]; legal in 5 (§3.1.2.9)
        raise malformed("CONNECT has a password without a user name.")


def _will(reader: Reader, flags: int) -> Will:
    properties = _message_properties(reader, Kind.WILL)
    topic = reader.text()
    if not valid_topic(topic):  # 3.1.1 [MQTT-4.7.1-1], 5 [MQTT-4.7.0-1], [MQTT-4.7.3-1]
        raise MqttError(Reason.TOPIC_NAME_INVALID, "The will's topic is empty or has a wildcard in it.")
    return Will(topic, reader.binary(), flags >> 3 & 0x03, bool(flags & 0x20), properties)


def _connack(reader: Reader) -> ConnAck:
    flags, code = reader.byte(), reader.byte()
    if flags > 1:  # 5 [MQTT-3.2.2-1], 3.1.1 §3.2.2.1
        raise malformed("The reserved flags of CONNACK are set.")
    if reader.version == V311 and code >= len(FROM_RETURN_CODE):  # 3.1.1 §3.2.2.3
        raise protocol_error(f"CONNACK has no return code {code}.")
    reason = FROM_RETURN_CODE[code] if reader.version == V311 else _reason(Kind.CONNACK, code)
    if flags and reason:  # 3.1.1 [MQTT-3.2.2-4], 5 [MQTT-3.2.2-6]
        raise protocol_error("A refused connection has no session.")
    return ConnAck(reason, bool(flags), read(reader, Kind.CONNACK))


def _disconnect(reader: Reader) -> Disconnect:
    if reader.version == V311 and not reader.from_client:
        raise protocol_error("A server of MQTT 3.1.1 sends no DISCONNECT.")  # 3.1.1 §3.14
    reason, properties = _short(reader, Kind.DISCONNECT)
    if properties.session_expiry_interval is not None and not reader.from_client:  # [MQTT-3.14.2-2]
        raise protocol_error("A server's DISCONNECT has no session expiry interval.")
    return Disconnect(reason, properties)


def _auth(reader: Reader) -> Auth:
    reason, properties = _short(reader, Kind.AUTH)
    if properties.authentication_method is None and reader.end:  # 5 §3.15.2.2.2; §3.15.2.1 for the empty one
        raise protocol_error("AUTH has no authentication method.")
    return Auth(reason, properties)


def _short(reader: Reader, kind: Kind) -> tuple[Reason, Properties]:
    """Read a reason and properties. A sender of MQTT 5 may leave out the defaults; 3.1.1 has neither."""
    if reader.version == V311 or reader.at == reader.end:
        return Reason.SUCCESS, NONE
    reason = _reason(kind, reader.byte())
    return reason, read(reader, kind) if reader.at < reader.end else NONE


def _reason(kind: Kind, code: int) -> Reason:
    if code not in REASONS[kind]:
        raise protocol_error(f"{kind.name} has no reason code 0x{code:02X}.")
    return Reason(code)


# Messages: PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP


def _publish(reader: Reader) -> Publish:
    topic = reader.text()
    if reader.at - 2 > reader.bounds.topic:
        raise MqttError(Reason.TOPIC_NAME_INVALID, f"A topic has at most {reader.bounds.topic} bytes here.")
    first = reader.first
    qos = first >> 1 & 0x03
    packet_id = _packet_id(reader) if qos else 0  # 3.1.1 [MQTT-2.3.1-5], 5 [MQTT-2.2.1-2]
    properties = _message_properties(reader, Kind.PUBLISH)
    if not topic and reader.version == V5:
        if properties.topic_alias is None:  # 5 §3.3.2.1
            raise protocol_error("A PUBLISH has neither a topic nor a topic alias.")
    elif not valid_topic(topic):  # [MQTT-3.3.2-2], [MQTT-4.7.3-1]
        raise MqttError(Reason.TOPIC_NAME_INVALID, "The topic of a PUBLISH is empty or has a wildcard in it.")
    if properties.subscription_identifier and reader.from_client:  # [MQTT-3.3.4-6]
        raise protocol_error("A client's PUBLISH has no subscription identifier.")
    return Publish(topic, reader.rest(), qos, bool(first & 1), bool(first & 8), packet_id, properties)


def _message_properties(reader: Reader, kind: Kind) -> Properties:
    properties = read(reader, kind)
    if properties.response_topic is not None and not valid_topic(properties.response_topic):  # [MQTT-3.3.2-14]
        raise protocol_error("The response topic is empty or has a wildcard in it.")
    return properties


def _packet_id(reader: Reader) -> int:
    packet_id = reader.uint16()
    if not packet_id:  # 3.1.1 [MQTT-2.3.1-1], 5 [MQTT-2.2.1-3], [MQTT-2.2.1-4]
        raise protocol_error("A packet identifier cannot be 0.")
    return packet_id


def _puback(reader: Reader) -> PubAck | PubAcks:
    packet_id = _packet_id(reader)
    if reader.at == reader.end:
        return PubAcks((packet_id,))
    return PubAck(packet_id, *_short(reader, Kind.PUBACK))


_Ack = TypeVar("_Ack", PubRec, PubRel, PubComp)


def _ack(kind: Kind, packet: Callable[[int, int, Properties], _Ack]) -> Callable[[Reader], _Ack]:
    def parse_ack(reader: Reader) -> _Ack:
        return packet(_packet_id(reader), *_short(reader, kind))

    return parse_ack


# Subscriptions: SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK


def _subscribe(reader: Reader) -> Subscribe:
    packet_id = _packet_id(reader)
    properties = read(reader, Kind.SUBSCRIBE)
    subscriptions: list[Subscription] = []
    while reader.at < reader.end:
        subscriptions.append(_subscription(reader))
        _check_count(reader, len(subscriptions))
    if not subscriptions:  # 3.1.1 [MQTT-3.8.3-3], 5 [MQTT-3.8.3-2]
        raise protocol_error("A SUBSCRIBE has no topic filter.")
    return Subscribe(packet_id, tuple(subscriptions), properties)


def _subscription(reader: Reader) -> Subscription:
    topic_filter, options = _filter(reader), reader.byte()
    if options & (0xC0 if reader.version == V5 else 0xFC):  # 3.1.1 [MQTT-3-8.3-4], 5 [MQTT-3.8.3-5]
        raise malformed("The reserved bits of a subscription's options are set.")
    if options & 0x03 == 0x03:  # 3.1.1 [MQTT-3-8.3-4], 5 §3.8.3.1
        raise (malformed if reader.version == V311 else protocol_error)("A subscription cannot have QoS 3.")
    if options & 0x30 == 0x30:  # 5 §3.8.3.1
        raise protocol_error("A subscription cannot have the retain handling 3.")
    if options & 0x04 and topic_filter.startswith(SHARE):  # [MQTT-3.8.3-4]
        raise protocol_error("A shared subscription cannot have the no local option.")
    return Subscription.of(topic_filter, options)


def _filter(reader: Reader) -> str:
    topic_filter = reader.text()
    if not valid_filter(topic_filter):  # §4.7.1, 5 §4.8.2
        raise MqttError(Reason.TOPIC_FILTER_INVALID, "A topic filter is empty or has a wildcard in a wrong place.")
    return topic_filter


def _check_count(reader: Reader, filters: int) -> None:
    if filters > reader.bounds.filters:
        raise MqttError(Reason.QUOTA_EXCEEDED, f"A packet has at most {reader.bounds.filters} topic filters here.")


def _suback(reader: Reader) -> SubAck:
    packet_id = _packet_id(reader)
    properties = read(reader, Kind.SUBACK)
    reasons = tuple(_reason(Kind.SUBACK, code) for code in reader.rest())
    if not reasons or (reader.version == V311 and not {0, 1, 2, 0x80}.issuperset(reasons)):  # 3.1.1 [MQTT-3.9.3-2]
        raise protocol_error("A SUBACK has no reason code, or a wrong one.")
    return SubAck(packet_id, reasons, properties)


def _unsubscribe(reader: Reader) -> Unsubscribe:
    packet_id = _packet_id(reader)
    properties = read(reader, Kind.UNSUBSCRIBE)
    filters: list[str] = []
    while reader.at < reader.end:
        filters.append(_filter(reader))
        _check_count(reader, len(filters))
    if not filters:  # [MQTT-3.10.3-2]
        raise protocol_error("An UNSUBSCRIBE has no topic filter.")
    return Unsubscribe(packet_id, tuple(filters), properties)


def _unsuback(reader: Reader) -> UnsubAck:
    packet_id = _packet_id(reader)
    if reader.version == V311:  # 3.1.1 §3.11.3: no payload
        return UnsubAck(packet_id)
    properties = read(reader, Kind.UNSUBACK)
    reasons = tuple(_reason(Kind.UNSUBACK, code) for code in reader.rest())
    if not reasons:  # 5 §3.11.3
        raise protocol_error("An UNSUBACK has no reason code.")
    return UnsubAck(packet_id, reasons, properties)


_PING_REQ, _PING_RESP = PingReq(), PingResp()

_PARSERS: dict[Kind, Callable[[Reader], Packet]] = {
    Kind.CONNECT: _connect,
    Kind.CONNACK: _connack,
    Kind.PUBLISH: _publish,
    Kind.PUBACK: _puback,
    Kind.PUBREC: _ack(Kind.PUBREC, PubRec),
    Kind.PUBREL: _ack(Kind.PUBREL, PubRel),
    Kind.PUBCOMP: _ack(Kind.PUBCOMP, PubComp),
    Kind.SUBSCRIBE: _subscribe,
    Kind.SUBACK: _suback,
    Kind.UNSUBSCRIBE: _unsubscribe,
    Kind.UNSUBACK: _unsuback,
    Kind.PINGREQ: lambda reader: _PING_REQ,
    Kind.PINGRESP: lambda reader: _PING_RESP,
    Kind.DISCONNECT: _disconnect,
    Kind.AUTH: _auth,
}
