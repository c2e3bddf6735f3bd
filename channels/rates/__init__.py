"""Floor 2: rate limits: how often one user, and one address, may do what others see or what the store keeps.

`classes.py` is the table of the limits. `RateLimits` counts, for all connections of a server together: a user who
connects again, or a second time, has what is left.
"""

from __future__ import annotations

from .classes import (
    CHANNELS,
    CLASSES,
    CONNECTIONS,
    DIRECT,
    JOINS,
    LIVE,
    LOGINS,
    NAMES,
    OFFERS,
    PAGES,
    POST_BYTES,
    POSTS,
    REGISTERS,
    REQUESTS,
    SUBSCRIPTIONS,
    TALKS,
    TOPICS,
    WILLS,
    LimitClass,
    counted_bytes,
)
from .limits import Origin, RateLimits, in_words
from .meter import Meter

__all__ = [
    "CHANNELS",
    "CLASSES",
    "CONNECTIONS",
    "DIRECT",
    "JOINS",
    "LIVE",
    "LOGINS",
    "NAMES",
    "OFFERS",
    "PAGES",
    "POSTS",
    "POST_BYTES",
    "REGISTERS",
    "REQUESTS",
    "SUBSCRIPTIONS",
    "TALKS",
    "TOPICS",
    "WILLS",
    "LimitClass",
    "Meter",
    "Origin",
    "RateLimits",
    "counted_bytes",
    "in_words",
]
