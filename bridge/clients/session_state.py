"""Floor 3: the session state of an MQTT client (§4.1): its subscriptions and cursors, kept for its next connection."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from channels import Log
from store import Client
from wire.clock import now

from .delivery import MqttReader
from .shared import SharedState
from .subscriptions import Subscriptions


class SessionState:
    """Restores the state of one client, and stores its changes. Called by the connection's own thread only.

    `expiry` is how many seconds the state is kept after the connection; 0: it ends with the connection.
    """

    __slots__ = ("_key", "_opened", "_reader", "_shared", "_stored", "_subscriptions", "expiry")

    def __init__(self, shared: SharedState, reader: MqttReader[Log], subscriptions: Subscriptions) -> None:
        self._shared = shared
        self._reader = reader
        self._subscriptions = subscriptions
        self._key = ""
        self._opened = False  # `open` has returned
        self._stored = False  # the store has something of the client
        self.expiry = 0

    def open(self, key: str, sent: dict[int, int] | None, *, clean: bool) -> bool:
        """Restore the state of a client, or begin a new one. Return True if a state was restored. Send nothing yet.

        `sent` is the number up to which each log was sent by an earlier connection, by the log's id; None: unknown.
        """
        self._key = key
        present = self._open(sent, clean=clean)
        self._shared.filter_budget.release(key)  # after its filters were restored, so that none has taken their room
        self._opened = True
        return present

    def _open(self, sent: dict[int, int] | None, *, clean: bool) -> bool:
        key = self._key
        store = self._shared.chat.store
        self._stored = not clean and store.resume_client(self._client(until=None), now())
        if not self._stored:
            store.drop_client(key)
            self._make_room()
            if self.expiry != 0:
                self._save(until=None)
            return False
        lost = self._subscriptions.restore(store.client_filters(key))
        if lost:
            store.change_client_filters(key, {}, lost)
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

    def save_filters(self, changed: Collection[str]) -> None:
        """Store which of these filters the client has subscribed to, if the state is kept."""
        if self.expiry != 0 and changed:
            found = {name: self._subscriptions.get(name) for name in changed}
            kept = {name: each.options for name, each in found.items() if each is not None}
            self._shared.chat.store.change_client_filters(self._key, kept, found.keys() - kept.keys())

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

    def close(self, *, posted_once: bool) -> None:
        """Keep the state until it expires, or drop it: the connection has ended.

        `posted_once` is True if the store has ids of posts at QoS 2.
        """
        if self.expiry == 0:
            if self._stored or posted_once:
                self._shared.chat.store.drop_client(self._key)
        else:
            until = now() + self.expiry * 1000
            try:
                self._save(until)
            finally:
                if self._opened:
                    self._subscriptions.keep(self._key, until)
                self._shared.registry.remember(self._key, self._reader.sent(), self.expiry)

    def _save(self, until: int | None) -> None:
        self._stored = True
        self._shared.chat.store.save_client(self._client(until))

    def _client(self, until: int | None) -> Client:
        use = self._subscriptions.use(known=self._opened and until is not None)
        return Client(self._key, self.expiry, until, use.encode())
