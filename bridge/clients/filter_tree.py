"""Floor 3: the topic filters of one client as a tree of levels, so that matching costs the same for many; no I/O."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from wire.mqtt import Subscription

# Bytes of memory, at most, beside those of the text: of a level with its dictionary and its place in another one, and
# of a subscription with its places in dictionaries by filter. A test measures them.
_LEVEL = 260
_SUBSCRIPTION = 500


class _Node:
    """One level of the tree: the filter that ends here, the one that ends with `#` here, and the next levels."""

    __slots__ = ("children", "here", "rest")

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.here: Subscription | None = None
        self.rest: Subscription | None = None

    @property
    def empty(self) -> bool:
        """True if no filter needs this level."""
        return not self.children and self.here is None and self.rest is None


class FilterTree:
    """Subscriptions by filter, and by the topics that they match (§4.7).

    One thread changes the tree. Any thread may read it meanwhile: each change is one atomic step, made after the steps
    that it needs.
    """

    __slots__ = ("_all", "_root", "bytes")

    def __init__(self) -> None:
        self.bytes = 0  # of memory that the tree takes, at most
        self._all: dict[str, Subscription] = {}
        self._root = _Node()

    def __len__(self) -> int:
        return len(self._all)

    def __contains__(self, topic_filter: str) -> bool:
        return topic_filter in self._all

    def get(self, topic_filter: str) -> Subscription | None:
        """Return the subscription with a filter."""
        return self._all.get(topic_filter)

    def bytes_with(self, topic_filter: str) -> int:
        """Return `bytes` as it would be with one more filter."""
        if topic_filter in self._all:
            return self.bytes
        node: _Node | None = self._root
        size = self.bytes + _bytes_of(topic_filter)
        for level in _path(topic_filter):
            node = node.children.get(level) if node is not None else None
            if node is None:
                size += _bytes_of_level(level)
        return size

    def all(self) -> list[Subscription]:
        """Return every subscription, in the order of subscribing."""
        return list(self._all.values())

    def add(self, subscription: Subscription) -> None:
        """Add a subscription, in place of an earlier one with the same filter."""
        self.bytes = self.bytes_with(subscription.filter)
        self._all[subscription.filter] = subscription
        node = self._root
        for level in _path(subscription.filter):
            child = node.children.get(level)
            if child is None:
                child = node.children[level] = _Node()
            node = child
        if _ends_in_rest(subscription.filter):
            node.rest = subscription
        else:
            node.here = subscription

    def remove(self, topic_filter: str) -> None:
        """Remove a subscription, and the levels that only its filter needed."""
        del self._all[topic_filter]
        self.bytes -= _bytes_of(topic_filter)
        node, path = self._root, []
        for level in _path(topic_filter):
            path.append((node, level))
            node = node.children[level]
        if _ends_in_rest(topic_filter):
            node.rest = None
        else:
            node.here = None
        for parent, level in reversed(path):
            if not parent.children[level].empty:
                return
            del parent.children[level]
            self.bytes -= _bytes_of_level(level)

    def matching(self, topic: str) -> list[Subscription]:
        """Return the subscriptions that match a topic."""
        nodes = [self._root]
        found: list[Subscription | None] = []
        open_to_wildcards = not topic.startswith("$")  # [MQTT-4.7.2-1]
        for level in topic.split("/"):
            following = []
            for node in nodes:
                if open_to_wildcards:
                    found.append(node.rest)
                    if (child := node.children.get("+")) is not None:
                        following.append(child)
                if (child := node.children.get(level)) is not None:
                    following.append(child)
            nodes, open_to_wildcards = following, True
            if not nodes:
                break
        for node in nodes:
            found += (node.rest, node.here)  # a/# matches a, too (§4.7.1.2)
        return [each for each in found if each is not None]


def bytes_of_all(filters: Iterable[str]) -> int:
    """Return the bytes of memory that a tree of these filters takes, at most."""
    tree = FilterTree()
    for each in filters:
        tree.add(Subscription(each))
    return tree.bytes


def _ends_in_rest(topic_filter: str) -> bool:
    """Return True if a filter ends with the level `#`."""
    return topic_filter == "#" or topic_filter.endswith("/#")


def _path(topic_filter: str) -> Sequence[str]:
    """Return the levels of a filter, without a `#` at its end."""
    levels = topic_filter.split("/")
    if levels[-1] == "#":
        levels.pop()
    return levels


def _bytes_of(topic_filter: str) -> int:
    return _SUBSCRIPTION + sys.getsizeof(topic_filter)


def _bytes_of_level(level: str) -> int:
    return _LEVEL + sys.getsizeof(level)
