"""Floor 3: live messages: from one client to another, at any server or on the other broker, without being stored."""

from __future__ import annotations

from collections.abc import Callable

from wire.names import fold
from wire.topics import LiveMessage, Topics

from .registry import Registry


class LiveRouter:
    """Passes live messages on. Any thread may call it."""

    def __init__(self, topics: Topics, registry: Registry) -> None:
        self._topics = topics
        self._registry = registry
        self.to_broker: Callable[[str, LiveMessage], None] | None = None  # set by the mirror: publishes it there
        self.to_servers: Callable[[str, LiveMessage, bool], None] | None = None  # tells the other servers

    def publish(self, sender: str, message: LiveMessage, client: str = "", *, from_broker: bool = False) -> None:
        """Send a message to every connected client of its receiver, and to the broker unless it came from there.

        `sender` is the name of the user who published it, and `client` the key of their client.
        """
        if self.to_servers is not None:
            self.to_servers(sender, message, from_broker)
        self.deliver(sender, message, client, from_broker=from_broker)

    def deliver(self, sender: str, message: LiveMessage, client: str = "", *, from_broker: bool = False) -> None:
        """Do the same for the clients of this server and the broker alone."""
        publisher = self._registry.find(client)
        if not from_broker and self.to_broker is not None:
            self.to_broker(sender, message)
        for each in self._registry.connected_as(fold(message.to)):
            topic = self._topics.live_topic(each.me, sender)
            each.send_message(topic, message.payload, properties=message.properties, own=each is publisher)
