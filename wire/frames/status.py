"""Floor 0: the frames about the server itself: how it is, and how it gets on with the broker that it mirrors to."""

from __future__ import annotations

import msgspec

from .base import Answer, Request


class Status(Request, tag="status"):
    """Ask how the server is; answered with `server-status`."""


class BridgeStatus(msgspec.Struct, omit_defaults=True):
    """How the server gets on with the broker that it mirrors to, at the address `broker`.

    It is `connected` or not since `since` (milliseconds since 1970), by MQTT `version` (`3.1.1` or `5`); `error` says
    why it is not, or what the broker does not let it do. The broker has not acknowledged `behind` entries yet. Since
    the start, `received` messages were taken in from it, it has acknowledged `sent` (two for an entry of a channel:
    JSON and text), and `refused` were not taken.
    """

    broker: str
    connected: bool
    since: int
    version: str = ""
    behind: int = 0
    received: int = 0
    sent: int = 0
    refused: int = 0
    error: str = ""


class ServerStatus(Answer, tag="server-status", kw_only=True):
    """How the server is: its `version`, and since when it runs, in milliseconds since 1970.

    `users` are online, by `connections`, and there are so many `channels`. `bridge` is there if it mirrors to a broker.
    """

    version: str
    since: int
    users: int
    connections: int
    channels: int
    bridge: BridgeStatus | None = None
