"""Floor 1: everything that the server keeps on disk.

The contract says what a store does, the same for every database; blobs.py keeps the bytes of files beside it;
`open_store` opens a store by its URL, `read_account` reads from one that another process has open.
"""

from __future__ import annotations

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
    NewPosts,
    Store,
    StoreError,
    file_post_id,
    private_key,
)
from .open import data_folder, open_store, read_account

__all__ = [
    "Account", "Accounts", "Appended", "Batch", "Blobs", "Client", "Clients", "Durability", "Entries", "FileRow",
    "Files", "LogRow", "Members", "Membership", "NewPosts", "Store", "StoreError", "data_folder", "file_post_id",
    "open_store", "private_key", "read_account",
]  # fmt: skip
