"""Floor 0: the frames of the status of the server and of its connection to another broker."""

from __future__ import annotations

import msgspec

from .base import Answer, Frame, Request


class Status(Request, tag="status"):
    """Show the status of the server; answered with `server-status`."""


class BridgeStatus(msgspec.Struct, omit_defaults=True):
    """The connection to the broker that the server mirrors to, at the address `broker`.

    It is `connected`, or not, since `since` (milliseconds since 1970), over MQTT `version` (`3.1.1` or `5`). `error`
    says why it is not connected, or what the broker forbids. The broker has not acknowledged `behind` entries yet.
    Since the start, the server has received `received` messages and refused `refused`, and the broker has acknowledged
    `sent` (two for each entry of a channel: JSON and text). With several servers on one database, one of them runs the
    mirror: at the others, `server` is its name, and all but `broker` says nothing.
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
    server: str = ""


class ServerInfo(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One of several servers that are one chat: its `number` among them, `name`, `address` and `version`.

    `connections` is the count of its users' connections. `lag` is how long what it tells takes to reach a server, in
    microseconds; it is left out until the server has measured it. `silent` is for how many seconds it has told nothing,
    `0` for less than 3. The server that answers has `here`.
    """

    number: int
    name: str = ""
    address: str = ""
    version: str = ""
    connections: int = 0
    here: bool = False
    lag: int | None = None
    silent: int = 0


class ServerStatus(Answer, tag="server-status", kw_only=True):
    """The status of the server: its `version`, and its start in milliseconds since 1970.

    `users`, `connections` and `channels` are counts, at all servers of the chat. A server that mirrors to a broker has
    `bridge`. With a database that several servers can use, `servers` lists them, sorted by number. You may ask before
    you log in.
    """

    version: str
    since: int
    users: int
    connections: int
    channels: int
    bridge: BridgeStatus | None = None
    servers: list[ServerInfo] = msgspec.field(default_factory=list)


REQUESTS: tuple[type[Frame], ...] = (Status,)
ANSWERS: tuple[type[Frame], ...] = (ServerStatus,)
