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
from .copy import COPIED, CopySource, CopyTarget, Row, RowSum, Run, columns, in_order, order
from .database import Database, SqlBase
from .dialect import AppendStatements, IdKey, IdRow, SqlDialect
from .migrate import Step, migrate
from .runs import RunRow, damaged_numbers, run_checksum
from .store import SqlStore
from .turns import Turns

__all__ = [
    "COPIED",
    "AppendStatements",
    "Conflict",
    "CopySource",
    "CopyTarget",
    "Database",
    "IdKey",
    "IdRow",
    "KeptFile",
    "Row",
    "RowSum",
    "Run",
    "RunCheck",
    "RunRow",
    "SqlBase",
    "SqlDialect",
    "SqlStore",
    "Step",
    "Turns",
    "again",
    "columns",
    "damaged_numbers",
    "filter_hash",
    "in_order",
    "migrate",
    "order",
    "run_checksum",
    "schema",
]
