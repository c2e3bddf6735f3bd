"""The number of examples of a property: a share of what the Hypothesis profile says, so that campaigns scale."""

from __future__ import annotations

from hypothesis import settings


def examples(share: float) -> int:
    """Return `share` times the examples of the profile in force (36, or 5,000 for a campaign), at least one."""
    return max(1, round(settings().max_examples * share))
