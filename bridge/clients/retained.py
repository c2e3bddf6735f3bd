"""Floor 3: retained state: the presence of users and the state of the server, for new and for present subscribers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from channels import Chat, User
from wire.clock import now
from wire.mqtt import Subscription
from wire.names import fold
from wire.topics import ServerState, Topics, UserPresence

from .filter_tree import FilterTree
from .registry import Registry


def presence_of(user: User) -> UserPresence:
    """Return the presence of a user who is connected or has just disconnected."""
    doors = user.doors
    if not doors:
        return UserPresence(user.name, online=False, since=now())
    return UserPresence(user.name, online=True, doors=doors, since=user.since)


class RetainedState:
    """Retained messages, which the server makes from its state whenever they are asked for. Any thread may call it."""

    def __init__(self, chat: Chat, topics: Topics, registry: Registry) -> None:
        self._chat = chat
        self._topics = topics
        self._registry = registry

    def messages(self, filters: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Yield topic and payload of each retained message that one of the filters matches, once.

        A filter with a wildcard finds the users who are online; one that names a user finds that user.
        """
        wildcards, topics = FilterTree(), dict[str, None]()
        for each in filters:
            if "+" in each or "#" in each:
                wildcards.add(Subscription(each))
            else:
                topics[each] = None
        if self._topics.server in topics or wildcards.matching(self._topics.server):
            yield self._topics.state(ServerState(online=True))
        if wildcards:
            for user in self._chat.directory.users():
                topic = self._topics.presence(user.name)
                if wildcards.matching(topic):
                    topics.pop(topic, None)
                    yield self._topics.state(presence_of(user))
        for name in [name for topic in topics if (name := self._topics.user(topic)) is not None]:
            yield from self._presence_of(name)

    def _presence_of(self, name: str) -> Iterator[tuple[str, bytes]]:
        """Yield the message about one user, if one of that name, as it is spelled, was ever connected."""
        present = self._chat.directory.find(fold(name))
        if present is not None and present.name == name:
            yield self._topics.state(presence_of(present))
        elif present is None and (account := self._chat.store.account(name)) is not None and account.name == name:
            yield self._topics.state(UserPresence(name, online=False, since=account.seen))

    def presence_changed(self, user: User) -> None:
        """Send a user's presence to those who read it, again if it has changed meanwhile: the last message is true."""
        find = self._chat.directory.find
        while clients := self._registry.presence.of(user.name):
            present = find(user.key)
            topic, payload = self._topics.state(presence_of(present or user))
            for client in clients:
                client.send_message(topic, payload, retained=True)
            if find(user.key) is present:
                return
