"""Floor 1: the contract of wills that several servers keep: one of them publishes the will of a server that has died.

A will is armed while its connection is there. When the connection is lost, it is due, at once or after a delay. Then it
is being published, until it is forgotten.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class KeptWill:
    """The will of a connection at a server. `client` is `user/client id`.

    `delay` is in seconds. `text` is only read by who has stored it.
    """

    server: int
    connection: int
    client: str
    delay: int
    text: str


class KeptWills(Protocol):
    """The wills of this server, and those that it has adopted. Any thread may make any call; each raises StoreError."""

    def arm(self, will: KeptWill) -> None:
        """Store the will of a connection here, unless that connection has lost its name."""

    def connected(self, client: str, *, clean: bool) -> list[KeptWill]:
        """A client has connected, and has not armed its new will.

        Wills with a delay of its earlier connections, at whichever server, are dropped; after a clean start they are
        due (MQTT 5 §3.1.2.5). Return those that this server has to publish now.
        """

    def lost(self, connection: int, seconds: int) -> int | None:
        """A connection here is lost. Return after how many seconds its will is due, at most `seconds`.

        0: this server has to publish it now. None: it has none any more, or another server has it.
        """

    def take(self, server: int, connection: int) -> bool:
        """Begin to publish a will that is due. Return False if it was dropped, or if another server has it."""

    def forget(self, server: int, connection: int) -> bool:
        """Remove a will that this server has. Return False if it has not."""

    def adopt(self) -> list[tuple[KeptWill, float]]:
        """Take the wills of servers that are gone; no other server gets them.

        Return each with the seconds until it is due. The delay of a will that was armed begins now.
        """

    def restore(self, connections: Collection[int]) -> None:
        """Arm the wills of connections here again, since this server was taken for dead, unless they are published."""


class NoWills:
    """The wills of the only server on a store, which keeps them in its memory."""

    def arm(self, will: KeptWill) -> None:
        """Store nothing."""

    def connected(self, client: str, *, clean: bool) -> list[KeptWill]:
        """Return an empty list."""
        return []

    def lost(self, connection: int, seconds: int) -> int | None:
        """Return None."""
        return None

    def take(self, server: int, connection: int) -> bool:
        """Return False."""
        return False

    def forget(self, server: int, connection: int) -> bool:
        """Return False."""
        return False

    def adopt(self) -> list[tuple[KeptWill, float]]:
        """Return an empty list."""
        return []

    def restore(self, connections: Collection[int]) -> None:
        """Restore nothing."""
