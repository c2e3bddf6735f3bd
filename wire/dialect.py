"""Floor 0: what every dialect is: bytes to frames for one connection, and frames to bytes for all that speak it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from .frames import Entry, Frame, Request


class EntryEncoding(Protocol):
    """Entries as bytes. `key` is the same for all whose `encode_entries` gives the same bytes."""

    @property
    def key(self) -> str:
        """The name of this encoding."""

    def encode_entries(self, entries: Sequence[Entry], seq: int = 0, *, past: bool = False) -> bytes:
        """A batch of entries for all of this encoding; `past` if they are not news.

        `seq` is the last one's number in the journal; the others have those before it.
        """


class Encoding(EntryEncoding, Protocol):
    """The outgoing half."""

    @property
    def interactive(self) -> bool:
        """Whether a person reads it as it comes, and so cannot acknowledge, and wants to see when it was said."""

    def encode(self, frame: Frame) -> bytes:
        """A frame for this peer; empty if the encoding has nothing to say for it."""

    def encode_apart(self, frame: Frame) -> tuple[bytes, bytes]:
        """The same in two pieces, the second of them empty or a long payload, which is not copied."""


class Dialect(Encoding, Protocol):
    """One connection's dialect, both ways."""

    def receive(self, data: bytes) -> list[Request]:
        """The frames that `data` completes; raises PeerError if nothing more can be understood."""
