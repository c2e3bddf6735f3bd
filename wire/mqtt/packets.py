"""Floor 0: the control packets of MQTT as types, for 3.1.1 and 5. A field that 3.1.1 lacks has its default."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from .codes import V311
from .properties import NONE, Properties


class _Packet(msgspec.Struct, frozen=True, gc=False, repr_omit_defaults=True):
    """One control packet (§3). `gc=False`: no packet is in a cycle, and thousands live at a time."""


class Will(_Packet, frozen=True):
    """The message that the server publishes when the connection is lost (§3.1.2.5)."""

    topic: str
    payload: bytes = b""
    qos: int = 0
    retain: bool = False
    properties: Properties = NONE


class Connect(_Packet, frozen=True, kw_only=True):
    """§3.1. `clean` is Clean Session in 3.1.1 and Clean Start in 5. `keep_alive` is in seconds, 0 for none."""

    version: int = V311
    client_id: str = ""
    clean: bool = True
    keep_alive: int = 0
    username: str | None = None
    password: bytes | None = None
    will: Will | None = None
    properties: Properties = NONE

    def __repr__(self) -> str:  # a log may show a packet, but never a password
        return f"Connect(version={self.version}, client_id={self.client_id!r}, username={self.username!r}, …)"


class ConnAck(_Packet, frozen=True):
    """§3.2."""

    reason: int = 0
    session_present: bool = False
    properties: Properties = NONE


class Publish(_Packet, frozen=True):
    """§3.3. `packet_id` is 0 at QoS 0. The decoder replaces a topic alias by its topic."""

    topic: str
    payload: bytes = b""
    qos: int = 0
    retain: bool = False
    dup: bool = False
    packet_id: int = 0
    properties: Properties = NONE


class Oversized(_Packet, frozen=True):
    """In place of a PUBLISH of `size` bytes, which is over the limit."""

    topic: str
    qos: int
    packet_id: int
    size: int


class Unusable(_Packet, frozen=True):
    """In place of a PUBLISH that breaks a rule of MQTT; `sentence` says which rule."""

    topic: str
    qos: int
    packet_id: int
    sentence: str


class PubAck(_Packet, frozen=True):
    """§3.4, with a reason or properties (MQTT 5 only). `PubAcks` has the bare ones."""

    packet_id: int
    reason: int = 0
    properties: Properties = NONE


class PubAcks(_Packet, frozen=True):
    """A run of one or more bare PUBACKs (§3.4), in their order."""

    packet_ids: tuple[int, ...]


class PubRec(_Packet, frozen=True):
    """§3.5."""

    packet_id: int
    reason: int = 0
    properties: Properties = NONE


class PubRel(_Packet, frozen=True):
    """§3.6."""

    packet_id: int
    reason: int = 0
    properties: Properties = NONE


class PubComp(_Packet, frozen=True):
    """§3.7."""

    packet_id: int
    reason: int = 0
    properties: Properties = NONE


class Subscription(_Packet, frozen=True):
    """One topic filter of a SUBSCRIBE with its options (§3.8.3.1); 3.1.1 knows the QoS only."""

    filter: str
    qos: int = 0
    no_local: bool = False
    retain_as_published: bool = False
    retain_handling: int = 0

    @property
    def options(self) -> int:
        """The options as the byte that follows the filter in MQTT 5."""
        return self.qos | self.no_local << 2 | self.retain_as_published << 3 | self.retain_handling << 4

    @staticmethod
    def of(topic_filter: str, options: int) -> Subscription:
        """Return the subscription with a filter and that byte."""
        return Subscription(
            topic_filter, options & 0x03, bool(options & 0x04), bool(options & 0x08), options >> 4 & 0x03
        )


class Subscribe(_Packet, frozen=True):
    """§3.8."""

    packet_id: int
    subscriptions: tuple[Subscription, ...]
    properties: Properties = NONE


class SubAck(_Packet, frozen=True):
    """§3.9: one reason for each filter: the granted QoS, or a failure, which is always 0x80 in 3.1.1."""

    packet_id: int
    reasons: tuple[int, ...]
    properties: Properties = NONE


class Unsubscribe(_Packet, frozen=True):
    """§3.10."""

    packet_id: int
    filters: tuple[str, ...]
    properties: Properties = NONE


class UnsubAck(_Packet, frozen=True):
    """§3.11. MQTT 5 has a reason for each filter, 3.1.1 has none."""

    packet_id: int
    reasons: tuple[int, ...] = ()
    properties: Properties = NONE


class PingReq(_Packet, frozen=True):
    """§3.12."""


class PingResp(_Packet, frozen=True):
    """§3.13."""


class Disconnect(_Packet, frozen=True):
    """§3.14. From a server in MQTT 5 only."""

    reason: int = 0
    properties: Properties = NONE


class Auth(_Packet, frozen=True):
    """§3.15, MQTT 5 only."""

    reason: int = 0
    properties: Properties = NONE


Packet: TypeAlias = (
    Connect
    | ConnAck
    | Publish
    | PubAck
    | PubAcks
    | PubRec
    | PubRel
    | PubComp
    | Subscribe
    | SubAck
    | Unsubscribe
    | UnsubAck
    | PingReq
    | PingResp
    | Disconnect
    | Auth
)
