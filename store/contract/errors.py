"""Floor 1: the error that a store raises."""

from __future__ import annotations

from wire.errors import LocalError


class StoreError(LocalError):
    """The store failed and changed nothing. The message is one sentence for the operator."""
