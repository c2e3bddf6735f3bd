"""Floor 0: the interface of a dialect: bytes to frames for one connection, and frames to bytes for all connections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from .frames import Entry, Frame, Request


class EntryEncoding(Protocol):
    """Encodes entries. Encodings with the same `key` return the same bytes from `encode_entries`."""

    @property
    def key(self) -> str:
        """The name of the encoding."""

    def encode_entries(self, entries: Sequence[Entry], seq: int = 0, *, past: bool = False) -> bytes:
        """Return a batch of entries as bytes; `past` for entries from history.

        `seq` is the journal number of the last entry; the numbers of the others lead up to it.
        """


class Encoding(EntryEncoding, Protocol):
    """Encodes frames for one peer."""

    @property
    def acknowledges(self) -> bool:
        """True if the peer acknowledges entries itself; else the server asks the kernel what the peer's machine has."""

    @property
    def shows_time(self) -> bool:
        """True if past entries are shown with their time, so that they have bytes of their own."""

    @property
    def free_text(self) -> bool:
        """True if the peer types free text, in which a channel's name may stand before the text itself."""

    @property
    def largest(self) -> int:
        """The bytes of the largest packet that the peer takes; 0: of any size."""

    def encode(self, frame: Frame) -> bytes:
        """Return a frame as bytes; empty if the peer is not shown the frame."""

    def encode_apart(self, frame: Frame) -> tuple[bytes, bytes]:
        """Return a frame as bytes and its payload, which is not copied; the payload may be empty."""


class Dialect(Encoding, Protocol):
    """The dialect of one connection, in both directions."""

    def allow_payloads(self) -> None:
        """Take payloads from now on: the peer has logged in."""

    @property
    def awaited(self) -> int:
        """The bytes of a payload that has come in part; 0 if there is none."""

    def receive(self, data: bytes) -> list[Request]:
        """Return the frames that `data` completes. Raises PeerError if the rest of the input cannot be read."""
