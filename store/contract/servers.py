"""Floor 1: the contract of several servers on one store: who holds which name, who has which duty, and notices.

A store that one server has to itself has `Alone`, which does nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Literal, Protocol

from .wills import KeptWills, NoWills

MESSAGE = 7_000  # bytes of a message as UTF-8, above which `Servers.tell` is slower

Outcome = Literal["held", "taken", "registered", "forgotten"]


@dataclass(frozen=True, slots=True)
class ServerRow:
    """A server that lives. `name` is shown to people; `address` is `host:port`, where the others reach its main port.

    `fingerprint` is the SHA-256 of its certificate as AB:CD:…, empty if it has no TLS. Whoever knows the `secret` is
    one of the servers on this store. `folder` is the id of its data folder, which several servers may share. Only the
    number and the folder are there before the server's ports are open.
    """

    number: int
    name: str = ""
    address: str = ""
    fingerprint: str = ""
    secret: str = field(default="", repr=False)
    folder: str = ""


@dataclass(frozen=True, slots=True)
class Holding:
    """A connection of a user at one server. Its number is the server's own, and is never used again.

    `key` and `name` are the user's. `token` is the hash of the token by which the user takes the name over; the store
    only compares it. `since` is in milliseconds since 1970 by that server's clock, and is only shown. `client` is the
    id of an MQTT client, and is empty for any other connection.
    """

    server: int
    connection: int
    key: str
    name: str
    transport: str
    address: str
    since: int
    token: str
    client: str = ""

    @property
    def client_key(self) -> str:
        """The key of the MQTT client among the sessions and wills."""
        return f"{self.key}/{self.client}"

    def is_client_of(self, other: Holding) -> bool:
        """Return True if both are of the same client of one user."""
        return bool(self.client) and (self.key, self.client) == (other.key, other.client)

    def may_replace(self, guest: Holding) -> bool:
        """Return True if this is the client that holds a guest's name, at the same address: no password protects it."""
        return self.is_client_of(guest) and self.address == guest.address


@dataclass(frozen=True, slots=True)
class Held:
    """The result of `Servers.hold`.

    `taken`: another user holds the guest's name. `registered`: the name has a password, which was not proven.
    `forgotten`: the account has left the store. After these, nothing has changed. `replaced` are the holdings that the
    new one has replaced: of a guest, or of the same client. `matched` is True if the given token was that of another
    holding of the name. `has_wills`: there are wills of the same client in the store.
    """

    outcome: Outcome
    replaced: tuple[Holding, ...] = ()
    matched: bool = False
    has_wills: bool = False


class Servers(Protocol):
    """This server among those that use the store. Any thread may make any call; each raises StoreError.

    A server lives as long as its process does and reaches the store. When one has died, another one removes its
    holdings, with the time when its users were last seen, and all others are told that it is gone. No clock of one
    machine is compared with that of another.
    """

    @property
    def alone(self) -> bool:
        """True if the store is for one server, so that there never is another one."""

    @property
    def here(self) -> int:
        """The number of this server; no other server ever has it."""

    @property
    def wills(self) -> KeptWills:
        """The wills of the clients that are connected here, and of servers that are gone."""

    def start(self, hear: Callable[[int, str], None], gone: Callable[[int], None], missed: Callable[[], None]) -> None:
        """Be one of the servers from now on. The functions return at once, and are called by one thread at a time.

        `hear` is called with the server and the text of each message of another one, in the order in which that one has
        told them, and of each pulse of this one; `gone` with a server that has died or stopped, after its last message
        and when its holdings are removed; `missed` when messages may have been lost, and this server's holdings, too,
        because the store was away.
        """

    @property
    def secret(self) -> str:
        """What proves to this server that one of the others asks, which finds it in the row; empty for the only one."""

    def introduce(self, name: str, address: str, fingerprint: str) -> None:
        """Store what the others are to know of this server. Called after `start`, again after each change."""

    def use_folder(self, folder: str) -> None:
        """Store which data folder this server uses. Called after `start`, once."""

    def last_server(self, folder: str) -> str:
        """Return the name of the server that has used a folder last, empty if it is not known."""

    def others(self) -> list[ServerRow]:
        """Return the other servers that live, sorted by number."""

    def numbers(self) -> list[int]:
        """Return the numbers of the servers that are not gone, this one among them.

        They are those that live, and those of whom nobody has been told yet that they have died.
        """

    def tell(self, message: str) -> None:
        """Send a message to all other servers. After StoreError, it may have been sent."""

    def pulse(self, message: str) -> None:
        """Send a short message to all servers, this one, too. One of an earlier version does not hear it."""

    def hold(self, holding: Holding, given: str | None, *, proven: bool, own: Collection[int]) -> Held:
        """Give a connection the name that it asks for, if it may have it.

        A registered name is held by any number of connections: each has `proven` the password, or has `given` the hash
        of another one's token, and replaces those of its own client. A guest's name is held by one; whoever has given
        the hash of its token, or is the same client (`Holding.may_replace`), replaces it. A holding that was let in by
        a token has that token, too.

        `own` are the numbers of this server's connections that hold the name. Its holdings of the name with other
        numbers are removed.
        """

    def hold_again(self, holdings: Collection[Holding]) -> list[int]:
        """Restore holdings of this server after `missed`. Return the connections whose names others have now.

        That is so for a guest's name that a connection at another server holds, and for a client that has connected
        there.
        """

    def release(self, connections: Collection[int]) -> None:
        """Remove holdings of this server. No-op for those that are not there."""

    def holdings(self, key: str | None = None) -> list[Holding]:
        """Return all holdings of all servers, or those of one name."""

    def share(self, duty: str, changed: Callable[[bool], None]) -> None:
        """Have a duty done by one of the servers that share it. Call it after `start`.

        It is this server's from `changed(True)` to `changed(False)`; the first may come before this returns. When the
        server that has the duty dies, gives it up or cannot reach the store, another one has it within 5 seconds. The
        first one is told before that, unless its process stands still. `changed` returns at once, and is called by one
        thread at a time.
        """

    def give_up(self, duty: str) -> None:
        """Leave a duty to the others from now on. No-op for one that is not shared. `changed` is called no more."""

    def on_duty(self, duty: str) -> ServerRow | None:
        """Return the server that has a duty; None if none has it at this moment."""

    def close(self) -> None:
        """Remove this server's holdings, tell the others that it is gone, and call the functions no more.

        No-op before `start`, and after the first call.
        """


class Alone:
    """The only server of a store. Each call is a no-op."""

    alone = True
    here = 0
    wills: KeptWills = NoWills()

    def start(self, hear: Callable[[int, str], None], gone: Callable[[int], None], missed: Callable[[], None]) -> None:
        """Call none of them, ever."""

    secret = ""

    def introduce(self, name: str, address: str, fingerprint: str) -> None:
        """Introduce it to nobody."""

    def use_folder(self, folder: str) -> None:
        """Tell nobody."""

    def last_server(self, folder: str) -> str:
        """Return an empty name."""
        return ""

    def others(self) -> list[ServerRow]:
        """Return an empty list."""
        return []

    def numbers(self) -> list[int]:
        """Return this one."""
        return [0]

    def tell(self, message: str) -> None:
        """Tell nobody."""

    def pulse(self, message: str) -> None:
        """Tell nobody."""

    def hold(self, holding: Holding, given: str | None, *, proven: bool, own: Collection[int]) -> Held:
        """Leave it to the server who may have the name."""
        return _HELD

    def hold_again(self, holdings: Collection[Holding]) -> list[int]:
        """Return an empty list."""
        return []

    def release(self, connections: Collection[int]) -> None:
        """Release nothing."""

    def holdings(self, key: str | None = None) -> list[Holding]:
        """Return an empty list."""
        return []

    def share(self, duty: str, changed: Callable[[bool], None]) -> None:
        """Give every duty to this server."""
        changed(True)

    def give_up(self, duty: str) -> None:
        """Give it to nobody."""

    def on_duty(self, duty: str) -> ServerRow | None:
        """Return None: nobody else has it."""
        return None

    def close(self) -> None:
        """Close nothing."""


_HELD = Held("held")
