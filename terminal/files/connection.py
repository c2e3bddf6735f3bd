"""Floor 4: the connection of a transfer: what an upload or a download needs of it, over TCP as over MQTT."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, TypeAlias

from wire.frames import Offer, Offered, Ranges


class ConnectionLostError(Exception):
    """The connection is lost, or could not be opened: try again later."""


class FileAwayError(ConnectionLostError):
    """The bytes are at another server, which is away: try again later. The message is a sentence for the user."""

    CODE = "file-away"  # of the error


class FileConnection(Protocol):
    """A connection as a transfer uses it.

    Each method raises Refused if another attempt makes no sense, and ConnectionLostError if it does.
    """

    chunk: int  # bytes of a `put`
    shared: bool  # True if all transfers of the client share one connection of the server

    def offer(self, offer: Offer) -> Offered:
        """Offer a file; the answer says which ranges the server has."""

    def put(self, file: str, offset: int, data: bytes | memoryview) -> None:
        """Send a chunk. Several chunks may be in flight."""

    def settle(self) -> None:
        """Wait until the server has stored all chunks."""

    def finish(self, file: str, sha256: str, size: int) -> None:
        """Have the server verify the whole file."""

    def cancel(self, file: str) -> None:
        """Cancel an offer."""

    def have(self, file: str, *, watch: bool = False) -> Ranges:
        """Return the ranges that the server has; with `watch`, `more` waits for further ones."""

    def fetch(self, file: str, first: int, end: int) -> Iterator[memoryview]:
        """Yield a range in order; each piece is valid until the next one. It ends early where no more is there yet."""

    def more(self) -> None:
        """Wait until the server has more of the file."""

    def sum(self, file: str, first: int, length: int) -> str:
        """Return the SHA-256 of a range, in hex."""

    def taken(self, file: str) -> None:
        """Report that the file has arrived here."""

    def close(self) -> None:
        """Close the connection; a running method raises ConnectionLostError. Any thread may call it."""


OpenConnection: TypeAlias = Callable[[str, str], FileConnection]
"""Opens a connection for the user of this name and token. Raises Refused or ConnectionLostError."""
