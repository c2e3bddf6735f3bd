"""Floor 1: the URL of a PostgreSQL database, and how to name that database without its password."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ..contract import StoreError

FORM = "postgresql://user:password@host:port/database"
_SECRETS = ("password", "sslpassword", "scram_client_key", "scram_server_key", "oauth_client_secret")
_LEAST_SECRET = 3  # characters of a secret that is removed from messages: a shorter one would garble them


@dataclass(frozen=True, slots=True)
class Address:
    """The address of a database. `parameters` are libpq's, with the password; `shown` names the database without it."""

    parameters: dict[str, Any]
    shown: str

    @property
    def conninfo(self) -> str:
        """The parameters as libpq reads them. Never show it."""
        return make_conninfo("", **self.parameters)

    def without_secrets(self, text: str) -> str:
        """Return a message of libpq as one line, without this database's password."""
        for name in _SECRETS:
            secret = str(self.parameters.get(name) or "")
            if len(secret) >= _LEAST_SECRET:
                text = text.replace(secret, "…")
        return " ".join(text.split())

    def __repr__(self) -> str:
        return f"Address({self.shown})"


def parse_address(url: str) -> Address:
    """Return the address in a URL. What it leaves out, libpq takes from its own variables (PGHOST, PGPASSFILE, …).

    Raises StoreError, with nothing of the URL in it: it may have a password.
    """
    try:
        found: dict[str, Any] = dict(conninfo_to_dict(url))
    except (ProgrammingError, UnicodeError):
        found = {"port": "wrong"}
    # A password with an @, a / or a : that is not escaped has its end in another part of the URL.
    where = f"{found.get('host', '')}{found.get('hostaddr', '')}{found.get('dbname', '')}"
    if "@" in where or any(not port.isdecimal() for port in str(found.get("port", 0)).split(",")):
        raise StoreError(
            f"The database's URL is wrong. Write {FORM}, with %-escapes for other characters than letters, digits,"
            " - and _ in the user's name and password."
        )
    return Address(found, _shown(found))


def _shown(found: dict[str, Any]) -> str:
    """Return the URL with host, port and database only, as far as they are known before a connection."""
    host = found.get("host") or found.get("hostaddr") or os.environ.get("PGHOST", "")
    port = found.get("port") or os.environ.get("PGPORT", "")
    name = found.get("dbname") or os.environ.get("PGDATABASE", "")
    return f"postgresql://{host}{f':{port}' if port else ''}/{name}"
