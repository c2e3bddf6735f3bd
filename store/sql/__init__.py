"""Floor 1: the contract in SQL, the same for every database.

Five parts, each one protocol of store/contract/, on a `Database`. schema.py has the tables. A further database is a
file or folder beside this one: it implements `Database`, and fills in the `Dialect` and the `AppendStatements`, which
hold all that differs between databases.
"""

from __future__ import annotations

from . import schema
from .database import Database
from .dialect import AppendStatements, Dialect, IdKey, IdRow, RunRow
from .migrate import Step, migrate
from .store import SqlStore

__all__ = [
    "AppendStatements",
    "Database",
    "Dialect",
    "IdKey",
    "IdRow",
    "RunRow",
    "SqlStore",
    "Step",
    "migrate",
    "schema",
]
