"""Floor 1: the contract in SQL, the same for every database.

Six parts, each one protocol of store/contract/, on a `Database`. schema.py has the tables. A further database is a
file or folder beside this one: it implements `Database` and `AppendStatements`, makes a `SqlDialect`, and has its own
migrations.
"""

from __future__ import annotations

from . import schema
from .clients import filter_hash
from .database import Database
from .dialect import AppendStatements, IdKey, IdRow, SqlDialect
from .migrate import Step, migrate
from .runs import RunRow, damaged_numbers, decode_run
from .store import SqlStore

__all__ = [
    "AppendStatements",
    "Database",
    "IdKey",
    "IdRow",
    "RunRow",
    "SqlDialect",
    "SqlStore",
    "Step",
    "damaged_numbers",
    "decode_run",
    "filter_hash",
    "migrate",
    "schema",
]
