"""Floor 3: what the sessions of all MQTT clients and the mirror share."""

from __future__ import annotations

from collections.abc import Collection

from channels import Came, Chat, Log, User
from wire.topics import Topics

from .interest import EVERY
from .live import LiveRouter
from .live_ring import LiveRing
from .partings import Partings
from .registry import Registry
from .retained import RetainedState
from .stored_wills import StoredWills
from .timer import Timer
from .wills import AnyWills, Wills


class SharedState:
    """The chat, its topics, and what the server knows of its MQTT clients. It watches the chat for them."""

    __slots__ = ("_timer", "chat", "filter_budget", "live", "partings", "registry", "retained", "topics", "wills")

    def __init__(self, chat: Chat, topics: Topics) -> None:
        self.chat = chat
        self.topics = topics
        self._timer = Timer()
        self.registry = Registry(chat.store, self._timer, chat.limits, alone=chat.outbox.alone)
        self.partings = Partings(chat)
        self.filter_budget = self.registry.filter_budget
        self.live = LiveRouter(topics, self.registry)
        LiveRing(chat, self.live)
        kind = Wills if chat.outbox.alone else StoredWills
        self.wills: AnyWills = kind(chat, self.live, self._timer)
        self.retained = RetainedState(chat, topics, self.registry)
        chat.watchers.append(self)
        chat.hearing.listen(Came, self._came_elsewhere)

    def _came_elsewhere(self, _server: int, notice: Came) -> None:
        """Forget a client that was away, as it is connected at another server now."""
        if notice.client:
            self.registry.forget([f"{notice.key}/{notice.client}"])

    def channels_named(self, names: Collection[str]) -> list[Log]:
        """Return the channels with these names that exist; every channel if `+` is among the names."""
        if EVERY in names:
            return self.chat.all_channels()
        return [log for log in [self.chat.channel(name) for name in names] if log is not None]

    # The chat's watcher

    def channel_made(self, log: Log) -> None:
        """Show a new channel to the clients that have subscribed to it."""
        for client in self.registry.channels.of(log.row.name):
            client.channel_made(log)

    def channel_removed(self, log: Log) -> None:
        """Have the clients that have subscribed to a channel forget it."""
        for client in self.registry.channels.of(log.row.name):
            client.channel_removed(log)

    def presence_changed(self, user: User) -> None:
        """Send the presence of a user who has come or has gone."""
        self.retained.presence_changed(user)

    def close(self) -> None:
        """End the timer: delayed wills are not published, and sessions are ended by the next server."""
        self._timer.close()
