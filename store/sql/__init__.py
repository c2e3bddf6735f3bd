"""Floor 1: the contract in SQL, the same for every database.

Six parts, each one protocol of store/contract/, on a `Database`. schema.py has the tables. A further database is a
file or folder beside this one: it implements `Database` and `AppendStatements`, makes a `SqlDialect`, and has its own
migrations.
"""

from __future__ import annotations

from . import schema
from .again import Conflict, again
from .check import KeptFile, RunCheck
from .clients import filter_hash
from .database import Database
from .dialect import AppendStatements, IdKey, IdRow, SqlDialect
from .migrate import Step, migrate
from .runs import RunRow, damaged_numbers
from .store import SqlStore
from .turns import Turns

__all__ = [
    "AppendStatements",
    "Conflict",
    "Database",
    "IdKey",
    "IdRow",
    "KeptFile",
    "RunCheck",
    "RunRow",
    "SqlDialect",
    "SqlStore",
    "Step",
    "Turns",
    "again",
    "damaged_numbers",
    "filter_hash",
    "migrate",
    "schema",
]
