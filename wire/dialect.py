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
    def acknowledges(self) -> bool:
        """True if the peer acknowledges entries itself; else the server asks the kernel what the peer's machine has."""

    @property
    def shows_time(self) -> bool:
        """True if past entries are shown with their time, so that they have bytes of their own."""

    @property
    def free_text(self) -> bool:
        """True if the peer types free text, in which a channel's name may stand before the text itself."""

    def encode(self, frame: Frame) -> bytes:
        """A frame for this peer; empty if the encoding has nothing to say for it."""

    def encode_apart(self, frame: Frame) -> tuple[bytes, bytes]:
        """The same in two pieces, the second of them empty or a long payload, which is not copied."""


class Dialect(Encoding, Protocol):
    """One connection's dialect, both ways."""

    def receive(self, data: bytes) -> list[Request]:
        """The frames that `data` completes; raises PeerError if nothing more can be understood."""
