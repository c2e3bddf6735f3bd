"""Floor 3: one client's subscriptions, and what they make of a log: its view, or nothing; pure."""

from __future__ import annotations

import msgspec

from channels.log import Log
from wire.mqtt_codes import Reason
from wire.mqtt_packets import Subscription
from wire.mqtt_topics import matches, split_share

from .topics import Topics
from .views import View

FILTERS = 5_000  # of one client


class Subscriptions:
    """Filters with their options. Changed by the connection's own thread, asked by any."""

    __slots__ = ("_exact", "_key", "_limit", "_me", "_topics", "_version", "_wild")

    def __init__(self, topics: Topics) -> None:
        self._topics = topics
        self._exact: dict[str, Subscription] = {}  # replaced as a whole, never changed, so that it can be read freely
        self._wild: dict[str, Subscription] = {}
        self._version = 0
        self._me = self._key = ""
        self._limit = 0

    def open(self, version: int, me: str, key: str, limit: int) -> None:
        """The client has connected: its version, its name, its Maximum Packet Size if that is small, or 0."""
        self._version, self._me, self._key, self._limit = version, me, key, limit

    def has(self, topic_filter: str) -> bool:
        """Whether it is subscribed to."""
        return topic_filter in self._exact or topic_filter in self._wild

    def add(self, subscription: Subscription) -> int:
        """Subscribe; the reason for the SUBACK: the granted QoS, at most 1, or a failure."""
        topic_filter = subscription.filter
        if split_share(topic_filter)[0]:
            return Reason.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED
        if self._topics.is_forbidden(topic_filter, self._key):
            return Reason.NOT_AUTHORIZED
        if len(self._exact) + len(self._wild) >= FILTERS and not self.has(topic_filter):
            return Reason.QUOTA_EXCEEDED
        if "+" in topic_filter or "#" in topic_filter:
            self._wild = {**self._wild, topic_filter: subscription}
        else:
            self._exact = {**self._exact, topic_filter: subscription}
        return min(subscription.qos, 1)

    def remove(self, topic_filter: str) -> int:
        """Unsubscribe; the reason for the UNSUBACK."""
        if not self.has(topic_filter):
            return Reason.NO_SUBSCRIPTION_EXISTED
        self._exact = {key: value for key, value in self._exact.items() if key != topic_filter}
        self._wild = {key: value for key, value in self._wild.items() if key != topic_filter}
        return Reason.SUCCESS

    def _matching(self, topic: str) -> list[Subscription]:
        found = [each for key, each in self._wild.items() if matches(key, topic)]
        exact = self._exact.get(topic)
        return found if exact is None else [*found, exact]

    def hears(self, topic: str) -> bool:
        """Whether the client has subscribed to a topic that it may read."""
        return topic in self._exact or any(matches(key, topic) for key in self._wild)

    @staticmethod
    def matches(topic_filter: str, topic: str) -> bool:
        """Whether a filter takes in a topic."""
        return matches(topic_filter, topic)

    def is_for_messages(self, topic_filter: str) -> bool:
        """Whether a filter takes in direct messages of somebody."""
        sample = self._topics.message(self._me, topic_filter.rpartition("/")[2])
        return matches(topic_filter, sample) or matches(topic_filter, self._topics.message(self._me, "someone"))

    def view_of(self, log: Log) -> View | None:
        """How the client gets a log; None if it has not subscribed to it."""
        name = log.channel
        if name is None:
            peer = log.peer(self._key)
            found = self._matching(self._topics.message(self._me, peer or ""))
            qos = _qos(found)
            if qos is None:
                return None
            return View(self._topics, self._version, qos, None, me=self._me, limit=self._limit)
        json = self._matching(self._topics.channel(name))
        text = self._matching(self._topics.channel_text(name))
        if not json and not text:
            return None
        quiet = all(each.no_local for each in (*json, *text))
        without = self._me if quiet else ""
        return View(self._topics, self._version, _qos(json), _qos(text), limit=self._limit, without=without)

    def dump(self) -> str:
        """The filters, to be kept."""
        return msgspec.json.encode([*self._exact.values(), *self._wild.values()]).decode()

    def restore(self, state: str) -> None:
        """Take up what was kept."""
        for subscription in msgspec.json.decode(state, type=list[Subscription]):
            self.add(subscription)


def _qos(found: list[Subscription]) -> int | None:
    return max((min(each.qos, 1) for each in found), default=None)
