"""Floor 1: the whole contract on an SQL database."""

from __future__ import annotations

from collections.abc import Callable

from ..blobs import Blobs
from ..contract import Servers
from .accounts import SqlAccounts
from .clients import SqlClients
from .database import Database
from .entries import SqlEntries
from .files import SqlFiles
from .members import SqlMembers
from .unused import SqlUnused


class SqlStore(SqlEntries, SqlMembers, SqlAccounts, SqlClients, SqlFiles, SqlUnused):
    """The six parts on one database, beside the bytes of the files."""

    def __init__(
        self, database: Database, blobs: Blobs, servers: Servers, release: Callable[[], None] = lambda: None
    ) -> None:
        """`release` is called once the store is closed."""
        super().__init__(database)
        self._release = release
        self._blobs = blobs
        self._servers = servers

    def blobs(self) -> Blobs:
        """Return the bytes of the files."""
        return self._blobs

    def release_memory(self) -> None:
        """See `Store.release_memory`."""
        self._database.release_memory()

    def servers(self) -> Servers:
        """Return this server among those that use the store."""
        return self._servers

    def close(self) -> None:
        """Finish the work in hand and release the store."""
        try:
            self._servers.close()
        finally:
            self._database.close()
            release, self._release = self._release, lambda: None
            release()
