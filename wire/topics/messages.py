"""Floor 0: the messages that only MQTT carries: who is there, who has left, and live messages between clients."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from wire.frames import Frame, Name, Request
from wire.mqtt import NONE, Properties


class Here(Request, tag="here"):
    """The client announces that it is online."""


class Gone(Request, tag="gone"):
    """The client announces that it has left."""


@dataclass(frozen=True, slots=True)
class LiveMessage:
    """A message from one client to another that the server does not store.

    The server passes `properties` on ([MQTT-3.3.2-17] and its siblings).
    """

    to: Name
    payload: bytes
    properties: Properties = NONE


class UserPresence(Frame, tag="user-presence"):
    """The state of a user: the doors of the connections, and since when, in milliseconds since 1970."""

    user: Name
    online: bool
    doors: list[str] = msgspec.field(default_factory=list)
    since: int = 0


class ServerState(Frame, tag="server-state"):
    """The state of the server; its will says that it is offline."""

    online: bool
