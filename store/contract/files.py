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
    `done` when the content is the blob `sha256`; `gone` when the offer has ended. `number` is the entry that offers
    the file, 0 before that entry is stored.
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


class Files(Protocol):
    """The rows of files. Their bytes are in `Blobs`."""

    def add_file(self, row: FileRow, per_user: int, in_all: int) -> FileRow:
        """Store an offer and return it; return the earlier one if (sender, own id) is known.

        `per_user` and `in_all` limit the bytes that one user and that all users offer; 0 is no limit.
        Raises Refused("quota").
        """

    def file(self, id: str) -> FileRow | None:
        """Return the file with that id, None if it does not exist."""

    def own_file(self, sender_key: str, own: str) -> FileRow | None:
        """Return the file with that own id of the user with key `sender_key`, None if it does not exist."""

    def set_file_number(self, id: str, number: int) -> None:
        """Store the number of the entry that offers a file."""

    def keep_ranges(self, id: str, ranges: RangeSet) -> None:
        """Store which bytes of an open file are on disk."""

    def finish_file(self, id: str, sha256: str) -> bool:
        """Mark a file as done, with the checksum of its content. Return False if it is gone."""

    def drop_file(self, id: str) -> str | None:
        """Mark a file as gone. Return the checksum of its blob if no other file has the same, else None."""

    def files_of(self, user: str) -> list[FileRow]:
        """Return the files that a user offers or that are offered to the user, oldest first, without those gone."""

    def overdue_files(self, now: int) -> list[str]:
        """Return the ids of files whose `until` is not after `now`, in milliseconds since 1970, sorted by `until`."""

    def next_overdue(self) -> int | None:
        """Return the earliest `until` of all files, in milliseconds since 1970; None without a file."""

    def kept_files(self) -> tuple[set[str], set[str]]:
        """Return the ids of all open files, and the checksums of all files that are done."""

    def note_fetched(self, id: str, user: str) -> bool:
        """Store that a user has all of a file. Return False if that was stored before."""

    def fetched(self, ids: Sequence[str]) -> dict[str, list[str]]:
        """Return the names of the users who have all of a file, sorted, by the file's id."""
