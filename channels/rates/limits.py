"""Floor 2: the rate limits of one server, for users and for addresses."""

from __future__ import annotations

import math
from typing import NamedTuple

from wire.errors import Refused
from wire.limits import Limits

from .classes import CLASSES, LimitClass
from .meter import Meter


class Origin(NamedTuple):
    """The origin of a request: the key of the user, and the network of the address (`net.network_of`).

    The network is None for a user whose address the server does not know, as another broker has the connection.
    """

    user: str
    network: str | None


class _Meters(NamedTuple):
    """The meters of one limit, each None if it is not limited."""

    users: Meter | None
    addresses: Meter | None


class RateLimits:
    """Counts what users and addresses do. Any thread may call it."""

    def __init__(self, limits: Limits) -> None:
        self._meters = {each: _meters(each, limits) for each in CLASSES}

    def check(self, limit: LimitClass, origin: Origin, count: int = 1) -> None:
        """Count one request, which takes `count` tokens. Raises Refused, with the time to wait, for one too many."""
        users, addresses = self._meters[limit]
        wait = users.take(origin.user, count) if users is not None else 0.0
        if wait == 0.0 and addresses is not None and origin.network is not None:
            wait = addresses.take(origin.network, count)
            if wait and users is not None:
                users.give_back(origin.user, count)
        if wait:
            raise Refused("rate-limited", f"{limit.sentence} Try again in {in_words(wait)}.")

    def give_back(self, limit: LimitClass, origin: Origin) -> None:
        """Count a request for the address no longer."""
        _, addresses = self._meters[limit]
        if addresses is not None and origin.network is not None:
            addresses.give_back(origin.network)

    def reserve(self, limit: LimitClass, origin: Origin, wanted: int) -> tuple[int, float]:
        """Return how many of `wanted` requests may go, at least one, and after how many seconds. They are counted."""
        users, addresses = self._meters[limit]
        count, wait = wanted, 0.0
        if users is not None:
            count, wait = users.reserve(origin.user, wanted)
        if addresses is not None and origin.network is not None:
            fewer, longer = addresses.reserve(origin.network, count)
            if fewer < count and users is not None:
                users.give_back(origin.user, count - fewer)
            count, wait = fewer, max(wait, longer)
        return count, wait

    def spend(self, limit: LimitClass, origin: Origin, count: int) -> float:
        """Count so many tokens. Return after how many seconds they are there."""
        users, addresses = self._meters[limit]
        wait = users.spend(origin.user, count) if users is not None else 0.0
        if addresses is not None and origin.network is not None:
            wait = max(wait, addresses.spend(origin.network, count))
        return wait

    def rested(self, limit: LimitClass, origin: Origin) -> bool:
        """Return True if the user may send a whole burst again."""
        users, addresses = self._meters[limit]
        return (users is None or users.full(origin.user)) and (
            addresses is None or origin.network is None or addresses.full(origin.network)
        )


def _meters(limit: LimitClass, limits: Limits) -> _Meters:
    count: int = getattr(limits, limit.key)
    if not count:
        return _Meters(None, None)
    burst: int = getattr(limits, limit.burst) if limit.burst else count
    rate, most = count / limit.seconds, limits.rates_kept
    if not limit.per_user:
        return _Meters(None, Meter(rate, burst, most))
    factor = limits.users_per_address
    return _Meters(Meter(rate, burst, most), Meter(rate * factor, burst * factor, most))


def in_words(seconds: float) -> str:
    """Return a time to wait, rounded up: `1 second`, `40 seconds`, `3 minutes`, `2 hours`."""
    for size, name, until in ((1, "second", 120), (60, "minute", 7_200), (3_600, "hour", math.inf)):
        count = max(1, math.ceil(seconds / size))
        if seconds <= until:
            return f"{count} {name}{'' if count == 1 else 's'}"
    raise AssertionError("the last unit has no limit")
