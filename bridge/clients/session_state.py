"""Floor 3: the session state of an MQTT client (§4.1): its subscriptions and cursors, kept for its next connection."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from channels import Log
from store import Client
from wire.clock import now

from .delivery import MqttReader
from .registry import TakenOver
from .shared import SharedState
from .subscriptions import Subscriptions


class SessionState:
    """Restores the state of one client, and stores its changes. Called by the connection's own thread only.

    `expiry` is how many seconds the state is kept after the connection; 0: it ends with the connection.
    """

    __slots__ = ("_key", "_opened", "_owner", "_reader", "_shared", "_stored", "_subscriptions", "_unknown", "expiry")

    def __init__(
        self, shared: SharedState, reader: MqttReader[Log], subscriptions: Subscriptions, connection: int
    ) -> None:
        """`connection` is the number of the connection."""
        self._shared = shared
        self._reader = reader
        self._subscriptions = subscriptions
        self._owner = shared.chat.servers.here, connection  # as the store knows it
        self._unknown: dict[int, int] = {}  # cursors in channels that this server does not know yet, by log id
        self._key = ""
        self._opened = False  # `open` has returned
        self._stored = False  # the store has something of the client
        self.expiry = 0

    def open(self, key: str, sent: dict[int, int] | None, *, clean: bool) -> bool:
        """Restore the state of a client, or begin a new one. Return True if a state was restored. Send nothing yet.

        `sent` is the number up to which each log was sent by an earlier connection, by the log's id; None: unknown.
        Raises TakenOver if the client has connected at another server meanwhile.
        """
        self._key = key
        present = self._open(sent, clean=clean)
        self._shared.filter_budget.release(key)  # after its filters were restored, so that none has taken their room
        self._opened = True
        return present

    def _open(self, sent: dict[int, int] | None, *, clean: bool) -> bool:
        key = self._key
        store = self._shared.chat.store
        self._stored = not clean and store.resume_client(self._client())
        if not self._stored:
            if not store.drop_client(key, *self._owner):
                raise TakenOver
            self._shared.filter_budget.release(key)
            self._make_room()
            self._stored = self.expiry != 0
            if self._stored and not store.save_client(self._client()):
                raise TakenOver
            return False
        lost = self._subscriptions.restore(store.client_filters(key))
        if lost:
            store.change_client_filters(key, {}, lost, *self._owner)
        self._resume(store.client_cursors(key), sent)
        return True

    def _make_room(self) -> None:
        """Let the session end with its connection if as many sessions are kept as the limits allow."""
        if not self.expiry:
            return
        limits = self._shared.chat.limits
        ended = self._shared.chat.store.make_room(self._key, limits.sessions_per_user, limits.sessions)
        if ended is None:
            self.expiry = 0
        else:
            self._shared.registry.forget(ended)

    def _resume(self, cursors: dict[int, int], sent: dict[int, int] | None) -> None:
        """Read channels from where the acknowledgements ended (§4.4); at QoS 0, from now on."""
        for log in self._shared.channels_named(self._subscriptions.channel_names):
            encoding, tail = self._subscriptions.encoding_of(log), log.tail
            if encoding is not None and encoding.at_qos_1:
                self._reader.resume(log, cursors.get(log.row.id, 0), tail if sent is None else sent.get(log.row.id, 0))
            elif encoding is not None:
                self._reader.resume(log, tail)
            cursors.pop(log.row.id, None)
        self._unknown = cursors

    def start_of(self, log: Log) -> tuple[int, int]:
        """Return after which number to read a channel that this server has just learned of, and how far it was sent.

        Any thread may call it. Another server may have made the channel, and have sent it to the client.
        """
        cursor = self._unknown.pop(log.row.id, None)
        return (0, 0) if cursor is None else (cursor, log.tail)

    def save_filters(self, changed: Collection[str]) -> None:
        """Store which of these filters the client has subscribed to, if the state is kept."""
        if self.expiry != 0 and changed:
            found = {name: self._subscriptions.get(name) for name in changed}
            kept = {name: each.options for name, each in found.items() if each is not None}
            removed = found.keys() - kept.keys()
            self._shared.chat.store.change_client_filters(self._key, kept, removed, *self._owner)

    def save_starts(self, channels: Sequence[Log]) -> None:
        """Store from where channels are read that were not read at QoS 1 before, if the state is kept."""
        fresh = [log for log in channels if not self._reader.reads_at_qos_1(log)]
        if self.expiry != 0 and fresh:
            sent = self._reader.sent()
            cursors = {(log.row.id, self._key): sent.get(log.row.id, log.tail) for log in fresh}
            self._shared.chat.store.move(cursors, {})

    def take_pubacks(self, packet_ids: tuple[int, ...]) -> None:
        """Move cursors, as the client has acknowledged packets: its own in channels, its user's in private logs."""
        journal = self._shared.chat.journal
        for log, number in self._reader.take_pubacks(packet_ids).items():
            if log.channel is None:
                seen = self._reader.acknowledge(log, number)
                if seen is not None:
                    journal.move(log, self._reader.user_key, seen)
            elif self.expiry != 0:
                journal.move(log, self._key, number)
        journal.carry()

    def close(self, *, posted_once: bool, elsewhere: bool) -> None:
        """Keep the state until it expires, or drop it: the connection has ended.

        `posted_once` is True if the store has ids of posts at QoS 2. `elsewhere`: the client is at another server,
        which keeps the state, or has dropped it.
        """
        store = self._shared.chat.store
        if self.expiry == 0:
            if (self._stored or posted_once) and not elsewhere:
                store.end_client(self._key, *self._owner)
            return
        if not elsewhere:
            self._shared.registry.remember(self._key, self._reader.sent(), self.expiry)
        parted = store.part_client(self._client(known=self._opened))
        if parted and self._opened and not elsewhere:  # one that is not stored as away would never end here
            self._subscriptions.keep(self._key, now() + self.expiry * 1000)

    def _client(self, *, known: bool = False) -> Client:
        """Return what to store; `known`: the memory of the filters does not change any more."""
        return Client(self._key, self.expiry, None, self._subscriptions.use(known=known).encode(), *self._owner)
