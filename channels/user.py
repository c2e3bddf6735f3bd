"""Floor 2: a connected user, with the connections at this server and those at the others."""

from __future__ import annotations

import secrets
import threading
from typing import Protocol

from store import Account, Holding
from wire.clock import now

from .log import Log
from .session_reader import SessionReader


class ConnectedSession(Protocol):
    """A connection that has logged in, as the directory and the other connections see it."""

    @property
    def number(self) -> int:
        """The number of the connection; this server never uses it again."""

    @property
    def address(self) -> str:
        """The IP address that the connection comes from."""

    @property
    def transport(self) -> str:
        """The kind of its connection: socket, mqtt or broker."""

    @property
    def client(self) -> str:
        """The id of an MQTT client; empty for any other connection."""

    @property
    def fetches_directly(self) -> bool:
        """True if the peer fetches files from the clients that send them."""

    @property
    def ending(self) -> bool:
        """True if its peer has ended it, or this side has: it is about to let go of the name."""

    @property
    def reader(self) -> SessionReader:
        """The reader that sends to the peer."""

    def replaced(self, by: str, *, elsewhere: bool = False) -> None:
        """End the connection: its name was taken over from that IP address, perhaps at another server.

        Called by another connection's thread.
        """


class User:
    """A connected user. Only who holds the name has its `token`.

    `sessions` are the connections at this server, `elsewhere` those that are known at other servers. `joined` has the
    channels of a user with sessions here.
    """

    __slots__ = ("changed", "elsewhere", "joined", "key", "loaded", "name", "registered", "sessions", "since", "token")

    def __init__(self, account: Account, *, registered: bool) -> None:
        self.key = account.key
        self.name = account.name
        self.registered = registered
        self.since = now()
        self.token = secrets.token_urlsafe(16)
        self.sessions: tuple[ConnectedSession, ...] = ()
        self.elsewhere: tuple[Holding, ...] = ()
        self.joined: dict[Log, None] = {}  # in the order of joining; each change is one atomic step
        self.changed: threading.Event | None = None  # set when a session comes or the last one goes, if somebody waits
        self.loaded = False  # `joined` has been read from the store

    @property
    def doors(self) -> list[str]:
        """The kinds of the user's connections at all servers, sorted."""
        return sorted({each.transport for each in self.sessions} | {each.transport for each in self.elsewhere})

    @property
    def address(self) -> str | None:
        """The IP address of the oldest connection at this server, or else elsewhere; None without a connection."""
        connections = self.sessions or self.elsewhere
        return connections[0].address if connections else None
