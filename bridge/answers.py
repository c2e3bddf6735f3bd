"""Floor 3: what one MQTT client is answered: frames of the session as PUBACK, PUBREC and PUBLISH at QoS 0."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wire.frames import Entry, Error, Frame, Stored
from wire.mqtt import encode, publish
from wire.mqtt_codes import V5, Reason
from wire.mqtt_packets import PubAck, PubRec
from wire.mqtt_properties import NONE, Properties

from .topics import Topics

# What an error is called in an acknowledgement of MQTT 5 (§3.4.2.1); 3.1.1 can only acknowledge.
_REASONS: dict[str, Reason] = {
    "not-allowed": Reason.NOT_AUTHORIZED,
    "not-a-member": Reason.NOT_AUTHORIZED,
    "bad-name": Reason.TOPIC_NAME_INVALID,
    "unknown-command": Reason.TOPIC_NAME_INVALID,
    "bad-frame": Reason.PAYLOAD_FORMAT_INVALID,
    "too-long": Reason.QUOTA_EXCEEDED,
    "too-many-channels": Reason.QUOTA_EXCEEDED,
}
_QOS = (
    16  # a request's `ref` is its packet identifier with the QoS above it, and above that a number if it has a context
)
_CONTEXT = 20


@dataclass(frozen=True, slots=True)
class Context:
    """What is to be remembered of a request until it is answered."""

    topic: str
    response_topic: str | None = None
    correlation: bytes | None = None


class Answers:
    """How a client is told what is for it alone. `hears` says whether it has subscribed to a topic."""

    key = "mqtt answers"
    interactive = False
    __slots__ = ("_contexts", "_count", "_hears", "_topics", "broken", "limit", "me", "version")

    def __init__(self, topics: Topics, hears: Callable[[str], bool]) -> None:
        self._topics = topics
        self._hears = hears
        self.version = V5
        self.me = ""
        self.limit = 0  # the client's Maximum Packet Size; 0: none
        self.broken = False  # something could not be stored, and MQTT 3.1.1 has no word for it
        self._contexts: dict[int, Context] = {}
        self._count = 0

    def ref(self, packet_id: int, qos: int, context: Context | None = None) -> int:
        """The `ref` of a request, so that its answer becomes its acknowledgement."""
        ref = qos << _QOS | packet_id
        if context is not None:
            self._count += 1
            ref |= self._count << _CONTEXT
            self._contexts[ref] = context
        return ref

    def encode(self, frame: Frame) -> bytes:
        """An answer or an event, as far as the client subscribed to it; after the acknowledgement that it is."""
        ref = getattr(frame, "ref", None)
        if ref is None:
            return self._publish(frame, None)
        context = self._contexts.pop(ref, None)
        return self._acknowledge(frame, ref >> _QOS & 3, ref & 0xFFFF) + self._publish(frame, context)

    def _acknowledge(self, frame: Frame, qos: int, packet_id: int) -> bytes:
        if not qos:
            return b""
        reason, properties = Reason.SUCCESS, NONE
        if isinstance(frame, Error):
            if frame.code in ("not-stored", "internal") and self.version != V5:
                self.broken = True  # no acknowledgement: the client has it still
                return b""
            reason = _REASONS.get(frame.code, Reason.IMPLEMENTATION_SPECIFIC_ERROR)
            properties = Properties(reason_string=frame.error)
        elif qos == 1 and type(frame) is Stored:
            return b"\x40\x02" + packet_id.to_bytes(2, "big")
        return encode((PubAck if qos == 1 else PubRec)(packet_id, reason, properties), self.version)

    def _publish(self, frame: Frame, context: Context | None) -> bytes:
        answer = self._topics.answer(frame, self.me)
        if answer is None:
            return b""
        topic, payload = answer
        if isinstance(frame, Error):
            payload = self._topics.error(frame, self.me, context.topic if context is not None else None)
        properties = NONE
        if context is not None and context.response_topic is not None:
            topic = context.response_topic
            properties = Properties(correlation_data=context.correlation)
        if not self._hears(topic):
            return b""
        packet = publish(topic.encode(), payload, version=self.version, properties=properties)
        return b"" if self.limit and len(packet) > self.limit else packet

    def encode_entries(self, entries: Sequence[Entry], seq: int = 0, *, past: bool = False) -> bytes:
        """Entries go out in a view."""
        raise AssertionError("entries go out in a view")
