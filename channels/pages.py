"""Floor 2: pages: how much of a list fits into one answer, which is bounded in bytes."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from wire.json_text import encode


def count_within(items: Iterable[msgspec.Struct], size: int) -> int:
    """Return how many of the first items take at most `size` bytes as JSON together; at least 1, if there is one."""
    count = 0
    for item in items:
        size -= len(encode(item)) + 1
        if size < 0 and count:
            break
        count += 1
    return count
