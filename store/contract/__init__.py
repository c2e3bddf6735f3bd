"""Floor 1: the contract of a store, the same for every database.

One small protocol a subject, each in a file with its row types: entries, members, accounts, clients, files, and what
nobody uses; `Store` is all of them, and has the `Servers` that share it. Every call is one transaction: after it has
returned, a crash of the process loses nothing that it wrote; after it has raised StoreError, nothing of it is stored.
Any thread may make any call. tests/store/contract/ checks each promise on every database.
"""

from __future__ import annotations

from .accounts import Account, Accounts
from .check import CheckReport, Progress
from .clients import Client, Clients
from .entries import RUN, RUN_SIZE, Appended, Batch, Entries, NewPosts, file_of_post, file_post_id
from .errors import StoreAway, StoreError
from .files import FileRow, Files, FilesElsewhere, FileSummary, StoredSize
from .logs import Kind, LogRow, log_title, private_key
from .members import Members, Membership
from .servers import MESSAGE, Alone, Held, Holding, ServerRow, Servers
from .store import Durability, Store
from .unused import Unused
from .wills import KeptWill, KeptWills, NoWills

__all__ = [
    "MESSAGE",
    "RUN",
    "RUN_SIZE",
    "Account",
    "Accounts",
    "Alone",
    "Appended",
    "Batch",
    "CheckReport",
    "Client",
    "Clients",
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
    "Kind",
    "LogRow",
    "Members",
    "Membership",
    "NewPosts",
    "NoWills",
    "Progress",
    "ServerRow",
    "Servers",
    "Store",
    "StoreAway",
    "StoreError",
    "StoredSize",
    "Unused",
    "file_of_post",
    "file_post_id",
    "log_title",
    "private_key",
]  # fmt: skip
