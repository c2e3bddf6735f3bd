"""Floor 1: rows on disk. One contract (contract.py), kept by each database behind it."""

from __future__ import annotations

from pathlib import Path

from .contract import (
    Account,
    Appended,
    Batch,
    Client,
    Durability,
    LogRow,
    Membership,
    Part,
    Store,
    StoreError,
    direct_key,
)
from .sqlite import SqliteStore

__all__ = [
    "Account", "Appended", "Batch", "Client", "Durability", "LogRow", "Membership", "Part", "Store", "StoreError",
    "direct_key", "open_store",
]  # fmt: skip


def open_store(folder: Path, durability: Durability = "process") -> Store:
    """The store in that folder, which is made if it is missing. Raises StoreError with a sentence."""
    return SqliteStore(folder, durability)
