"""Floor 1: the contract of files: who offers which file where, until when, and which bytes of it are stored."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from wire.frames import FilePart
from wire.ranges import RangeSet


@dataclass(frozen=True, slots=True)
class FileRow:
    """A file that the user with key `sender_key` offers in the log with id `log`, under the sender's own id `own`.

    `made` and `until` are in milliseconds since 1970. `state` is `open` during the upload, when `ranges` are on disk;
    `done` when the content is the blob `sha256`; `gone` when the offer has ended, which was at `until`. `number` is the
    entry that offers the file, 0 before that entry is stored. `network` is the network of the sender's address, empty
    if it is unknown.

    With several servers, `home` is the number of the one that writes the file, and `folder` is the data folder that has
    its bytes, empty before the first one.
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
    home: int = 0
    folder: str = ""


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


class FilesElsewhere(NamedTuple):
    """What the files of other servers take: bytes of a user, and of a network, with counts of open files; of all.

    `guests` and `all` are bytes. The store does not have the bytes of an open file, so it counts the least.
    """

    user: int = 0
    user_open: int = 0
    network: int = 0
    network_open: int = 0
    guests: int = 0
    all: int = 0


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

    def keep_ranges(self, id: str, ranges: RangeSet, until: int, home: int = 0) -> None:
        """Store which bytes of an open file are on disk, and until when it is offered. No-op with another home."""

    def extend_file(self, id: str, until: int) -> None:
        """Store until when an open file is offered."""

    def finish_file(self, id: str, sha256: str, until: int, home: int = 0) -> bool:
        """Mark a file as done, with the checksum of its content, and offered `until`.

        Return False, and change nothing, if it is gone or has another home.
        """

    def drop_file(self, id: str, now: int) -> str | None:
        """Mark a file as gone. Return the checksum of its blob if no other file in its folder has the same."""

    def forget_files(self, before: int) -> None:
        """Delete the rows of files that are gone since before a time."""

    def files_of(self, user: str, now: int, after: str, limit: int) -> list[FileSummary]:
        """Return at most `limit` files that a user offers or that are offered to the user, the oldest first.

        The list begins after the file with the id `after`, if there is one. It has no file that has ended at the time
        `now`, or whose entry is not stored.
        """

    def open_files(self, home: int | None = None) -> list[tuple[FileRow, bool]]:
        """Return the open files of one home, or all, each with True if its sender's name is registered."""

    def done_sizes(self, least: int, home: int | None = None) -> list[StoredSize]:
        """Return the sizes of complete files, with their lists of parts: of one home, or of all files.

        A file counts `least` bytes at least.
        """

    def sizes_elsewhere(self, home: int, user: str, network: str, least: int) -> FilesElsewhere:
        """Return what files with another home take, those of a user and of a network apart."""

    def overdue_files(self, now: int, others: Collection[int] = ()) -> list[str]:
        """Return the ids of files whose `until` is not after `now`, in milliseconds since 1970, sorted by `until`.

        Files whose home is one of `others` are left out.
        """

    def next_overdue(self, others: Collection[int] = ()) -> int | None:
        """Return the earliest `until` of those files, in milliseconds since 1970; None without a file."""

    def kept_files(self, folder: str | None = None) -> tuple[set[str], set[str]]:
        """Return the ids of all open files, and the checksums of all files that are done, in one folder or in all."""

    def place_file(self, id: str, home: int, folder: str) -> bool:
        """Store the folder that is about to get the first byte of a file. Return False if it has another home."""

    def files_without_folder(self) -> list[FileRow]:
        """Return the files that may have bytes in a folder that is not stored: those of an earlier version."""

    def set_folder(self, id: str, folder: str) -> None:
        """Store in which folder such a file is."""

    def adopt_files(self, home: int, folder: str, others: Collection[int]) -> list[tuple[FileRow, bool]]:
        """Give a new home to the files whose home is none of `others`, in a folder and, if open, in none.

        Return the files that have changed, each with True if its sender's name is registered.
        """

    def note_fetched(self, id: str, user: str) -> bool:
        """Store that a user has all of a file. Return False if that was stored before."""

    def fetched(self, ids: Sequence[str], most: int) -> dict[str, list[str]]:
        """Return the names of users who have all of a file, sorted, at most `most` of each, by the file's id."""
