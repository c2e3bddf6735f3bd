"""Floor 3: how much the clients of the embedded broker may have it retain: bytes of one user, and bytes in all."""

from __future__ import annotations

from collections import Counter

MESSAGE = 500  # bytes that a retained message takes in addition to its topic and payload


class RetainedLimit:
    """Counts the bytes of retained messages by topic and user."""

    def __init__(self, of_user: int, of_all: int) -> None:
        """Limits in bytes; 0: none."""
        self._of_user = of_user
        self._of_all = of_all
        self._by_topic: dict[str, tuple[str, int]] = {}  # whose it is, and its bytes
        self._by_user: Counter[str] = Counter()
        self._total = 0

    def take(self, user: str, topic: str, payload: int) -> bool:
        """Count a message of that many bytes of payload, in place of the topic's earlier one.

        Return False if it is above a limit; the earlier one then stays.
        """
        size = len(topic.encode()) + payload + MESSAGE
        owner, old = self._by_topic.get(topic, (user, 0))
        mine = self._by_user[user] + size - (old if owner == user else 0)
        if (self._of_user and mine > self._of_user) or (self._of_all and self._total + size - old > self._of_all):
            return False
        self.drop(topic)
        self._by_topic[topic] = user, size
        self._by_user[user] += size
        self._total += size
        return True

    def drop(self, topic: str) -> None:
        """Count the message of a topic no longer, if it has one."""
        owner, size = self._by_topic.pop(topic, ("", 0))
        if size:
            self._total -= size
            self._by_user[owner] -= size
            if not self._by_user[owner]:
                del self._by_user[owner]
