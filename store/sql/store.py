"""Floor 1: the whole contract on an SQL database."""

from __future__ import annotations

from ..blobs import Blobs
from .accounts import SqlAccounts
from .clients import SqlClients
from .database import Database
from .entries import SqlEntries
from .files import SqlFiles
from .members import SqlMembers
from .unused import SqlUnused


class SqlStore(SqlEntries, SqlMembers, SqlAccounts, SqlClients, SqlFiles, SqlUnused):
    """The six parts on one database, beside the bytes of the files."""

    def __init__(self, database: Database, blobs: Blobs) -> None:
        super().__init__(database)
        self._blobs = blobs

    def blobs(self) -> Blobs:
        """Return the bytes of the files."""
        return self._blobs

    def release_memory(self) -> None:
        """See `Store.release_memory`."""
        self._database.release_memory()

    def close(self) -> None:
        """Finish the work in hand and release the store."""
        self._database.close()
