"""Floor 3: interest: which connected clients read the topics of a name, such as the presence of a user.

So a login costs the clients that have subscribed to that user's presence, and a new channel those that read it, however
many clients are connected.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Generic, TypeVar

from channels import leaf

C = TypeVar("C")

EVERY = "+"  # the name that stands for all names


class InterestIndex(Generic[C]):
    """Clients by name. Any thread may call it."""

    def __init__(self) -> None:
        self._lock = leaf()
        self._by_name: dict[str, dict[C, None]] = {}

    def add(self, name: str, client: C) -> None:
        """Note that a client reads the topics of a name; `EVERY`: of all names."""
        with self._lock:
            self._by_name.setdefault(name, {})[client] = None

    def discard(self, names: Iterable[str], client: C) -> None:
        """Note that a client reads the topics of these names no longer. No-op for a name that it does not read."""
        with self._lock:
            for name in names:
                clients = self._by_name.get(name)
                if clients is not None:
                    clients.pop(client, None)
                    if not clients:
                        del self._by_name[name]

    def of(self, name: str) -> list[C]:
        """Return the clients that read the topics of a name, each once."""
        with self._lock:
            return list({**self._by_name.get(EVERY, {}), **self._by_name.get(name, {})})


class Interest(Generic[C]):
    """One client's place in an index: it reads a name while one of its filters matches. Own thread only."""

    __slots__ = ("_client", "_filters", "_index")

    def __init__(self, index: InterestIndex[C], client: C) -> None:
        self._index = index
        self._client: C | None = client  # None at the end: the client refers to this object
        self._filters: Counter[str] = Counter()  # how many filters match the topics of each name

    @property
    def names(self) -> list[str]:
        """The names that the client reads; `EVERY` stands for all names."""
        return list(self._filters)

    def subscribed(self, name: str) -> None:
        """Count a new filter that matches the topics of a name; none for an empty name."""
        if name and self._client is not None:
            self._filters[name] += 1
            if self._filters[name] == 1:
                self._index.add(name, self._client)

    def unsubscribed(self, name: str) -> None:
        """Count a filter no longer."""
        if name and self._client is not None:
            self._filters[name] -= 1
            if not self._filters[name]:
                del self._filters[name]
                self._index.discard((name,), self._client)

    def end(self) -> None:
        """Read no names any longer: the connection has ended."""
        if self._client is not None:
            self._index.discard(self._filters, self._client)
            self._filters.clear()
            self._client = None
