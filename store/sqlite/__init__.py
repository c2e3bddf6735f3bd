"""Floor 1: the store on SQLite: the database file, its migrations, and reading it from another process."""

from __future__ import annotations

from .database import FILE, SqliteStore
from .read_only import read_account

__all__ = ["FILE", "SqliteStore", "read_account"]
