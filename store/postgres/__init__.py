"""Floor 1: the PostgreSQL database, which several servers may share.

address.py reads the URL, connection.py makes one connection with its time limits, database.py has the transactions and
what follows from a lost connection. The statements that only PostgreSQL runs in this way are in append.py, the history
of the tables in migrations.py, the meaning of errors in errors.py; read_only.py, check.py and copy.py work beside
servers. servers.py is what several servers tell each other and hold, and listener.py how they know that they live. The
driver is imported here only: without a PostgreSQL database nobody needs it.
"""

from __future__ import annotations

from .address import FORM, Address, parse_address
from .check import check_postgres
from .copy import postgres_source, postgres_target
from .database import PostgresDatabase
from .read_only import read_postgres_account
from .servers import PostgresServers

__all__ = [
    "FORM",
    "Address",
    "PostgresDatabase",
    "PostgresServers",
    "check_postgres",
    "parse_address",
    "postgres_source",
    "postgres_target",
    "read_postgres_account",
]
