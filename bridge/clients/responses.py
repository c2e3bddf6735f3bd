"""Floor 3: what one MQTT client is answered: frames of the session as PUBACK, PUBREC and PUBLISH at QoS 0.

What is published goes to every client of the user that has subscribed to it: one may ask, and another listen.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from channels.directory import User
from channels.log import Log
from channels.receipts import Ref
from wire.frames import Closing, Entry, Error, Frame, Stored
from wire.mqtt import NONE, V5, Connect, Properties, PubAck, PubRec, Reason, encode, goodbye, publish
from wire.topics import Topics

from .delivery import MqttReader

# What an error is called in an acknowledgement of MQTT 5 (§3.4.2.1); 3.1.1 can only acknowledge.
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
}
# A request's `ref` is its packet identifier, the QoS above it, and above that a number if it has a context.
_QOS, _CONTEXT = 16, 20


@dataclass(frozen=True, slots=True)
class RequestContext:
    """What is to be remembered of a request until it is answered."""

    topic: str
    response_topic: str | None = None
    correlation: bytes | None = None


class Responses:
    """How a client is told what is for it alone. Called by any thread, apart from `open` and `ref`."""

    key = "mqtt responses"
    acknowledges = True
    shows_time = False
    free_text = False
    __slots__ = (
        "_contexts", "_count", "_ended", "_give_up", "_hears", "_topics", "_user", "_wordy", "connected", "limit",
        "me", "tells_stored", "version",
    )  # fmt: skip

    def __init__(self, topics: Topics, hears: Callable[[str], bool], give_up: Callable[[], None]) -> None:
        """`hears` says whether the client has subscribed to a topic; `give_up` ends the connection without a word."""
        self._topics = topics
        self._hears = hears
        self._give_up = give_up
        self._contexts: dict[int, RequestContext] = {}
        self._count = 0
        self._user: User | None = None
        self._wordy = True  # the client wants to read why something was refused
        self._ended = False  # the client has been told that this is the end
        self.connected = False  # the client has been told that it is accepted
        self.tells_stored = False  # somebody wants a receipt of what is said at QoS 0, too
        self.version = 0
        self.me = ""
        self.limit = 0  # the client's Maximum Packet Size; 0: none

    def open(self, packet: Connect, me: str, user: User | None) -> None:
        """The client has connected as that user, and calls itself `me` in topics."""
        self.version, self.me, self._user = packet.version, me, user
        self._wordy = packet.properties.request_problem_information != 0

    def ref(self, packet_id: int, qos: int, context: RequestContext | None = None) -> int:
        """The `ref` of a request, so that its answer becomes its acknowledgement."""
        ref = qos << _QOS | packet_id
        if context is not None:
            self._count += 1
            ref |= self._count << _CONTEXT
            self._contexts[ref] = context
        return ref

    def encode(self, frame: Frame) -> bytes:
        """An answer or an event, as far as the client subscribed to it; after the acknowledgement that it is."""
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
        return ref >> _QOS & 3, ref & 0xFFFF, self._contexts.pop(ref, None) if ref >> _CONTEXT else None

    def encode_apart(self, frame: Frame) -> tuple[bytes, bytes]:
        """A payload is part of its PUBLISH."""
        return self.encode(frame), b""

    def pubacks(self, refs: Sequence[Ref]) -> bytes | None:
        """A PUBACK for each; None if they want anything else, or somebody wants to hear more of what is stored."""
        if self.tells_stored:
            return None
        words: list[int] = []
        for ref in refs:
            if not isinstance(ref, int) or ref >> _QOS != 1:
                return None
            words += (0x4002, ref & 0xFFFF)
        return struct.pack(f">{len(words)}H", *words)

    def _others(self) -> list[tuple[MqttReader[Log], Responses]]:
        """The other clients of the user."""
        sessions = self._user.sessions if self._user is not None else ()
        if len(sessions) < 2:
            return []
        readers = [each.reader for each in sessions if isinstance(each.reader, MqttReader)]
        return [
            (each, each.dialect) for each in readers if isinstance(each.dialect, Responses) and each.dialect is not self
        ]

    def subscribed(self) -> None:
        """The client's subscriptions have changed."""
        everyone = [self, *[responses for _, responses in self._others()]]
        wanted = any(each._hears(self._topics.event_topic(Stored, each.me)) for each in everyone)
        for each in everyone:
            each.tells_stored = wanted

    def _acknowledge(self, frame: Frame, qos: int, packet_id: int) -> bytes:
        if not qos:
            return b""
        if qos == 1 and type(frame) is Stored:
            return b"\x40\x02" + packet_id.to_bytes(2, "big")
        kind = PubAck if qos == 1 else PubRec
        if not isinstance(frame, Error):
            return encode(kind(packet_id), self.version)
        if frame.code in ("not-stored", "internal") and self.version != V5:
            self._give_up()  # 3.1.1 has no word for it: without an acknowledgement, the client has it still
            return b""
        reason = _REASONS.get(frame.code, Reason.IMPLEMENTATION_SPECIFIC_ERROR)
        if self._wordy:  # [MQTT-3.1.2-29]
            packet = encode(kind(packet_id, reason, Properties(reason_string=frame.error)), self.version)
            if self.fits(packet):  # [MQTT-3.4.2-2], [MQTT-3.5.2-2]
                return packet
        return encode(kind(packet_id, reason), self.version)

    def goodbye(self, reason: int, sentence: str = "", version: int = 0) -> bytes:
        """The last words, as far as the version has some; `version` is the client's, if it did not come to `open`."""
        if self._ended:
            return b""
        self._ended = True
        return goodbye(version or self.version, reason, sentence, connected=self.connected, limit=self.limit)

    def fits(self, packet: bytes) -> bool:
        """Whether the client takes a packet of that size ([MQTT-3.1.2-24])."""
        return not self.limit or len(packet) <= self.limit

    def publish(self, frame: Frame, context: RequestContext | None) -> bytes:
        """Return the PUBLISH of a response or an event; empty if the client has not subscribed to its topic."""
        asked, response_topic, properties = None, None, NONE
        if context is not None:
            asked, properties = context.topic, Properties(correlation_data=context.correlation)
            if context.response_topic is not None and self._hears(context.response_topic):
                response_topic = context.response_topic
        topic = self._topics.place(frame, self.me, asked, response_topic)
        if topic is None or not self._hears(topic):
            return b""
        payload = self._topics.payload(frame, self.me, asked)
        packet = publish(topic.encode(), payload, version=self.version, properties=properties)
        if self.fits(packet):
            return packet
        if context is None or isinstance(frame, Error):
            return b""
        return self.publish(Error(code="too-long", error="The answer is over your Maximum Packet Size."), context)

    def message(self, topic: str, payload: bytes, *, retain: bool = False, properties: Properties = NONE) -> bytes:
        """A message at QoS 0 that is no answer; empty if it is too large for the client."""
        packet = publish(topic.encode(), payload, retain=retain, version=self.version, properties=properties)
        return packet if self.fits(packet) else b""

    def encode_entries(self, entries: Sequence[Entry], seq: int = 0, *, past: bool = False) -> bytes:
        """Entries go out in an encoding."""
        raise AssertionError("entries go out in an encoding")
