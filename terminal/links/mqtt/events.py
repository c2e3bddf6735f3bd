"""Floor 4: what one MQTT connection receives, as events, and what the conversation needs of the connection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias


@dataclass(frozen=True, slots=True)
class Message:
    """A received PUBLISH. `packet_id` is 0 at QoS 0."""

    topic: str
    payload: bytes
    packet_id: int = 0
    retained: bool = False
    correlation: bytes | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """CONNACK: the broker accepts the connection."""


@dataclass(frozen=True, slots=True)
class ConnectRefused:
    """CONNACK: the broker refuses the connection, with a reason code of MQTT 5 and perhaps a sentence."""

    code: int
    sentence: str


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """PUBACK; `refusal` is the reason if the broker refuses the publication."""

    packet_id: int
    refusal: str | None


@dataclass(frozen=True, slots=True)
class Subscribed:
    """SUBACK: for each filter, True if the broker grants it."""

    packet_id: int
    granted: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class ConnectionEnded:
    """The connection has ended; `code` is the reason code of the broker's DISCONNECT, if it sent one."""

    code: int | None
    reason: str


ConnectionEvent: TypeAlias = Accepted | ConnectRefused | Acknowledged | Subscribed | ConnectionEnded | Message


class PacketSender(Protocol):
    """The connection as the conversation uses it. `publish` and `subscribe` return the packet identifier."""

    @property
    def window(self) -> int:
        """The count of publications that the broker accepts before it acknowledges the first."""

    def publish(self, topic: str, payload: bytes, reply: str, correlation: bytes) -> int:
        """Publish at QoS 1; MQTT 5 adds the response topic and the correlation data."""

    def subscribe(self, filters: Sequence[tuple[str, int]]) -> int:
        """Subscribe to filters, each with its QoS."""

    def unsubscribe(self, filters: Sequence[str]) -> None:
        """Unsubscribe from filters."""

    def acknowledge(self, packet_id: int) -> None:
        """Acknowledge a message at QoS 1."""
