"""Floor 0: the packets of one connection from its bytes, which may be cut anywhere; MQTT 3.1.1 and 5."""

from __future__ import annotations

import re
import struct
from typing import TypeAlias

import msgspec

from .bounds import UNBOUNDED, Bounds
from .codes import FROM_CLIENT, FROM_SERVER, V5, Kind, MqttError, Reason, malformed, protocol_error
from .packets import Connect, Oversized, Packet, PubAcks, Publish, Unusable
from .parse import parse, parse_first

Item: TypeAlias = Packet | Oversized | Unusable | MqttError

LIMIT = 1_048_576  # bytes of one packet after its fixed header
TOPICS = 256  # topics of one connection that are kept as text
TOPIC_BYTES = 256  # bytes of the longest of them

# Which packets are legal before and after the CONNECT: [MQTT-3.1.0-1], [MQTT-3.1.0-2].
_FIRST = frozenset({Kind.CONNECT})
_LATER = FROM_CLIENT - _FIRST

_BARE_PUBACKS = re.compile(rb"(?:\x40\x02(?!\0\0)..)++", re.DOTALL)  # with identifiers that are not 0
_UNHEARD_PUBACKS = re.compile(rb"(?:\x40\x03(?!\0\0)..\x10)++", re.DOTALL)  # Reason.NO_MATCHING_SUBSCRIBERS
_identifiers = struct.Struct(">2xHx").iter_unpack  # of those


def remaining_length(data: bytes, at: int = 0) -> tuple[int, int]:
    """Return the remaining length (§2.2.3; 5 §2.1.4) of the packet at `at`, and the index where its body starts.

    Returns (0, 0) if the fixed header is incomplete. Raises MqttError if the length has more than four bytes.
    """
    size = 0
    for index, byte in enumerate(data[at + 1 : at + 5]):
        size |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return size, at + index + 2
    if len(data) - at > 4:
        raise malformed("The remaining length has more than four bytes.")
    return 0, 0


class MqttPackets:
    """Decodes the packets of a client or, with a `version`, those of a server.

    It also resolves topic aliases, which only shorten topics on one connection.
    """

    key = "mqtt"
    __slots__ = (
        "_alias_maximum", "_aliases", "_bounds", "_broken", "_from_client", "_held", "_legal", "_limit", "_need",
        "_skipping", "_skips", "_topics", "_unheard", "version",
    )  # fmt: skip

    def __init__(
        self, limit: int = LIMIT, *, topic_alias_maximum: int = 0, version: int = 0, skips: bool = False,
        unheard: bool = False, bounds: Bounds = UNBOUNDED,
    ) -> None:  # fmt: skip
        """`topic_alias_maximum` is what the peer was told (5 §3.2.2.3.8); 0 refuses every topic alias.

        With `skips`, a PUBLISH over the limit becomes `Oversized`, and one that breaks another rule `Unusable`, instead
        of an error: a broker passes on what its clients publish. With `unheard`, PUBACKs with the reason that nobody
        has subscribed (5 §3.4.2.1) may become bare ones, and so come in runs.
        """
        self.version = version  # 0 before the CONNECT
        self._from_client = not version
        self._legal = FROM_SERVER if version else _FIRST
        self._limit = limit
        self._bounds = bounds
        self._held = bytearray()  # the start of an incomplete packet
        self._need = 0  # bytes without which `_held` cannot be decoded
        self._skips = skips
        self._unheard = unheard and version == V5
        self._skipping = 0  # bytes to skip of a packet that is too large
        self._broken = False
        self._topics: dict[bytes, str] = {}  # valid topics, as bytes and as text
        self._alias_maximum = topic_alias_maximum
        self._aliases: dict[int, str] = {}

    @property
    def awaited(self) -> int:
        """The bytes of a packet that has come in part, as far as they are known; 0 if there is none."""
        return self._need if self._held else 0

    @property
    def between(self) -> bool:
        """True after the CONNECT if no packet has come in part, and no error."""
        return bool(self.version) and not (self._held or self._skipping or self._broken)

    def receive(self, data: bytes) -> list[Item]:
        """Return the packets that `data` completes. An MqttError is the last item ever: later bytes are not read.

        Consecutive bare PUBACKs in `data` are one item, so their grouping depends on the cut.
        """
        held = self._held
        if self._skipping:
            skipped = min(self._skipping, len(data))
            self._skipping -= skipped
            data = data[skipped:]
        if held:
            if len(held) + len(data) < self._need:
                held += data
                return []
            data = b"".join((held, data))
            held.clear()
        items: list[Item] = []
        if self._broken:
            return items
        try:
            rest = self._receive(data, items)
        except MqttError as error:
            self._broken = True
            error.version = error.version or self.version
            items.append(error.with_traceback(None))  # a traceback would keep `data` alive
        else:
            held += data[rest:]
        return items

    def _receive(self, data: bytes, items: list[Item]) -> int:
        """Append the packets of `data` to `items`. Return the start of the incomplete rest. Raises MqttError."""
        at, end = 0, len(data)
        while at < end:
            if self.version:
                at = self._usual(data, at, items)
            next_at = self._any(data, at, items) if at < end else at
            if next_at == at:
                break
            at = next_at
        return at

    def _usual(self, data: bytes, at: int, items: list[Item]) -> int:
        """Decode runs of bare PUBACKs, and PUBLISHes to known topics, at full speed; stop before any other packet.

        `_any` decodes the others; the numbers here are its rules in short. The code is flat, as a call would cost as
        much as the rest. Return the index of the next packet.
        """
        add, known, limit, end = items.append, self._topics.get, self._limit, len(data)
        has_properties = self.version == V5
        while end - at > 3:
            first, size, start = data[at], data[at + 1], at + 2
            if size > 0x7F:
                more = data[start]
                if not 0 < more < 0x80:
                    break
                size += (more - 1) << 7
                start += 1
            stop = start + size
            if stop > end or not 1 < size <= limit:
                break
            if first == 0x30 or first == 0x32:  # noqa: PLR1714 - faster than a set, in the hottest loop
                topic_end = start + 2 + (data[start] << 8 | data[start + 1])
                topic = known(data[start + 2 : topic_end])
                body = topic_end + (first & 2) + has_properties
                if topic is None or body > stop or (has_properties and data[body - 1]):
                    break
                if first == 0x30:
                    add(Publish(topic, data[body:stop]))
                elif packet_id := data[topic_end] << 8 | data[topic_end + 1]:
                    add(Publish(topic, data[body:stop], 1, False, False, packet_id))
                else:
                    break
            elif first == 0x40 and (run := _BARE_PUBACKS.match(data, at)) is not None:
                stop = run.end()
                add(PubAcks(struct.unpack(f">{(stop - at) // 2}H", run[0])[1::2]))
            elif first == 0x40 and self._unheard and (run := _UNHEARD_PUBACKS.match(data, at)) is not None:
                stop = run.end()
                add(PubAcks(tuple([packet_id for (packet_id,) in _identifiers(run[0])])))
            else:
                break
            at = stop
        return at

    def _any(self, data: bytes, at: int, items: list[Item]) -> int:
        """Decode one packet of any kind. Return its end, or `at` if it is incomplete. Raises MqttError."""
        first = data[at]
        kind = parse_first(first, self.version)
        self._check_order(kind)
        size, start = remaining_length(data, at)
        limit = self._limit if self.version else min(self._limit, self._bounds.connect)
        if size > limit and self._skips and kind is Kind.PUBLISH:
            return self._skip(data, at, start, start + size, items)
        if size > limit:  # 5 §3.2.2.3.6
            raise MqttError(Reason.PACKET_TOO_LARGE, f"A packet has at most {limit} bytes here; this one has {size}.")
        stop = start + size
        if not start or stop > len(data):
            self._need = (stop if start else len(data) + 1) - at
            return at
        try:
            packet = parse(kind, first, data[start:stop], self.version, self._from_client, self._bounds)
        except MqttError as error:
            if self._skips and kind is Kind.PUBLISH and (unusable := _unusable(data[at:stop], start - at, error)):
                items.append(unusable)
                return stop
            raise
        if isinstance(packet, Connect):
            self.version, self._legal = packet.version, _LATER
        elif isinstance(packet, Publish):
            packet = self._with_topic(packet)
        if self.version == V5 and start - at > 2 and not data[start - 1]:  # 5 [MQTT-1.5.5-1]; legal in 3.1.1
            raise malformed("The remaining length has more bytes than necessary.")
        items.append(packet)
        return stop

    def _skip(self, data: bytes, at: int, start: int, stop: int, items: list[Item]) -> int:
        """Skip a PUBLISH that is too large. Return the end of its bytes so far, or `at` if its start is incomplete."""
        qos = data[at] >> 1 & 3
        head = _head(data, start, qos)
        if len(data) < head:
            self._need = head - at
            return at
        items.append(Oversized(*_sender(data, start, head, qos), stop - start))
        self._skipping = max(0, stop - len(data))
        return min(stop, len(data))

    def _check_order(self, kind: Kind) -> None:
        if kind in self._legal:
            return
        if not self.version:
            raise protocol_error(f"The first packet has to be CONNECT, not {kind.name}.")
        raise protocol_error(f"A {'client' if self._from_client else 'server'} cannot send {kind.name} here.")

    def _with_topic(self, packet: Publish) -> Publish:
        """Return the packet with its topic, if it has only a topic alias (5 §3.3.2.3.4)."""
        alias = packet.properties.topic_alias
        if alias is None:
            self._remember(packet.topic)
            return packet
        if alias > self._alias_maximum:  # [MQTT-3.3.2-9], [MQTT-3.3.2-11]
            raise MqttError(
                Reason.TOPIC_ALIAS_INVALID, f"A topic alias here is at most {self._alias_maximum}; this one is {alias}."
            )
        if packet.topic:
            self._aliases[alias] = packet.topic
            return packet
        if alias not in self._aliases:
            raise protocol_error(f"The topic alias {alias} has no topic.")
        return msgspec.structs.replace(packet, topic=self._aliases[alias])

    def _remember(self, topic: str) -> None:
        """Keep the bytes of a valid topic, as a client publishes to few topics."""
        raw = topic.encode()
        if len(raw) <= TOPIC_BYTES:
            if len(self._topics) >= TOPICS:
                self._topics.clear()
            self._topics[raw] = topic


def _head(data: bytes, start: int, qos: int) -> int:
    """Return the end of the topic and packet identifier of a PUBLISH with its body at `start`; if unknown, a part."""
    topic = start + 2
    return topic + int.from_bytes(data[start:topic], "big") + (2 if qos else 0) if len(data) >= topic else topic


def _sender(data: bytes, start: int, head: int, qos: int) -> tuple[str, int, int]:
    """Return the topic, the QoS and the packet identifier of a PUBLISH whose head is complete (see `_head`)."""
    end = head - 2 if qos else head
    return data[start + 2 : end].decode(errors="replace"), qos, int.from_bytes(data[end:head], "big")


def _unusable(packet: bytes, start: int, error: MqttError) -> Unusable | None:
    """Return a PUBLISH that breaks a rule as Unusable; None if it has no packet identifier to acknowledge."""
    qos = packet[0] >> 1 & 3
    head = _head(packet, start, qos)
    if head > len(packet):
        return None
    topic, _, packet_id = _sender(packet, start, head, qos)
    return Unusable(topic, qos, packet_id, error.sentence) if packet_id or not qos else None
