"""Floor 3: the responses to one MQTT client: the session's frames as PUBACK, PUBREC and PUBLISH at QoS 0.

An answer goes to every client of the user that has subscribed to its topic: one client may ask, and another listen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from channels import Log, Ref, User
from wire.frames import Closing, Entry, Error, Frame, Stored
from wire.mqtt import (
    NONE,
    V5,
    Connect,
    Properties,
    PubAck,
    PubRec,
    Reason,
    encode,
    encode_puback,
    encode_pubacks,
    goodbye,
    publish,
)
from wire.topics import Topics

from .delivery import MqttReader

# The reason of an error in an acknowledgement of MQTT 5 (§3.4.2.1). In 3.1.1 an acknowledgement has no reason.
_REASONS: dict[str, Reason] = {
    "not-allowed": Reason.NOT_AUTHORIZED,
    "not-a-member": Reason.NOT_AUTHORIZED,
    "bad-name": Reason.TOPIC_NAME_INVALID,
    "unknown-command": Reason.TOPIC_NAME_INVALID,
    "bad-frame": Reason.PAYLOAD_FORMAT_INVALID,
    "too-long": Reason.QUOTA_EXCEEDED,
    "quota": Reason.QUOTA_EXCEEDED,
    "too-large": Reason.QUOTA_EXCEEDED,
    "too-many-channels": Reason.QUOTA_EXCEEDED,
    "rate-limited": Reason.QUOTA_EXCEEDED,
}
# The `ref` of a request has its packet identifier in 16 bits, above that the QoS, above that the number of its context.
QOS_SHIFT, _CONTEXT_SHIFT = 16, 20


@dataclass(frozen=True, slots=True)
class RequestContext:
    """The part of a request that its answer needs."""

    topic: str
    response_topic: str | None = None
    correlation: bytes | None = None


class Responses:
    """Encodes what one client alone is told. Any thread may call it, except for `open` and `ref`."""

    key = "mqtt responses"
    acknowledges = True
    shows_time = False
    free_text = False
    __slots__ = (
        "_contexts",
        "_count",
        "_ended",
        "_hang_up",
        "_is_subscribed",
        "_topics",
        "_user",
        "connected",
        "explains",
        "limit",
        "me",
        "tells_stored",
        "version",
    )  # fmt: skip

    def __init__(self, topics: Topics, is_subscribed: Callable[[str], bool], hang_up: Callable[[], None]) -> None:
        """`is_subscribed` is asked with a topic. `hang_up` ends the connection without a packet."""
        self._topics = topics
        self._is_subscribed = is_subscribed
        self._hang_up = hang_up
        self._contexts: dict[int, RequestContext] = {}
        self._count = 0
        self._user: User | None = None
        self.explains = True  # the client wants a sentence with a refusal
        self._ended = False  # `goodbye` has been encoded
        self.connected = False  # the CONNACK that accepts was sent
        self.tells_stored = False  # a client of the user has subscribed to receipts, which posts at QoS 0 get, too
        self.version = 0
        self.me = ""
        self.limit = 0  # the client's Maximum Packet Size; 0: none

    def open(self, packet: Connect, me: str, user: User | None) -> None:
        """Set what CONNECT has told: `me` is the name of the user as the client writes it in topics."""
        self.version, self.me, self._user = packet.version, me, user
        self.explains = packet.properties.request_problem_information != 0

    def ref(self, packet_id: int, qos: int, context: RequestContext | None = None) -> int:
        """Return the `ref` of a request, which makes its answer the acknowledgement of its packet."""
        ref = qos << QOS_SHIFT | packet_id
        if context is not None:
            self._count += 1
            ref |= self._count << _CONTEXT_SHIFT
            self._contexts[ref] = context
        return ref

    @property
    def largest(self) -> int:
        """The client's Maximum Packet Size in bytes; 0: none."""
        return self.limit

    def encode(self, frame: Frame) -> bytes:
        """Return an answer as its acknowledgement and as a PUBLISH, or an event as a PUBLISH, if subscribed to.

        Send an answer to the other clients of the user, too.
        """
        if isinstance(frame, Closing):
            return self.goodbye(Reason.SESSION_TAKEN_OVER) if self.connected else b""
        ref = getattr(frame, "ref", None)
        if ref is None:
            return self.publish(frame, None)
        qos, packet_id, context = self.take_request(ref)
        for reader, responses in self._others():
            reader.send_or_drop(responses.publish(frame, context))
        return self._acknowledge(frame, qos, packet_id) + self.publish(frame, context)

    def take_request(self, ref: int) -> tuple[int, int, RequestContext | None]:
        """Return QoS, packet identifier and context of the request with that `ref`; the context is forgotten."""
        return ref >> QOS_SHIFT & 3, ref & 0xFFFF, self._contexts.pop(ref, None) if ref >> _CONTEXT_SHIFT else None

    def encode_apart(self, frame: Frame) -> tuple[bytes, bytes]:
        """Return all as one piece, as a payload is part of its PUBLISH."""
        return self.encode(frame), b""

    def pubacks(self, refs: Sequence[Ref]) -> bytes | None:
        """Return a PUBACK for each; None if one needs another answer, or a client has subscribed to receipts."""
        packet_ids = None if self.tells_stored else self.plain_packet_ids(refs)
        return None if packet_ids is None else encode_pubacks(packet_ids)

    def plain_packet_ids(self, refs: Sequence[Ref]) -> list[int] | None:
        """Return the packet identifiers of posts at QoS 1 without an id; None if one is another request."""
        packet_ids: list[int] = []
        for ref in refs:
            if not isinstance(ref, int) or ref >> QOS_SHIFT != 1:
                return None
            packet_ids.append(ref & 0xFFFF)
        return packet_ids

    def _others(self) -> list[tuple[MqttReader[Log], Responses]]:
        """The readers and responses of the other clients of the user."""
        sessions = self._user.sessions if self._user is not None else ()
        if len(sessions) < 2:
            return []
        readers = [each.reader for each in sessions if isinstance(each.reader, MqttReader)]
        return [
            (each, each.dialect) for each in readers if isinstance(each.dialect, Responses) and each.dialect is not self
        ]

    def subscriptions_changed(self) -> None:
        """Note for all clients of the user whether one of them has subscribed to receipts."""
        everyone = [self, *[responses for _, responses in self._others()]]
        wanted = any(
            each._is_subscribed(self._topics.event_topic(Stored, each.me))  # noqa: SLF001 - of the same class
            for each in everyone
        )
        for each in everyone:
            each.tells_stored = wanted

    def _acknowledge(self, frame: Frame, qos: int, packet_id: int) -> bytes:
        if not qos:
            return b""
        if qos == 1 and type(frame) is Stored:
            return encode_puback(packet_id)
        kind = PubAck if qos == 1 else PubRec
        if not isinstance(frame, Error):
            return encode(kind(packet_id), self.version)
        if frame.code in ("not-stored", "internal") and self.version != V5:
            self._hang_up()  # 3.1.1 has no reason for it: without an acknowledgement, the client sends it again
            return b""
        reason = _REASONS.get(frame.code, Reason.IMPLEMENTATION_SPECIFIC_ERROR)
        if self.explains:  # [MQTT-3.1.2-29]
            packet = encode(kind(packet_id, reason, Properties(reason_string=frame.error)), self.version)
            if self.fits(packet):  # [MQTT-3.4.2-2], [MQTT-3.5.2-2]
                return packet
        return encode(kind(packet_id, reason), self.version)

    def goodbye(self, reason: int, sentence: str = "", version: int = 0) -> bytes:
        """Return the packet that ends the connection, empty if the version has none, or the second time.

        `version` is the client's, if `open` has not set it.
        """
        if self._ended:
            return b""
        self._ended = True
        return goodbye(version or self.version, reason, sentence, connected=self.connected, limit=self.limit)

    def fits(self, packet: bytes) -> bool:
        """Return True if the client takes a packet of this size ([MQTT-3.1.2-24])."""
        return not self.limit or len(packet) <= self.limit

    def publish(self, frame: Frame, context: RequestContext | None) -> bytes:
        """Return the PUBLISH of a response or an event; empty if the client has not subscribed to its topic."""
        asked, response_topic, properties = None, None, NONE
        if context is not None:
            asked, properties = context.topic, Properties(correlation_data=context.correlation)
            if context.response_topic is not None and self._is_subscribed(context.response_topic):
                response_topic = context.response_topic
        topic = self._topics.place(frame, self.me, asked, response_topic)
        if topic is None or not self._is_subscribed(topic):
            return b""
        payload = self._topics.payload(frame, self.me, asked)
        packet = publish(topic.encode(), payload, version=self.version, properties=properties)
        if self.fits(packet):
            return packet
        if context is None or isinstance(frame, Error):
            return b""
        return self.publish(Error(code="too-long", error="The answer is over your Maximum Packet Size."), context)

    def message(self, topic: str, payload: bytes, *, retain: bool = False, properties: Properties = NONE) -> bytes:
        """Return a message at QoS 0 that is no answer; empty if it is too large for the client."""
        packet = publish(topic.encode(), payload, retain=retain, version=self.version, properties=properties)
        return packet if self.fits(packet) else b""

    def encode_entries(self, entries: Sequence[Entry], seq: int = 0, *, past: bool = False) -> bytes:
        """Not used: the reader encodes entries with a PublishEncoding."""
        raise AssertionError("entries are encoded by PublishEncoding")
