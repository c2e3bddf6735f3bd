"""Floor 0: MQTT packets as bytes. For 3.1.1 they have no properties and few reasons."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .codes import RETURN_CODES, V5, V311, Kind
from .fields import binary, text, uint16, varint
from .filters import valid_topic
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
    UnsubAck,
    Unsubscribe,
)
from .properties import NONE, Properties
from .properties import write as write_properties

PINGREQ = b"\xc0\x00"
PINGRESP = b"\xd0\x00"
PUBACK_SIZE = 4  # bytes of a bare PUBACK
_PUBACK = 0x4002  # the fixed header of a bare PUBACK


def encode(packet: Packet, version: int) -> bytes:
    """Return a packet as bytes. Raises ValueError for what MQTT cannot carry, such as a topic of 70,000 bytes."""
    return _ENCODERS[type(packet)](packet, version)


def encode_puback(packet_id: int) -> bytes:
    """Return a bare PUBACK (§3.4), which has the same bytes in both versions."""
    return b"\x40\x02" + packet_id.to_bytes(2, "big")


def encode_pubacks(packet_ids: Sequence[int]) -> bytes:
    """Return a bare PUBACK for each packet identifier, in their order."""
    words = [_PUBACK] * (2 * len(packet_ids))
    words[1::2] = packet_ids
    return struct.pack(f">{len(words)}H", *words)


def encode_pubcomp(packet_id: int) -> bytes:
    """Return a bare PUBCOMP (§3.7), which has the same bytes in both versions."""
    return b"\x70\x02" + packet_id.to_bytes(2, "big")


def encode_acknowledgement(qos: int, packet_id: int) -> bytes:
    """Return the bare answer to a PUBLISH: PUBACK at QoS 1, PUBREC (§3.5) at QoS 2, nothing at QoS 0."""
    if not qos:
        return b""
    return (b"\x40\x02" if qos == 1 else b"\x50\x02") + packet_id.to_bytes(2, "big")


def goodbye(version: int, reason: int, sentence: str = "", *, connected: bool = True, limit: int = 0) -> bytes:
    """Return the last packet of a server: DISCONNECT if it has accepted the client (`connected`), else CONNACK.

    Return nothing if the version cannot carry it: 3.1.1 has no DISCONNECT of a server, and only five refusals;
    `version` 0 is a peer that has not told its version. `limit` is the client's Maximum Packet Size, 0 for none. A
    packet over it loses its sentence ([MQTT-3.2.2-19], [MQTT-3.14.2-3]), or is not sent at all ([MQTT-3.1.2-24]).
    """
    if not version or (version == V311 and (connected or reason not in RETURN_CODES)):
        return b""
    properties = Properties(reason_string=sentence) if sentence else NONE
    farewell = Disconnect if connected else ConnAck  # [MQTT-3.14.0-1]
    for packet in (farewell(reason, properties=properties), farewell(reason)):
        data = encode(packet, version)
        if not limit or len(data) <= limit:
            return data
    return b""


def publish(
    topic: bytes,
    payload: bytes,
    qos: int = 0,
    retain: bool = False,
    dup: bool = False,
    packet_id: int = 0,
    version: int = V311,
    properties: Properties = NONE,
) -> bytes:
    """Return a PUBLISH (§3.3) to a topic in UTF-8. `Publisher` is faster for many to one topic."""
    middle = uint16(packet_id) if qos else b""
    if version == V5:
        middle += write_properties(properties, Kind.PUBLISH)
    start = binary(topic)
    size = len(start) + len(middle) + len(payload)
    return b"".join((_HEADS[0x30 | dup << 3 | qos << 1 | retain][size], start, middle, payload))


class Publisher:
    """Encodes PUBLISHes to one topic, many at a time. The constructor makes the bytes that they share.

    The bytes are the same for every subscriber of one version and QoS.
    """

    __slots__ = ("_first", "_properties", "_start", "qos")

    def __init__(
        self, topic: str, version: int, qos: int = 0, *, retain: bool = False, properties: Properties = NONE
    ) -> None:
        if not valid_topic(topic):
            raise ValueError(f"{topic!r} is no topic that MQTT can publish to")
        self.qos = qos
        self._first = 0x30 | qos << 1 | retain
        self._properties = write_properties(properties, Kind.PUBLISH) if version == V5 else b""
        self._start = text(topic) if qos else text(topic) + self._properties

    def encode(self, payloads: Iterable[bytes]) -> bytes:
        """Return a PUBLISH of QoS 0 for each payload."""
        heads, start = _HEADS[self._first], self._start
        fixed = len(start)
        return b"".join([part for payload in payloads for part in (heads[fixed + len(payload)], start, payload)])

    def encode_with_ids(self, payloads: Iterable[bytes], packet_ids: Iterable[int], *, dup: bool = False) -> bytes:
        """Return a PUBLISH of QoS 1 or 2 for each payload, with the packet identifier at the same index."""
        heads, start, properties = _HEADS[self._first | dup << 3], self._start, self._properties
        fixed = len(start) + 2 + len(properties)
        return b"".join(
            [
                part
                for payload, packet_id in zip(payloads, packet_ids, strict=True)
                for part in (heads[fixed + len(payload)], start, packet_id.to_bytes(2, "big"), properties, payload)
            ]
        )


class _Heads(dict[int, bytes]):
    """The fixed headers (§2.2; 5 §2.1) with one first byte, by remaining length; made when first needed."""

    def __init__(self, first: int) -> None:
        self._first = bytes((first,))

    def __missing__(self, size: int) -> bytes:
        head = self._first + varint(size)
        if size < 16_384:  # longer ones are rare, and have too many lengths
            self[size] = head
        return head


_HEADS: tuple[_Heads, ...] = tuple(_Heads(first) for first in range(256))


def _frame(kind: Kind, body: bytes, flags: int = 0) -> bytes:
    return bytes((kind << 4 | flags,)) + varint(len(body)) + body


def _properties(properties: Properties, kind: Kind, version: int) -> bytes:
    return write_properties(properties, kind) if version == V5 else b""


def _connect(packet: Connect, version: int) -> bytes:
    will = packet.will
    flags = packet.clean << 1 | (packet.username is not None) << 7 | (packet.password is not None) << 6
    parts = [_properties(packet.properties, Kind.CONNECT, packet.version), text(packet.client_id)]
    if will is not None:
        flags |= 0x04 | will.qos << 3 | will.retain << 5
        parts += [_properties(will.properties, Kind.WILL, packet.version), text(will.topic), binary(will.payload)]
    if packet.username is not None:
        parts.append(text(packet.username))
    if packet.password is not None:
        parts.append(binary(packet.password))
    start = text("MQTT") + bytes((packet.version, flags)) + uint16(packet.keep_alive)
    return _frame(Kind.CONNECT, start + b"".join(parts))


def _connack(packet: ConnAck, version: int) -> bytes:
    if version == V311 and packet.reason not in RETURN_CODES:
        raise ValueError(f"CONNACK of MQTT 3.1.1 cannot say the reason 0x{packet.reason:02X}")
    code = packet.reason if version == V5 else RETURN_CODES[packet.reason]
    body = bytes((packet.session_present, code)) + _properties(packet.properties, Kind.CONNACK, version)
    return _frame(Kind.CONNACK, body)


def _publish(packet: Publish, version: int) -> bytes:
    return publish(
        packet.topic.encode(),
        packet.payload,
        packet.qos,
        packet.retain,
        packet.dup,
        packet.packet_id,
        version,
        packet.properties,
    )


def _short(reason: int, properties: Properties, kind: Kind, version: int) -> bytes:
    """Return a reason and properties in their shortest form (5 §3.4.2.1, §3.14.2.1)."""
    if version == V311 or (not reason and properties == NONE):
        return b""
    # Only AUTH has to tell the absence of properties (5 §3.15.2.1).
    bare = properties == NONE and kind is not Kind.AUTH
    return bytes((reason,)) + (b"" if bare else write_properties(properties, kind))


def _ack(kind: Kind, flags: int = 0) -> Callable[[Any, int], bytes]:
    def encode_ack(packet: PubAck | PubRec | PubRel | PubComp, version: int) -> bytes:
        return _frame(kind, uint16(packet.packet_id) + _short(packet.reason, packet.properties, kind, version), flags)

    return encode_ack


def _subscribe(packet: Subscribe, version: int) -> bytes:
    parts = [uint16(packet.packet_id), _properties(packet.properties, Kind.SUBSCRIBE, version)]
    for each in packet.subscriptions:
        options = each.options if version == V5 else each.qos
        parts += [text(each.filter), bytes((options,))]
    return _frame(Kind.SUBSCRIBE, b"".join(parts), 2)


def _suback(packet: SubAck, version: int) -> bytes:
    reasons: Sequence[int] = packet.reasons
    if version == V311:  # [MQTT-3.9.3-2]
        reasons = [min(reason, 0x80) for reason in reasons]
    start = uint16(packet.packet_id) + _properties(packet.properties, Kind.SUBACK, version)
    return _frame(Kind.SUBACK, start + bytes(reasons))


def _unsubscribe(packet: Unsubscribe, version: int) -> bytes:
    start = uint16(packet.packet_id) + _properties(packet.properties, Kind.UNSUBSCRIBE, version)
    return _frame(Kind.UNSUBSCRIBE, start + b"".join([text(each) for each in packet.filters]), 2)


def _unsuback(packet: UnsubAck, version: int) -> bytes:
    start = uint16(packet.packet_id) + _properties(packet.properties, Kind.UNSUBACK, version)
    return _frame(Kind.UNSUBACK, start + (bytes(packet.reasons) if version == V5 else b""))


def _disconnect(packet: Disconnect, version: int) -> bytes:
    return _frame(Kind.DISCONNECT, _short(packet.reason, packet.properties, Kind.DISCONNECT, version))


def _auth(packet: Auth, version: int) -> bytes:
    return _frame(Kind.AUTH, _short(packet.reason, packet.properties, Kind.AUTH, version))


_ENCODERS: dict[type, Callable[[Any, int], bytes]] = {
    Connect: _connect,
    ConnAck: _connack,
    Publish: _publish,
    PubAck: _ack(Kind.PUBACK),
    PubAcks: lambda packet, version: encode_pubacks(packet.packet_ids),
    PubRec: _ack(Kind.PUBREC),
    PubRel: _ack(Kind.PUBREL, 2),
    PubComp: _ack(Kind.PUBCOMP),
    Subscribe: _subscribe,
    SubAck: _suback,
    Unsubscribe: _unsubscribe,
    UnsubAck: _unsuback,
    PingReq: lambda packet, version: PINGREQ,
    PingResp: lambda packet, version: PINGRESP,
    Disconnect: _disconnect,
    Auth: _auth,
}
