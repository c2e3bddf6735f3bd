"""Floor 3: the topic filters of one client as a tree by levels, so that their number costs nothing; pure."""

from __future__ import annotations

from wire.mqtt import Subscription


class _Node:
    """A place in the tree: what ends `here`, what takes in all the `rest` (`#`), and what goes on with a level."""

    __slots__ = ("children", "here", "rest")

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.here: Subscription | None = None
        self.rest: Subscription | None = None

    @property
    def empty(self) -> bool:
        """Nothing is left of it."""
        return not self.children and self.here is None and self.rest is None


class Filters:
    """Subscriptions by filter, and by the topics that they take in (§4.7).

    Changed by one thread; any may read meanwhile, as each change is one step, and comes after what it needs.
    """

    __slots__ = ("_all", "_root")

    def __init__(self) -> None:
        self._all: dict[str, Subscription] = {}
        self._root = _Node()

    def __len__(self) -> int:
        return len(self._all)

    def __contains__(self, topic_filter: str) -> bool:
        return topic_filter in self._all

    def all(self) -> list[Subscription]:
        """Every subscription, in the order of subscribing."""
        return list(self._all.values())

    def add(self, subscription: Subscription) -> None:
        """Put it in the place of an earlier one of the same filter."""
        self._all[subscription.filter] = subscription
        node = self._root
        levels = subscription.filter.split("/")
        for level in levels[:-1] if levels[-1] == "#" else levels:
            child = node.children.get(level)
            if child is None:
                child = node.children[level] = _Node()
            node = child
        if levels[-1] == "#":
            node.rest = subscription
        else:
            node.here = subscription

    def remove(self, topic_filter: str) -> None:
        """Take it out, and what is empty without it."""
        del self._all[topic_filter]
        node, path = self._root, []
        levels = topic_filter.split("/")
        for level in levels[:-1] if levels[-1] == "#" else levels:
            path.append((node, level))
            node = node.children[level]
        if levels[-1] == "#":
            node.rest = None
        else:
            node.here = None
        for parent, level in reversed(path):
            if not parent.children[level].empty:
                return
            del parent.children[level]

    def matching(self, topic: str) -> list[Subscription]:
        """The subscriptions that take in a topic."""
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
            found += (node.rest, node.here)  # a/# takes in a, too (§4.7.1.2)
        return [each for each in found if each is not None]
