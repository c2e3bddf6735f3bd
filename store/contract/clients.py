"""Floor 1: the contract of clients: sessions that the server keeps while an MQTT client or a mirror is away."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Client:
    """A session of one user's client, which has cursors of its own.

    `key` is `user/client id`. The store keeps the session for `expiry` seconds after the connection has ended; None:
    for ever. `until` is when it ends, in milliseconds since 1970; None while the client is connected, and for a
    session without an end. `state` is text that only the owner of the session reads.
    """

    key: str
    expiry: int | None
    until: int | None
    state: str


class Clients(Protocol):
    """The sessions, and their topic filters. Their cursors are moved by `Members.move`."""

    def client(self, key: str, now: int) -> Client | None:
        """Return the session with that key, None if it has ended by `now`, in milliseconds since 1970."""

    def clients(self, prefix: str) -> list[Client]:
        """Return the sessions whose key begins with `prefix`, sorted by key, also those that have ended."""

    def save_client(self, client: Client) -> None:
        """Store a session; it replaces the one with the same key, whose cursors and filters stay."""

    def resume_client(self, client: Client, now: int) -> bool:
        """Do the same for a client that is back. Return False and do nothing if its session has ended by `now`.

        `client.until` must be None: from then on, neither its end nor `make_room` removes the session.
        """

    def client_filters(self, key: str) -> dict[str, int]:
        """Return the topic filters of a session, with their options as a number that only its owner reads."""

    def change_client_filters(self, key: str, kept: Mapping[str, int], removed: Collection[str]) -> None:
        """Store filters of a session, in place of the same filters with other options, and remove others.

        No-op if the session does not exist. What this writes does not grow with the other filters of the session.
        """

    def make_room(self, key: str, per_user: int, in_all: int) -> Sequence[str] | None:
        """Make room for a new session with that key. Return the keys of those removed; None if it has no room.

        `per_user` and `in_all` limit the sessions of one user and those of all; 0 is no limit. A session whose client
        is away may be removed for it, the one that ends first: of the same user, or, for `in_all`, of any guest.
        """

    def drop_away_guest(self, key: str) -> bool:
        """Remove a session as `drop_client` does. Return False and do nothing unless its client is away and a guest."""

    def drop_client(self, key: str) -> None:
        """Remove a session with its cursors, its filters, and the post ids that begin with `/client id/`."""

    def client_cursors(self, key: str) -> dict[int, int]:
        """Return a session's cursors, by log id."""

    def part_clients(self, now: int) -> None:
        """Treat every client as disconnected: each session without an `until` ends `expiry` seconds after `now`."""

    def end_clients(self, now: int) -> None:
        """Remove the sessions that have ended by `now`, in milliseconds since 1970, as `drop_client` does."""
