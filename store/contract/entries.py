"""Floor 1: the contract of entries: append posts to logs, read them back by number.

A log is stored as runs: a run is up to RUN consecutive entries of one log that were committed together, as one row. A
run of long texts ends with the entry that brings it to RUN_SIZE bytes: whoever reads one entry loads the whole run.
So a commit costs a few rows however many posts it carries, and a lone post is a run of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from wire.frames import Entry, Msg, Say

from .logs import LogRow

RUN = 256
RUN_SIZE = 65_536


@dataclass(slots=True)
class NewPosts:
    """Posts of one sender to one log, in order, that an append is to store: one posting without its callbacks.

    The server makes ids that begin with `/` for its own use: an entry does not show such an id, unless it comes from
    `file_post_id`; then the entry points at that file.
    """

    log: LogRow
    sender_key: str
    sender: str
    posts: Sequence[Say | Msg]


@dataclass(slots=True)
class Batch:
    """Consecutive entries of one log that were committed together: numbers `first` to `last`.

    Each entry of all logs has a number in the journal, too, which no other entry has; `seq` is that of the last entry
    here, and the entries before it have those before. A store that one server uses alone numbers the journal in the
    order of commit without a gap; another one promises no order. `size` is about how many bytes the batch takes in
    memory.
    """

    log: LogRow
    first: int
    last: int
    seq: int
    entries: list[Entry]
    size: int


@dataclass(slots=True)
class Appended:
    """The result of an append: one batch for each log with new entries, and for each posting the numbers of its posts.

    A post whose (sender, id) is stored in that log already makes no entry and gets the number of the stored one.
    """

    batches: list[Batch] = field(default_factory=list)
    numbers: list[Sequence[int]] = field(default_factory=list)


def file_post_id(file: str) -> str:
    """Return the id of the post that offers a file. No other id that the server makes ends like this."""
    return f"/{file}/file"


def file_of_post(id: str | None) -> str | None:
    """Return the file that the post with this id offers; None for any other post."""
    return id[1:-5] if id is not None and id[0] == "/" and id.endswith("/file") else None


class Entries(Protocol):
    """The entries of all logs."""

    def append(self, postings: Sequence[NewPosts], now: int) -> Appended:
        """Number the posts of all postings and store them, all or none; `now` in milliseconds since 1970."""

    def read(self, log: LogRow, after: int, limit: int, size: int | None = None) -> list[Entry]:
        """Return at most `limit` entries with numbers above `after`, ascending.

        With `size`, load no further run after those that have so many bytes. Numbers are missing if their entries are
        damaged: it has shown in a checksum, and was reported.
        """

    def read_back(self, log: LogRow, before: int, limit: int, size: int | None = None) -> list[Entry]:
        """Return the last entries with numbers below `before`, ascending; everything else is as in `read`."""

    def read_batches(self, log: LogRow, after: int, limit: int, size: int | None = None) -> list[Batch]:
        """Return the same as `read` as batches, as they were committed; the first and last may be cut.

        Batches follow each other without a gap, apart from damaged entries.
        """

    def forget_id(self, sender: str, id: str) -> None:
        """Forget an id of the sender with that key, in every log: the next post that carries it is a new one."""
