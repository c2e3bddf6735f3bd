"""Floor 3: the memory that the topic filters of all MQTT clients take, by address and in all.

The filters of a session that is kept go on counting while its client is away. So a client that is back gets its filters
without passing a limit, however many come back at once. Where this leaves no room for a new filter, sessions of guests
who are away end, as they do for a new session.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from channels import leaf
from wire.limits import Limits

_Ends: TypeAlias = list[tuple[int, str]]  # when sessions end, in milliseconds since 1970, and their keys; sorted


class FilterUse(msgspec.Struct, frozen=True):
    """The memory of the filters of one session, as the store has it with the session.

    `network` is that of the client's address; `bytes` is None while the client is connected.
    """

    network: str = ""
    bytes: int | None = None

    def encode(self) -> str:
        """Return it as text."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def decode(cls, state: str) -> FilterUse:
        """Return what `encode` has made text; of an empty text, as earlier versions stored it, nothing is known."""
        return msgspec.json.decode(state, type=cls) if state else cls()


@dataclass(frozen=True, slots=True)
class _Kept:
    network: str
    size: int
    until: int


class FilterBudget:
    """Counts bytes, as `FilterTree.bytes` does. Any thread may call it.

    A network is that of a client's address (`net.network_of`): one peer can have all addresses of a network.
    """

    def __init__(self, limits: Limits, end_session: Callable[[str], None]) -> None:
        """`end_session` ends the session with a key, unless its client is back or its user is registered."""
        self._most, self._most_in_all = limits.filter_bytes_per_address, limits.all_filter_bytes
        self._end_session = end_session
        self._lock = leaf()
        self._by_network: dict[str, int] = {}
        self._all = 0
        self._kept: dict[str, _Kept] = {}  # by key: the sessions of clients that are away
        self._ends: _Ends = []  # of those that may have to end for others
        self._ends_by_network: dict[str, _Ends] = {}

    def take(self, network: str, size: int) -> bool:
        """Count bytes of a network; return False and count nothing if they are above a limit.

        Sessions that are in the way end before, those first that would end first. Raises StoreError.
        """
        while True:
            with self._lock:
                ends = self._in_the_way_locked(network, size)
                if ends is None:
                    self._count_locked(network, size)
                    return True
                if not ends:
                    return False
                key = ends[0][1]
                self._spare_locked(key)  # a session that cannot end is asked once
            self._end_session(key)

    def _in_the_way_locked(self, network: str, size: int) -> _Ends | None:
        """Return the sessions that may make room for so many bytes; None if there is room."""
        if self._most and self._by_network.get(network, 0) + size > self._most:
            return self._ends_by_network.get(network, [])
        if self._most_in_all and self._all + size > self._most_in_all:
            return self._ends
        return None

    def count(self, network: str, size: int) -> None:
        """Count bytes of a network in any case; fewer than 0 are given back."""
        with self._lock:
            self._count_locked(network, size)

    def _count_locked(self, network: str, size: int) -> None:
        self._all += size
        left = self._by_network.get(network, 0) + size
        if left:
            self._by_network[network] = left
        else:
            self._by_network.pop(network, None)

    # Sessions of clients that are away

    def keep(self, key: str, network: str, size: int, until: int) -> None:
        """Note that bytes that are counted are now those of a session that is kept until then."""
        with self._lock:
            self._release_locked(key)
            self._kept[key] = _Kept(network, size, until)
            for ends in (self._ends, self._ends_by_network.setdefault(network, [])):
                insort(ends, (until, key))

    def release(self, key: str) -> None:
        """Give back the bytes of a session that is kept: it has ended, or its client is back and has its filters.

        No-op for any other session.
        """
        with self._lock:
            self._release_locked(key)

    def _release_locked(self, key: str) -> None:
        if key in self._kept:
            self._spare_locked(key)
            kept = self._kept.pop(key)
            self._count_locked(kept.network, -kept.size)

    def _spare_locked(self, key: str) -> None:
        """Take a session out of those that may have to end."""
        kept = self._kept[key]
        of_network = self._ends_by_network.get(kept.network, [])
        for ends in (self._ends, of_network):
            at = bisect_left(ends, (kept.until, key))
            if at < len(ends) and ends[at] == (kept.until, key):
                del ends[at]
        if not of_network:
            self._ends_by_network.pop(kept.network, None)
