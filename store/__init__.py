"""Floor 1: everything that the server keeps on disk.

The contract says what a store does, the same for every database; blobs.py keeps the bytes of files beside it;
`open_store` opens a store by its URL; `read_account`, `check_store` and `copy_store` read one that another process may
have open.
"""

from __future__ import annotations

from .blobs import Blobs
from .check import check_store
from .contract import (
    MESSAGE,
    Account,
    Accounts,
    Alone,
    Appended,
    Batch,
    CheckReport,
    Client,
    Clients,
    Durability,
    Entries,
    FileRow,
    Files,
    FilesElsewhere,
    FileSummary,
    Held,
    Holding,
    KeptWill,
    KeptWills,
    LogRow,
    Members,
    Membership,
    NewPosts,
    Progress,
    ServerRow,
    Servers,
    Store,
    StoredSize,
    StoreError,
    Unused,
    file_post_id,
    private_key,
)
from .copy import CopyProgress, CopyReport, copy_store
from .open import absolute_url, data_folder, is_postgres, open_store, read_account, shown_url, url_has_password

__all__ = [
    "MESSAGE",
    "Account",
    "Accounts",
    "Alone",
    "Appended",
    "Batch",
    "Blobs",
    "CheckReport",
    "Client",
    "Clients",
    "CopyProgress",
    "CopyReport",
    "Durability",
    "Entries",
    "FileRow",
    "FileSummary",
    "Files",
    "FilesElsewhere",
    "Held",
    "Holding",
    "KeptWill",
    "KeptWills",
    "LogRow",
    "Members",
    "Membership",
    "NewPosts",
    "Progress",
    "ServerRow",
    "Servers",
    "Store",
    "StoreError",
    "StoredSize",
    "Unused",
    "absolute_url",
    "check_store",
    "copy_store",
    "data_folder",
    "file_post_id",
    "is_postgres",
    "open_store",
    "private_key",
    "read_account",
    "shown_url",
    "url_has_password",
]  # fmt: skip
