"""The limits of the servers under test: a test does in a second what a user does in a day."""

from __future__ import annotations

import msgspec

from channels.rates import CLASSES
from wire.limits import Limits

_OFF = ("connections_per_address", "password_delay", *[each.key for each in CLASSES])  # 0 turns them off


def without_rates(limits: Limits = Limits()) -> Limits:  # noqa: B008 - it is frozen
    """Return the limits without those of users, addresses and passwords, unless they differ from their defaults."""
    default = Limits()
    off = {key: 0 for key in _OFF if getattr(limits, key) == getattr(default, key)}
    return msgspec.structs.replace(limits, **off)
