"""Floor 3: the registry of MQTT clients: which are connected, and which are away with a session that is kept.

A client is known by its user and its client id, so nobody can take over another user's client.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from channels import Log, leaf
from reporting import events, report
from store import Client, Store, StoreError
from wire.limits import Limits
from wire.mqtt import NONE, Properties

from .filter_budget import FilterBudget, FilterUse
from .filter_tree import bytes_of_all
from .interest import InterestIndex
from .timer import Timer

_GRACE = 1.0  # seconds after the expiry of a session at which it is ended for certain
_LATE = 500  # milliseconds that an expired session is left to a client that is just taking it up
_SWEEP = 60.0  # seconds between two looks for sessions whose server has died before it could end them


class ConnectedClient(Protocol):
    """One connected MQTT client, as other clients and the shared state see it. Any thread may call it."""

    @property
    def user_key(self) -> str:
        """The key of its user."""

    @property
    def me(self) -> str:
        """The name of its user as the client writes it in topics."""

    @property
    def address(self) -> str:
        """The IP address that it connects from."""

    @property
    def replaced(self) -> bool:
        """True if the connection was taken over already, by one that logged in later."""

    def taken_over(self, by: str, *, clean: bool) -> None:
        """End the connection: the same client has connected again, with or without a clean start."""

    def channel_made(self, log: Log) -> None:
        """Read a channel that was just made, if a subscription matches it."""

    def channel_removed(self, log: Log) -> None:
        """Forget a channel that has left the store."""

    def send_message(
        self, topic: str, payload: bytes, *, retained: bool = False, properties: Properties = NONE, own: bool = False
    ) -> None:
        """Send a message at QoS 0 if a subscription matches its topic. `own` is True if the client published it."""


class TakenOver(Exception):
    """The same client has connected once more, and has been given the name before this connection was added."""


@dataclass(slots=True, eq=False)
class _Away:
    """A client that is away and has a session.

    `sent` is the number up to which each log was sent, by the log's id; None if this server does not know it.
    `timer` is the number of the timer that ends the session.
    """

    sent: dict[int, int] | None
    timer: int = 0


class Registry:
    """The clients by their keys, `<user key>/<client id>`. Any thread may call it.

    `presence` has the connected clients by the users whose presence they read, `channels` by the channels.
    `filter_budget` counts the memory of the filters of all.
    """

    def __init__(self, store: Store, timer: Timer, limits: Limits, *, alone: bool = True) -> None:
        """`alone` is False if there may be other servers."""
        self._store = store
        self._timer = timer
        self._lock = leaf()
        self._connected: dict[str, ConnectedClient] = {}
        self._by_user: dict[str, dict[str, ConnectedClient]] = {}  # the same by user key, then by key
        self.presence: InterestIndex[ConnectedClient] = InterestIndex()
        self.channels: InterestIndex[ConnectedClient] = InterestIndex()
        self._parting: dict[str, threading.Event] = {}  # by key: the connection has ended and its session is being kept
        self._logging_in: dict[tuple[str, ...], threading.Event] = {}  # by client: its connection is about to be added
        self._away: dict[str, _Away] = {}
        self.filter_budget = FilterBudget(limits, self._end_session_of_guest)
        store.part_clients()
        store.end_clients()
        at = store.clock()
        for client in store.clients(""):
            if client.until is not None:
                self._keep_filters(client, client.until)
                self.remember(client.key, None, (client.until - at) / 1000)
        if not alone:
            timer.call_later(_SWEEP, self._sweep)

    def _sweep(self) -> None:
        """End the sessions that have expired, whichever server their clients were at; again after a while."""
        try:
            self._store.end_clients(spare=_LATE)
        except StoreError as error:
            report(events.StoreProblem(str(error), "Sessions that have expired end later."))
        self._timer.call_later(_SWEEP, self._sweep)

    def _keep_filters(self, client: Client, until: int) -> None:
        """Count the filters of a session of before the start. Read them if the server was killed before it knew."""
        use = FilterUse.decode(client.state)
        size = bytes_of_all(self._store.client_filters(client.key)) if use.bytes is None else use.bytes
        self.filter_budget.count(use.network, size)
        self.filter_budget.keep(client.key, use.network, size, until)

    def find(self, key: str) -> ConnectedClient | None:
        """Return the client that is connected under this key."""
        return self._connected.get(key)

    def connected_as(self, user_key: str) -> list[ConnectedClient]:
        """Return all connected clients of one user."""
        with self._lock:
            return list(self._by_user.get(user_key, {}).values())

    @contextmanager
    def logging_in(self, *client: str) -> Iterator[None]:
        """Take a name and call `add` within the context; wait while another connection of the client is within it.

        A client that gives up waiting for CONNACK connects again, and the server may read both CONNECTs at once. The
        second connection could not take over the first, which has the name but is not added, and would be refused.
        """
        mine = threading.Event()
        while True:
            with self._lock:
                other = self._logging_in.setdefault(client, mine)
            if other is mine:
                break
            other.wait()
        try:
            yield
        finally:
            with self._lock:
                del self._logging_in[client]
            mine.set()

    def add(self, key: str, client: ConnectedClient) -> tuple[ConnectedClient | None, dict[int, int] | None]:
        """Register a connected client; wait while an earlier connection of it is still being closed.

        Return the connected client that it takes over, or None, and the number up to which each log was sent to an
        earlier connection, by the log's id; None if this server does not know it. Raises TakenOver.
        """
        while True:
            with self._lock:
                if client.replaced:
                    raise TakenOver
                parting = self._parting.get(key)
                if parting is None:
                    old = self._connected.get(key)
                    self._connected[key] = client
                    self._by_user.setdefault(client.user_key, {})[key] = client
                    away = self._away.pop(key, None)
                    break
            parting.wait()
        if away is None:
            return old, None
        self._timer.cancel(away.timer)
        return old, away.sent

    @contextmanager
    def parting(self, key: str, client: ConnectedClient) -> Iterator[bool]:
        """Remove a client whose connection has ended. Yield True unless another connection has taken it over.

        `add` waits until the context is left: the old connection must not overwrite what the new one stores.
        """
        with self._lock:
            current = self._connected.get(key) is client
            if current:
                del self._connected[key]
                of_user = self._by_user[client.user_key]
                del of_user[key]
                if not of_user:
                    del self._by_user[client.user_key]
                self._parting[key] = threading.Event()
        try:
            yield current
        finally:
            if current:
                with self._lock:
                    parted = self._parting.pop(key)
                parted.set()

    def remember(self, key: str, sent: dict[int, int] | None, seconds: float) -> None:
        """Remember how far the logs of a client that is away were sent, and end its session after `seconds`."""
        away = _Away(sent)

        def end() -> None:
            with self._lock:
                ended = self._away.get(key) is away
                if ended:
                    del self._away[key]
            if ended:  # else the client has connected again
                self._store.end_clients(spare=_LATE)
                self.filter_budget.release(key)

        away.timer = self._timer.call_later(seconds + _GRACE, end)
        with self._lock:
            if key not in self._connected:
                self._away[key] = away

    def forget(self, keys: Iterable[str]) -> None:
        """Forget clients that are away: the store has ended their sessions. No-op for a client that is connected."""
        for key in keys:
            away = self._away.get(key)
            if away is not None:
                self._forget(key, away)

    def _forget(self, key: str, away: _Away) -> None:
        with self._lock:
            found = self._away.get(key) is away
            if found:
                del self._away[key]
        if found:
            self._timer.cancel(away.timer)
            self.filter_budget.release(key)

    def _end_session_of_guest(self, key: str) -> None:
        """End the session of a client that is away, unless its user is registered. Raises StoreError."""
        away = self._away.get(key)
        if away is not None and self._store.drop_away_guest(key):
            self._forget(key, away)
