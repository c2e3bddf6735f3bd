"""Floor 1: the SQLite database.

Opening and checkpoints are in database.py, the statements that only SQLite runs in this way in append.py, the history
of the tables in migrations.py. folder.py locks and watches the data folder, errors.py has what SQLite's errors mean;
read_only.py, check.py and copy.py read from another process.
"""

from __future__ import annotations

from .check import check_disk, check_runs, check_structure, checked_database, kept_files
from .copy import sqlite_source, sqlite_target
from .database import FILE, SqliteDatabase
from .folder import share_folder
from .read_only import read_sqlite_account

__all__ = [
    "FILE",
    "SqliteDatabase",
    "check_disk",
    "check_runs",
    "check_structure",
    "checked_database",
    "kept_files",
    "read_sqlite_account",
    "share_folder",
    "sqlite_source",
    "sqlite_target",
]
