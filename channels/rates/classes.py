"""Floor 2: the table of the rate limits: what each one counts, its keys in the config, and its sentence.

The defaults are in wire/limits.py. dispatch.py says which request has which limit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

_SECOND, _MINUTE, _HOUR = 1, 60, 3_600
_FREE = 1_024  # bytes of a post that POST_BYTES does not count, so that short posts never wait for long ones of others


@dataclass(frozen=True, slots=True, eq=False)  # compared by identity: a post looks one up
class LimitClass:
    """One rate limit.

    `key` is the config key of its rate, which counts per `seconds`. A burst may be as large as the limit of the config
    key `burst`, or else as what a whole period allows. The limit is one of each user and, multiplied by
    `users_per_address`, one of each address; if not `per_user`, it is one of each address alone. What is above it is
    refused with the `sentence`, which ends with the time to wait, or waits itself if `waits`.
    """

    key: str
    seconds: int
    sentence: str
    burst: str = ""
    per_user: bool = True
    waits: bool = False


POSTS = LimitClass(
    "posts_per_second", _SECOND, "You post faster than the server accepts.", burst="posts_burst", waits=True
)
POST_BYTES = LimitClass(
    "post_bytes_per_second", _SECOND, "You post more bytes than the server accepts.", burst="post_bytes_burst",
    waits=True,
)  # fmt: skip
PAGES = LimitClass(
    "pages_per_second", _SECOND, "You ask for lists faster than the server answers.", burst="pages_burst", waits=True
)
REQUESTS = LimitClass(
    "requests_per_second", _SECOND, "You ask faster than the server answers.", burst="requests_burst", waits=True
)
LIVE = LimitClass("live_per_second", _SECOND, "You send live messages too fast.")
SUBSCRIPTIONS = LimitClass(
    "subscriptions_per_second", _SECOND, "You subscribe faster than the server accepts.", burst="subscriptions_burst",
    waits=True,
)  # fmt: skip
JOINS = LimitClass("joins_per_minute", _MINUTE, "You join and leave channels too often.")
TOPICS = LimitClass("topics_per_minute", _MINUTE, "You change topics too often.")
OFFERS = LimitClass("offers_per_minute", _MINUTE, "You offer files, or take them back, too often.")
DIRECT = LimitClass("direct_per_minute", _MINUTE, "You ask for direct transfers too often.")
WILLS = LimitClass("wills_per_minute", _MINUTE, "Your wills come too often.")
CHANNELS = LimitClass("new_channels_per_hour", _HOUR, "You have created too many channels.")
TALKS = LimitClass("new_talks_per_hour", _HOUR, "You have written to too many users for the first time.")
REGISTERS = LimitClass("registers_per_hour", _HOUR, "You have set a password too often.")
CONNECTIONS = LimitClass(
    "connections_per_second", _SECOND, "Too many connections come from your address.", burst="connections_burst",
    per_user=False,
)  # fmt: skip
LOGINS = LimitClass("logins_per_minute", _MINUTE, "Too many logins come from your address.", per_user=False)
NAMES = LimitClass("new_names_per_hour", _HOUR, "Too many new names come from your address.", per_user=False)

CLASSES = (
    POSTS, POST_BYTES, PAGES, REQUESTS, LIVE, SUBSCRIPTIONS, JOINS, TOPICS, OFFERS, DIRECT, WILLS, CHANNELS, TALKS,
    REGISTERS, CONNECTIONS, LOGINS, NAMES,
)  # fmt: skip


def counted_bytes(texts: Iterable[str]) -> int:
    """Return how many bytes of these posts POST_BYTES counts."""
    return sum([max(0, _size(text) - _FREE) for text in texts if len(text) > _FREE // 4])


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(errors="replace"))
