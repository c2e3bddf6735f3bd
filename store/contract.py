"""Floor 1: what a store promises, whatever database is behind it; tests/store/test_contract.py is the same for all.

A log is stored as runs: a run is up to RUN consecutive entries of one log that were committed together, as one row.
So a commit costs a few rows however many posts it carries, and a lone post is a run of one. Every call is one
transaction: when it has returned, what it wrote is there after a crash of the process, and when it has raised
StoreError, none of it is. All calls may come from any thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from wire.errors import LocalError
from wire.frames import Entry, FilePart, Msg, Say
from wire.names import fold
from wire.ranges import RangeSet

from .blobs import Blobs

Durability = Literal["process", "power"]
Kind = Literal["channel", "direct"]

RUN = 256


class StoreError(LocalError):
    """The store could not do it, and has done none of it."""


@dataclass(frozen=True, slots=True)
class LogRow:
    """A log as stored. A channel's `name` is as first written; a direct log has the two users' names, sorted by key."""

    id: int
    kind: Kind
    key: str
    name: str
    other: str
    topic: str
    tail: int


def direct_key(one: str, other: str) -> str:
    """The key of two users' direct log: their keys, in order; names have no colon."""
    return ":".join(sorted((fold(one), fold(other))))


@dataclass(frozen=True, slots=True)
class Membership:
    """One user in one log, with the last number that was acknowledged."""

    log: LogRow
    cursor: int


@dataclass(frozen=True, slots=True)
class Account:
    """A user who was ever named: the folded key, the name as first written, and the password's hash if registered.

    `seen` is when a connection of theirs last ended, in milliseconds since 1970; 0 if they never had one.
    """

    key: str
    name: str
    password: str | None
    seen: int


@dataclass(frozen=True, slots=True)
class Client:
    """A client of one user that keeps a session on the server while it is away, with cursors of its own.

    `key` is `user/client id`; `expiry` is how many seconds it is kept after the connection has ended, None for ever;
    `until` is when it ends, in milliseconds since 1970, None while it is connected or if it never does; `state` is the
    door's own.
    """

    key: str
    expiry: int | None
    until: int | None
    state: str


@dataclass(frozen=True, slots=True)
class FileRow:
    """A file that is offered in the log with id `log`, by the user with key `sender`, under their own id `own`.

    `made` and `until` are in milliseconds since 1970. `state` is `open` while it is filled: then `ranges` are on disk;
    `done` when it is a blob, `sha256`; at last `gone`. `number` is its entry in the log, 0 until there is one.
    """

    id: str
    log: int
    sender: str
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


def file_post_id(file: str) -> str:
    """The id of the post that offers a file: its entry points at it. No door's own id ends like this."""
    return f"/{file}/file"


def file_of_post(id: str | None) -> str | None:
    """The file that a post with this id offers, if it does."""
    return id[1:-5] if id is not None and id[0] == "/" and id.endswith("/file") else None


@dataclass(slots=True)
class Part:
    """Posts of one sender to one log, in order, on their way into the store.

    An id that begins with `/` is the door's own: it is kept once, too, but not shown; one
    of `file_post_id` makes an entry that points at a file.
    """

    log: LogRow
    sender_key: str
    sender: str
    posts: Sequence[Say | Msg]


@dataclass(slots=True)
class Batch:
    """Entries of one log that were committed together, with no gap.

    `seq` is the last one's number in the journal, `size` about how many bytes they take in memory.
    """

    log: LogRow
    first: int
    last: int
    seq: int
    entries: list[Entry]
    size: int


@dataclass(slots=True)
class Appended:
    """What an append did: new entries a log, and for each part its posts' numbers, in their order.

    A post whose (sender, id) is stored in that log already makes no entry and has the number of the first one.
    """

    batches: list[Batch] = field(default_factory=list)
    numbers: list[Sequence[int]] = field(default_factory=list)


class Store(Protocol):
    """Logs, members, cursors, accounts, clients and files."""

    def append(self, parts: Sequence[Part], now: int) -> Appended:
        """Number the posts of all parts and keep them; `now` in milliseconds since 1970."""

    def read(self, log: LogRow, after: int, limit: int) -> list[Entry]:
        """At most `limit` entries with numbers over `after`, ascending."""

    def read_runs(self, log: LogRow, after: int, limit: int) -> list[Batch]:
        """The same entries as they were committed: consecutive batches, the last one cut at the limit."""

    def channels(self) -> list[LogRow]:
        """Every channel."""

    def member_count(self, log: LogRow) -> int:
        """How many members a log has."""

    def member_counts(self) -> dict[int, int]:
        """How many members each log has, by its id; logs without any are left out."""

    def open_channel(self, name: str) -> LogRow:
        """The channel of that name, made if it is new."""

    def log(self, id: int) -> LogRow | None:
        """The log of that id."""

    def open_direct(self, one: str, other: str) -> LogRow:
        """The direct log of two users, made if new with both as members; users never named before are, too."""

    def find_direct(self, one: str, other: str) -> LogRow | None:
        """The direct log of two users, if they have one."""

    def set_topic(self, log: LogRow, topic: str) -> None:
        """Keep a channel's topic."""

    def join(self, log: LogRow, user: str) -> int:
        """Make a user a member, with the cursor at the tail; answer with the cursor. A member keeps theirs."""

    def leave(self, log: LogRow, user: str) -> None:
        """End a membership; no harm if there is none."""

    def memberships(self, user: str) -> list[Membership]:
        """Every channel of a user, in the order of joining, and each direct log whose tail is over the cursor."""

    def members(self, log: LogRow) -> list[Account]:
        """A log's members, sorted by key."""

    def cursor(self, log: LogRow, user: str) -> int | None:
        """The last acknowledged number; None for one who is no member."""

    def move(self, cursors: Mapping[tuple[int, str], int], seen: Mapping[str, int]) -> None:
        """Move cursors, by (log id, user key or client key), forwards only; and set when users were last seen."""

    def client(self, key: str, now: int) -> Client | None:
        """The client of that key, unless its time is over; `now` in milliseconds since 1970."""

    def clients(self, prefix: str) -> list[Client]:
        """The clients whose key begins so, sorted by key."""

    def save_client(self, client: Client) -> None:
        """Keep a client's session, or what has changed of it."""

    def drop_client(self, key: str) -> None:
        """End a client's session: its cursors, and the ids of the door's own that it has left."""

    def client_cursors(self, key: str) -> dict[int, int]:
        """A client's cursors, by log id."""

    def part_clients(self, now: int) -> None:
        """Nobody is connected: the time of every session runs, from `now` if it did not yet."""

    def end_clients(self, now: int) -> None:
        """Drop the sessions whose time is over."""

    def forget_id(self, sender: str, id: str) -> None:
        """Let a sender's id be new again."""

    def account(self, user: str) -> Account | None:
        """The account of that name in any spelling."""

    def open_account(self, name: str) -> Account:
        """The account of that name, made as a guest's if it is new."""

    def set_password(self, user: str, password: str) -> None:
        """Keep the hash of a user's password."""

    def blobs(self) -> Blobs:
        """Where the bytes of files are."""

    def add_file(self, row: FileRow, per_user: int, in_all: int) -> FileRow:
        """Offer a file, within these limits (bytes; 0: none); the earlier offer if (sender, own id) is not new.

        Raises Refused("quota").
        """

    def file(self, id: str) -> FileRow | None:
        """The file of that id."""

    def own_file(self, sender: str, own: str) -> FileRow | None:
        """The file that a user, by key, has offered under an id of their own."""

    def set_file_number(self, id: str, number: int) -> None:
        """Note which entry of its log offers a file."""

    def keep_ranges(self, id: str, ranges: RangeSet) -> None:
        """Record what is on disk of a file that is being filled."""

    def finish_file(self, id: str, sha256: str) -> bool:
        """All of a file is there, and this is its checksum; False if it has gone meanwhile."""

    def drop_file(self, id: str) -> str | None:
        """Nobody is to have a file any more; the checksum of its blob, if nobody else's file has the same."""

    def files_of(self, user: str) -> list[FileRow]:
        """Every file that a user offers, or that is offered to them, the oldest first; none that is gone."""

    def overdue_files(self, now: int) -> list[str]:
        """The files whose time is over by `now`, in milliseconds since 1970, in that order."""

    def next_overdue(self) -> int | None:
        """When the time of the next file is over, in milliseconds since 1970; None if there is no file."""

    def kept_files(self) -> tuple[set[str], set[str]]:
        """The ids of all files that are being filled, and the checksums of all that are finished."""

    def note_fetched(self, id: str, user: str) -> bool:
        """A user has all of a file; whether that is news."""

    def fetched(self, ids: Sequence[str]) -> dict[str, list[str]]:
        """Who has all of these files: names, by the file's id."""

    def close(self) -> None:
        """Finish and let go of the files."""
