"""Floor 2: the neighbours of users: the connections of others here that are told who comes, goes, joins and leaves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from wire.frames import Frame, Presence
from wire.limits import Limits

from .log import Follower, Log
from .user import User


class Watcher(Protocol):
    """Is told of changes in the chat that concern more than its readers. Called by any thread, with no lock held."""

    def channel_made(self, log: Log) -> None:
        """A channel was created."""

    def channel_removed(self, log: Log) -> None:
        """A channel that was empty has left the store."""

    def presence_changed(self, user: User) -> None:
        """A user has connected, or has disconnected and has no connection, at any server."""


class Neighbours:
    """Any thread may call any method, with no lock held."""

    def __init__(self, limits: Limits) -> None:
        self._most = limits.presence
        self.watchers: list[Watcher] = []

    def others(self, log: Log, user_key: str) -> list[Follower]:
        """Return the followers of a log but the user's own; none if it has so many that presence would be noise."""
        if log.follower_count > self._most:
            return []
        return [follower for follower in log.followers if follower.user_key != user_key]

    def tell(self, log: Log, user_key: str, frame: Frame) -> None:
        """Tell the followers of a channel but the user's own."""
        self._notify(self.others(log, user_key), frame, log)

    @staticmethod
    def _notify(followers: Iterable[Follower], frame: Frame, log: Log | None = None) -> None:
        for follower in followers:
            follower.notify(frame, log)

    def presence(self, user: User, channels: Iterable[Log], *, online: bool) -> None:
        """Tell the users who share one of these channels with a user, and the watchers, who has come or has gone."""
        frame = Presence(user.name, "online" if online else "offline")
        self._notify({follower for log in channels for follower in self.others(log, user.key)}, frame)
        for watcher in self.watchers:
            watcher.presence_changed(user)

    def channel_made(self, log: Log) -> None:
        """Tell the watchers of a new channel."""
        for watcher in self.watchers:
            watcher.channel_made(log)

    def channel_removed(self, log: Log) -> None:
        """Tell the watchers that a channel has left the store."""
        for watcher in self.watchers:
            watcher.channel_removed(log)
