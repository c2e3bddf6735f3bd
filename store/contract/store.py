"""Floor 1: the whole contract: what the server opens and closes."""

from __future__ import annotations

from typing import Literal, Protocol

from ..blobs import Blobs
from .accounts import Accounts
from .clients import Clients
from .entries import Entries
from .files import Files
from .members import Members
from .servers import Servers
from .unused import Unused

Durability = Literal["process", "power"]  # what a stored entry survives: the end of the process, or of the power


class Store(Entries, Members, Accounts, Clients, Files, Unused, Protocol):
    """Everything that the server keeps."""

    def blobs(self) -> Blobs:
        """Return the bytes of the files."""

    def release_memory(self) -> None:
        """Let go of what is only kept for speed and scattered over the memory, after many have left. Never fails."""

    def servers(self) -> Servers:
        """Return this server among those that use the store, always the same object."""

    def close(self) -> None:
        """Finish the work in hand and release the store."""
