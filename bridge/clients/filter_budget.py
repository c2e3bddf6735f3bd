"""Floor 3: the memory that the topic filters of all MQTT clients take, by address and in all; no I/O."""

from __future__ import annotations

from channels import leaf
from wire.limits import Limits


class FilterBudget:
    """Counts bytes, as `FilterTree.bytes` does. Any thread may call it.

    A network is that of a client's address (`net.network_of`): one peer can have all addresses of a network.
    """

    def __init__(self, limits: Limits) -> None:
        self._most, self._most_in_all = limits.filter_bytes_per_address, limits.all_filter_bytes
        self._lock = leaf()
        self._by_network: dict[str, int] = {}
        self._all = 0

    def take(self, network: str, size: int) -> bool:
        """Count bytes of a network; return False and count nothing if they are above a limit."""
        with self._lock:
            taken = self._by_network.get(network, 0) + size
            if (self._most and taken > self._most) or (self._most_in_all and self._all + size > self._most_in_all):
                return False
            self._count_locked(network, size)
            return True

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
