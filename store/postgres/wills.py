"""Floor 1: the wills of MQTT clients in PostgreSQL. Each call is one statement.

`owner` is the server that has to publish a will; when its row in the table `servers` goes, nobody owns the will. `due`
is null for an armed will, 0 for one that is being published, and else when it is due.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from ..contract import KeptWill
from ..sql import SqlBase, again
from .database import CLOCK, PostgresDatabase

_COLUMNS = "server, connection, client, delay, text"
_OF_CLIENT = "client = %s AND due IS DISTINCT FROM 0"
_DROP = f"DELETE FROM wills WHERE {_OF_CLIENT} AND delay > 0"
_MAKE_DUE = (
    "UPDATE wills SET delay = 0, due = CASE WHEN due IS NULL THEN NULL ELSE 0 END,"
    f" owner = CASE WHEN due IS NULL THEN owner ELSE %s END WHERE {_OF_CLIENT} RETURNING {_COLUMNS}, due"
)
_ARM = (
    "WITH held AS (SELECT FROM holdings WHERE server = %s AND connection = %s FOR KEY SHARE)"
    f" INSERT INTO wills (owner, {_COLUMNS}) SELECT %s, %s, %s, %s, %s, %s FROM held"
)
_LOST = (
    f"UPDATE wills SET due = CASE WHEN least(delay, %s) > 0 THEN {CLOCK} + least(delay, %s) * 1000 ELSE 0 END"
    " WHERE server = %s AND connection = %s AND owner = %s AND due IS NULL RETURNING least(delay, %s)"
)
_TAKE = (
    "UPDATE wills SET due = 0 WHERE server = %s AND connection = %s AND owner = %s AND due IS NOT NULL RETURNING server"
)
_FORGET = "DELETE FROM wills WHERE server = %s AND connection = %s AND owner = %s RETURNING server"
_ADOPT = (
    f"UPDATE wills SET owner = %s, due = coalesce(due, {CLOCK} + delay * 1000) WHERE owner IS NULL"
    f" RETURNING {_COLUMNS}, greatest(0, due - {CLOCK})"
)
_RESTORE = (
    "UPDATE wills SET owner = %s, due = NULL WHERE server = %s AND connection = ANY(%s::bigint[])"
    " AND due IS DISTINCT FROM 0"
)


class PostgresWills(SqlBase):
    """See `KeptWills`."""

    def __init__(self, database: PostgresDatabase, here: Callable[[], int]) -> None:
        """`here` returns the number of this server."""
        super().__init__(database)
        self._here = here

    def arm(self, will: KeptWill) -> None:
        """Store the will of a connection here."""
        here = self._here()
        values = (will.server, will.connection, will.client, will.delay, will.text)
        with self._database.cursor_transaction() as cursor:
            cursor.execute(_ARM, (here, will.connection, here, *values))

    def connected(self, client: str, *, clean: bool) -> list[KeptWill]:
        """Drop the delayed wills of a client, or return those to publish now."""
        with self._database.cursor_transaction() as cursor:
            if not clean:
                cursor.execute(_DROP, (client,))
                return []
            rows = cursor.execute(_MAKE_DUE, (self._here(), client)).fetchall()
        return [KeptWill(*row[:-1]) for row in rows if row[-1] == 0]

    def lost(self, connection: int, seconds: int) -> int | None:
        """Make a will due; return after how many seconds it is."""
        here = self._here()
        found: int | None = self._change(_LOST, seconds, seconds, here, connection, here, seconds)
        return found

    def take(self, server: int, connection: int) -> bool:
        """Begin to publish a will."""
        return self._change(_TAKE, server, connection, self._here()) is not None

    @again
    def _change(self, statement: str, *values: int) -> Any:
        """Return the first value of the changed row, None if no row was changed."""
        with self._database.cursor_transaction() as cursor:
            row = cursor.execute(statement, values).fetchone()
        return None if row is None else row[0]

    def forget(self, server: int, connection: int) -> bool:
        """Remove a will."""
        return self._change(_FORGET, server, connection, self._here()) is not None

    def adopt(self) -> list[tuple[KeptWill, float]]:
        """Take the wills that nobody owns."""
        with self._database.cursor_transaction() as cursor:
            rows = cursor.execute(_ADOPT, (self._here(),)).fetchall()
        return [(KeptWill(*row[:-1]), row[-1] / 1000) for row in rows]

    def restore(self, connections: Collection[int]) -> None:
        """Arm wills again."""
        here = self._here()
        with self._database.cursor_transaction() as cursor:
            cursor.execute(_RESTORE, (here, here, list(connections)))
