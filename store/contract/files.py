"""Floor 1: the contract of files: who offers which file where, until when, and which bytes of it are stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from wire.frames import FilePart
from wire.ranges import RangeSet


@dataclass(frozen=True, slots=True)
class FileRow:
    """A file that the user with key `sender_key` offers in the log with id `log`, under the sender's own id `own`.

    `made` and `until` are in milliseconds since 1970. `state` is `open` during the upload, when `ranges` are on disk;
    `done` when the content is the blob `sha256`; `gone` when the offer has ended, which was at `until`. `number` is the
    entry that offers the file, 0 before that entry is stored. `network` is the network of the sender's address, empty
    if it is unknown.
    """

    id: str
    log: int
    sender_key: str
    sender_name: str
    own: str
    name: str
    size: int
    made: int
    until: int
    state: str = "open"
    sha256: str = ""
    ranges: RangeSet = ()
    parts: tuple[FilePart, ...] = ()
    number: int = 0
    network: str = ""


@dataclass(frozen=True, slots=True)
class FileSummary:
    """A file in a list: as FileRow, with the count of its parts instead of the parts."""

    id: str
    log: int
    sender_key: str
    sender_name: str
    name: str
    size: int
    made: int
    until: int
    state: str
    ranges: RangeSet
    count: int


@dataclass(frozen=True, slots=True)
class StoredSize:
    """The sizes of the complete files of one user, by key, from one network, and whether the name is registered."""

    sender_key: str
    network: str
    registered: bool
    size: int


class Files(Protocol):
    """The rows of files. Their bytes are in `Blobs`."""

    def add_file(self, row: FileRow) -> FileRow:
        """Store an offer and return it; return the earlier one if (sender, own id) is known."""

    def file(self, id: str) -> FileRow | None:
        """Return the file with that id, None if it does not exist."""

    def own_file(self, sender_key: str, own: str) -> FileRow | None:
        """Return the file with that own id of the user with key `sender_key`, None if it does not exist."""

    def set_file_number(self, id: str, number: int) -> None:
        """Store the number of the entry that offers a file."""

    def keep_ranges(self, id: str, ranges: RangeSet, until: int) -> None:
        """Store which bytes of an open file are on disk, and until when it is offered."""

    def extend_file(self, id: str, until: int) -> None:
        """Store until when an open file is offered."""

    def finish_file(self, id: str, sha256: str, until: int) -> bool:
        """Mark a file as done, with the checksum of its content, and offered `until`. Return False if it is gone."""

    def drop_file(self, id: str, now: int) -> str | None:
        """Mark a file as gone. Return the checksum of its blob if no other file has the same, else None."""

    def forget_files(self, before: int) -> None:
        """Delete the rows of files that are gone since before a time."""

    def files_of(self, user: str, now: int, after: str, limit: int) -> list[FileSummary]:
        """Return at most `limit` files that a user offers or that are offered to the user, the oldest first.

        The list begins after the file with the id `after`, if there is one. It has no file that has ended at the time
        `now`, or whose entry is not stored.
        """

    def open_files(self) -> list[tuple[FileRow, bool]]:
        """Return all open files, each with True if its sender's name is registered."""

    def done_sizes(self, least: int) -> list[StoredSize]:
        """Return the sizes of all complete files, with their lists of parts. A file counts `least` bytes at least."""

    def overdue_files(self, now: int) -> list[str]:
        """Return the ids of files whose `until` is not after `now`, in milliseconds since 1970, sorted by `until`."""

    def next_overdue(self) -> int | None:
        """Return the earliest `until` of all files, in milliseconds since 1970; None without a file."""

    def kept_files(self) -> tuple[set[str], set[str]]:
        """Return the ids of all open files, and the checksums of all files that are done."""

    def note_fetched(self, id: str, user: str) -> bool:
        """Store that a user has all of a file. Return False if that was stored before."""

    def fetched(self, ids: Sequence[str], most: int) -> dict[str, list[str]]:
        """Return the names of users who have all of a file, sorted, at most `most` of each, by the file's id."""
