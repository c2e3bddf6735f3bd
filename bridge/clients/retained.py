"""Floor 3: retained state: the presence of users and the state of the server, for new and for present subscribers."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from channels import Chat, User
from wire.clock import now
from wire.mqtt import matches
from wire.names import fold
from wire.topics import Topics

from .registry import Registry

ONLINE, OFFLINE = b"online", b"offline"  # the states of the server


def presence_payload(user: User) -> bytes:
    """Return the payload of `presence/<user>` for a user who is connected or has just disconnected."""
    sessions = user.sessions
    if not sessions:
        return _absence_payload(user.name, now())
    doors = sorted({session.door for session in sessions})
    return msgspec.json.encode({"user": user.name, "online": True, "doors": doors, "since": user.since})


def _absence_payload(name: str, since: int) -> bytes:
    return msgspec.json.encode({"user": name, "online": False, "since": since})


class RetainedState:
    """Retained messages, which the server makes from its state whenever they are asked for. Any thread may call it."""

    def __init__(self, chat: Chat, topics: Topics, registry: Registry) -> None:
        self._chat = chat
        self._topics = topics
        self._registry = registry

    def messages(self, topic_filter: str) -> Iterator[tuple[str, bytes]]:
        """Yield topic and payload of each retained message that a filter matches.

        A filter with a wildcard finds the users who are online; one that names a user finds that user.
        """
        if matches(topic_filter, self._topics.server):
            yield self._topics.server, ONLINE
        if "+" in topic_filter or "#" in topic_filter:
            for user in self._chat.directory.users():
                topic = self._topics.presence(user.name)
                if matches(topic_filter, topic):
                    yield topic, presence_payload(user)
            return
        name = topic_filter[len(self._topics.presence("")) :]
        if topic_filter != self._topics.presence(name):
            return
        present = self._chat.directory.find(fold(name))
        if present is not None and present.name == name:
            yield topic_filter, presence_payload(present)
        elif present is None and (account := self._chat.store.account(name)) is not None and account.name == name:
            yield topic_filter, _absence_payload(name, account.seen)

    def presence_changed(self, user: User) -> None:
        """Send a user's presence to the subscribers, again if it has changed meanwhile: the last message is true."""
        topic, find = self._topics.presence(user.name), self._chat.directory.find
        while True:
            present = find(user.key)
            payload = presence_payload(present or user)
            for client in self._registry.connected():
                client.tell(topic, payload, retained=True)
            if find(user.key) is present:
                return
