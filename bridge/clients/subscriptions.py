"""Floor 3: one client's subscriptions, and the encoding in which they have each log sent; no I/O."""

from __future__ import annotations

from collections.abc import Mapping

from channels import Log
from store import Account
from wire.limits import Limits
from wire.mqtt import Reason, Subscription, split_share
from wire.topics import Topics

from .encoding import PublishEncoding
from .filter_budget import FilterBudget, FilterUse
from .filter_tree import FilterTree
from .interest import Interest
from .registry import ConnectedClient


class Subscriptions:
    """Topic filters with their options. The connection's own thread changes them; any thread may read them."""

    __slots__ = (
        "_account", "_budget", "_channels", "_counted", "_filters", "_limit", "_limits", "_me", "_network",
        "_one_at_a_time", "_presence", "_topics", "_version",
    )  # fmt: skip

    def __init__(
        self,
        topics: Topics,
        limits: Limits,
        budget: FilterBudget,
        presence: Interest[ConnectedClient],
        channels: Interest[ConnectedClient],
    ) -> None:
        """`presence` and `channels` are told whose presence and which channels the filters match."""
        self._limits = limits
        self._budget = budget
        self._counted = True  # the filters count as those of a client that is connected
        self._network = ""
        self._topics = topics
        self._presence = presence
        self._channels = channels
        self._filters = FilterTree()
        self._version = 0
        self._account = Account("", "", None, 0)
        self._me = ""
        self._limit = 0
        self._one_at_a_time = False

    def open(
        self, version: int, me: str, account: Account, limit: int, *, network: str = "", one_at_a_time: bool = False
    ) -> None:
        """Set what is known from CONNECT: `me` is the user's name as the client writes it.

        `limit` is its Maximum Packet Size, 0 if every entry fits. `network` is that of its address. `one_at_a_time`:
        its Receive Maximum is 1.
        """
        self._network = network
        self._version, self._me, self._account = version, me, account
        self._limit, self._one_at_a_time = limit, one_at_a_time

    def get(self, topic_filter: str) -> Subscription | None:
        """Return the client's subscription with this filter."""
        return self._filters.get(topic_filter)

    def add(self, subscription: Subscription, *, restored: bool = False) -> int:
        """Subscribe. Return the reason for the SUBACK: the granted QoS, at most 1, or a failure.

        `restored`: the filter counts already, as one of a session that was kept.
        """
        topic_filter, limits = subscription.filter, self._limits
        if topic_filter.count("/") >= limits.topic_levels or len(topic_filter.encode()) > limits.topic_bytes:
            return Reason.TOPIC_FILTER_INVALID
        if split_share(topic_filter)[0]:
            return Reason.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED
        if self._topics.is_forbidden(topic_filter, self._me):
            return Reason.NOT_AUTHORIZED
        if topic_filter not in self._filters:
            size = self._filters.bytes_with(topic_filter)
            if len(self._filters) >= limits.filters or size > limits.filter_bytes:
                return Reason.QUOTA_EXCEEDED
            if restored:
                self._budget.count(self._network, size - self._filters.bytes)
            elif not self._budget.take(self._network, size - self._filters.bytes):
                return Reason.QUOTA_EXCEEDED
            self._presence.subscribed(self._topics.presence_in(topic_filter))
            self._channels.subscribed(self._topics.channel_in(topic_filter))
        self._filters.add(subscription)
        return min(subscription.qos, 1)

    def sentence(self, reason: int) -> str:
        """Return why `add` has refused a filter, if by one of the limits; else an empty text."""
        limits = self._limits
        if reason == Reason.TOPIC_FILTER_INVALID:
            return f"A topic filter has at most {limits.topic_levels} levels and {limits.topic_bytes} bytes here."
        if reason == Reason.QUOTA_EXCEEDED:
            return self._limit_sentence()
        return ""

    def _limit_sentence(self) -> str:
        limits = self._limits
        shared = {
            "those of one address": limits.filter_bytes_per_address,
            "those of all clients": limits.all_filter_bytes,
        }
        sentence = f"A client has at most {limits.filters} filters here, which take at most {limits.filter_bytes} bytes"
        bounds = [f"{whose} at most {most}" for whose, most in shared.items() if most]  # 0: no limit
        return f"{sentence}; {' and '.join(bounds)}, with those of kept sessions." if bounds else f"{sentence}."

    def remove(self, topic_filter: str) -> int:
        """Unsubscribe. Return the reason for the UNSUBACK."""
        if topic_filter not in self._filters:
            return Reason.NO_SUBSCRIPTION_EXISTED
        size = self._filters.bytes
        self._filters.remove(topic_filter)
        self._budget.count(self._network, self._filters.bytes - size)
        self._presence.unsubscribed(self._topics.presence_in(topic_filter))
        self._channels.unsubscribed(self._topics.channel_in(topic_filter))
        return Reason.SUCCESS

    @property
    def empty(self) -> bool:
        """True if the client has subscribed to nothing."""
        return not len(self._filters)

    @property
    def channel_names(self) -> list[str]:
        """The names of the channels that the filters match, which may not exist; `+` stands for all channels."""
        return self._channels.names

    def end(self) -> None:
        """Take the client out of the registry of who reads what: its connection has ended, and adds nothing more."""
        self._presence.end()
        self._channels.end()

    def use(self, *, known: bool) -> FilterUse:
        """Return the memory of the filters for the store; not `known`: it may change."""
        return FilterUse(self._network, self._filters.bytes if known else None)

    def keep(self, key: str, until: int) -> None:
        """Have the filters count for the session with that key, which is kept until then."""
        self._counted = False
        self._budget.keep(key, self._network, self._filters.bytes, until)

    def close(self) -> None:
        """Give back the memory of the filters, unless `keep` was called. Called once, last."""
        if self._counted:
            self._budget.count(self._network, -self._filters.bytes)

    def matching(self, topic: str) -> list[Subscription]:
        """Return the subscriptions that match a topic, which the client must be allowed to read."""
        return self._filters.matching(topic)

    def is_subscribed(self, topic: str) -> bool:
        """Return True if a subscription matches a topic, which the client must be allowed to read."""
        return bool(self._filters.matching(topic))

    def encoding_of(self, log: Log) -> PublishEncoding | None:
        """Return the encoding in which the client is sent a log; None if no subscription matches it."""
        name = log.channel
        if name is None:
            json = self.matching(self._topics.message(self._me, log.partner(self._account.key) or ""))
            text: list[Subscription] = []
        else:
            json = self.matching(self._topics.channel(name))
            text = self.matching(self._topics.channel_text(name))
        if not json and not text:
            return None
        qos_json, qos_text = _qos(json), _qos(text)
        if qos_json and qos_text and self._one_at_a_time:
            qos_text = 0  # so that an entry is one packet in flight, not two
        no_local = all(each.no_local for each in (*json, *text))
        return PublishEncoding(
            self._topics, self._version, qos_json, qos_text, me=self._me if name is None else "",
            limit=self._limit, without=self._account.name if no_local else "",
        )  # fmt: skip

    def restore(self, filters: Mapping[str, int]) -> list[str]:
        """Subscribe to filters with their options as in a packet. Return those that the client may not have now."""
        lost = []
        for topic_filter, options in filters.items():
            self.add(Subscription.of(topic_filter, options), restored=True)
            if topic_filter not in self._filters:
                lost.append(topic_filter)
        return lost


def _qos(found: list[Subscription]) -> int | None:
    return max((min(each.qos, 1) for each in found), default=None)
