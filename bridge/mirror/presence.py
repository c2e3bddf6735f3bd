"""Floor 3: presence on the broker: retained messages that say which users are online, and whether the server is."""

from __future__ import annotations

from bridge.clients import presence_of
from channels import Chat, User
from wire.clock import now
from wire.names import fold
from wire.topics import ServerState, Topics, UserPresence

from .sender import MirrorSender


class MirrorPresence:
    """Publishes presence. Any thread may call it."""

    def __init__(self, chat: Chat, topics: Topics, sender: MirrorSender) -> None:
        self._find = chat.directory.find
        self._users = chat.directory.users
        self._topics = topics
        self._sender = sender

    def publish_server(self, *, online: bool) -> None:
        """Publish whether the server is online."""
        self._sender.publish_retained(*self._topics.state(ServerState(online=online)))

    def publish_all(self) -> None:
        """Publish that the server and its users are online."""
        self.publish_server(online=True)
        for user in self._users():
            self._publish(user)

    def _publish(self, user: User) -> None:
        self._sender.publish_retained(*self._topics.state(presence_of(user)))

    def changed(self, user: User) -> None:
        """Publish the presence of a user who has come or gone, again if it changes meanwhile: the last one is true."""
        while True:
            present = self._find(user.key)
            self._publish(present or user)
            if self._find(user.key) is present:
                return

    def correct(self, retained: UserPresence) -> None:
        """Publish that a user is offline if the broker retains the opposite, from before this connection."""
        name = retained.user
        if not retained.online or self._find(fold(name)) is not None:
            return
        self._sender.publish_retained(*self._topics.state(UserPresence(name, online=False, since=now())))
        while (user := self._find(fold(name))) is not None:  # came just now, and may have been published before that
            self._publish(user)
            if self._find(user.key) is user:
                return
