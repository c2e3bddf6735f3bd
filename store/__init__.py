"""Floor 1: rows on disk. One contract (contract.py), kept by each database behind it."""

from __future__ import annotations

from pathlib import Path

from .blobs import Blobs
from .contract import (
    Account,
    Accounts,
    Appended,
    Batch,
    Client,
    Clients,
    Durability,
    Entries,
    FileRow,
    Files,
    LogRow,
    Members,
    Membership,
    Part,
    Store,
    StoreError,
    direct_key,
    file_post_id,
)
from .sqlite import SqliteStore

__all__ = [
    "Account", "Accounts", "Appended", "Batch", "Blobs", "Client", "Clients", "Durability", "Entries", "FileRow",
    "Files", "LogRow", "Members", "Membership", "Part", "Store", "StoreError", "direct_key", "file_post_id",
    "open_store",
]  # fmt: skip


def open_store(folder: Path, durability: Durability = "process") -> Store:
    """The store in that folder, which is made if it is missing. Raises StoreError with a sentence."""
    return SqliteStore(folder, durability)
