"""Floor 2: the channel index: every channel, by name and in the order of their names."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort

from wire.names import fold

from .log import Log


class ChannelIndex:
    """The channels by their keys. One thread at a time changes it, which `OpenLogs` sees to; any thread may read it.

    Each read is one step of the interpreter. A page costs its entries and the search for the first one, however many
    channels there are.
    """

    def __init__(self) -> None:
        self._by_key: dict[str, Log] = {}
        self._keys: list[str] = []  # sorted

    def __len__(self) -> int:
        return len(self._by_key)

    def add(self, log: Log) -> None:
        """Add a channel that is not in the index."""
        self._by_key[log.row.key] = log
        insort(self._keys, log.row.key)

    def remove(self, log: Log) -> None:
        """Remove a channel that is in the index."""
        del self._by_key[log.row.key]
        del self._keys[bisect_left(self._keys, log.row.key)]

    def find(self, name: str) -> Log | None:
        """Return the channel of that name; None if it does not exist."""
        return self._by_key.get(name) or self._by_key.get(fold(name))

    def all(self) -> list[Log]:
        """Return every channel, in no certain order."""
        return list(self._by_key.values())

    def page(self, after: str, limit: int) -> list[Log]:
        """Return at most `limit` channels whose names follow the name `after`, sorted by name."""
        at = bisect_right(self._keys, fold(after))
        found = [self._by_key.get(key) for key in self._keys[at : at + limit]]
        return [log for log in found if log is not None]
