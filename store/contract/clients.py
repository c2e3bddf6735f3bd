"""Floor 1: the contract of clients: sessions that the server keeps while an MQTT client or a mirror is away."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Client:
    """A session of one user's client, which has cursors of its own.

    `key` is `user/client id`. The store keeps the session for `expiry` seconds after the connection has ended; None:
    for ever. `until` is when it ends, in milliseconds since 1970 by the store's clock; None while the client is
    connected, and for a session without an end. `state` is text that only the owner of the session reads. The owner is
    the `connection` at a `server` that has begun or resumed the session last; `server` is 0 on a store for one server.
    """

    key: str
    expiry: int | None
    until: int | None
    state: str
    server: int = 0
    connection: int = 0


class Clients(Protocol):
    """The sessions, and their topic filters. Their cursors are moved by `Members.move`.

    `now` is in milliseconds since 1970; None stands for the store's clock, which is one for all servers on it. With
    several servers, a connection that has lost its name (see `Servers.hold`) takes up no session, and one that is not
    the owner of a session any more does not change it.
    """

    def clock(self) -> int:
        """Return the time by the store's clock, in milliseconds since 1970."""

    def client(self, key: str, now: int | None = None) -> Client | None:
        """Return the session with that key, None if it has ended by `now`."""

    def clients(self, prefix: str) -> list[Client]:
        """Return the sessions whose key begins with `prefix`, sorted by key, also those that have ended."""

    def save_client(self, client: Client) -> bool:
        """Store a session; it replaces the one with the same key, whose cursors and filters stay.

        Return False and do nothing if the connection of `client` has lost its name.
        """

    def resume_client(self, client: Client, now: int | None = None) -> bool:
        """Do the same for a client that is back. Return False and do nothing also if its session has ended by `now`.

        `client.until` must be None: from then on, neither its end nor `make_room` removes the session.
        """

    def part_client(self, client: Client, now: int | None = None) -> bool:
        """Store that the connection of a session has ended: it ends `expiry` seconds after `now`, for ever if None.

        Return False and do nothing if that connection is not its owner. `client.until` is not used.
        """

    def client_filters(self, key: str) -> dict[str, int]:
        """Return the topic filters of a session, with their options as a number that only its owner reads."""

    def change_client_filters(
        self, key: str, kept: Mapping[str, int], removed: Collection[str], server: int = 0, connection: int = 0
    ) -> None:
        """Store filters of a session, in place of the same filters with other options, and remove others.

        No-op if the session does not exist, or if that connection is not its owner. What this writes does not grow with
        the other filters of the session.
        """

    def make_room(self, key: str, per_user: int, in_all: int) -> Sequence[str] | None:
        """Make room for a new session with that key. Return the keys of those removed; None if it has no room.

        `per_user` and `in_all` limit the sessions of one user and those of all; 0 is no limit. A session whose client
        is away may be removed for it, the one that ends first: of the same user, or, for `in_all`, of any guest.
        """

    def drop_away_guest(self, key: str) -> bool:
        """Remove a session as `drop_client` does. Return False and do nothing unless its client is away and a guest."""

    def drop_client(self, key: str, server: int = 0, connection: int = 0) -> bool:
        """Remove a session with its cursors, its filters, and the post ids that begin with `/client id/`.

        Return False and do nothing if that connection, which begins a session with the same key, has lost its name.
        """

    def end_client(self, key: str, server: int, connection: int) -> None:
        """Do the same after that connection, unless the session exists and has another owner."""

    def client_cursors(self, key: str) -> dict[int, int]:
        """Return a session's cursors, by log id."""

    def part_clients(self, server: int | None = None, now: int | None = None) -> None:
        """Treat the clients of a server as disconnected. None stands for all servers that do not live.

        Each session without an `until` ends `expiry` seconds after `now`.
        """

    def return_clients(self, server: int, connections: Collection[int]) -> None:
        """Treat clients as connected again whose server was taken for dead: the sessions that these connections own."""

    def end_clients(self, now: int | None = None, spare: int = 0) -> None:
        """Remove the sessions that have ended `spare` milliseconds before `now`, as `drop_client` does."""
