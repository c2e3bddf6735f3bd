"""Floor 2: a log in memory: its tail, its latest entries, and the followers that are told of new ones.

A thread delivers by taking the log's baton, without blocking: it then takes all waiting blocks, in order, to every
follower. A thread that finds the baton taken goes on, since its holder looks for more blocks after releasing it.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

from reporting import events, report
from store import Batch, Entries, LogRow
from wire.dialect import EntryEncoding
from wire.frames import Frame

from .encoded_pages import EncodedPages
from .locks import leaf

_GATHER = 262_144  # bytes in memory of the small blocks that are sent to a lagging reader at once
_READ = 65_536  # bytes that are read from the store for it at once
# Bytes in memory, as measured with tracemalloc: of a block beside its batches, of the table of its encodings, and of an
# encoding beside its bytes.
_BLOCK_COST, _TABLE_COST, _ENCODING_COST = 350, 190, 64


class Block:
    """Consecutive batches of one log, without a gap, and their bytes in each dialect that a reader uses.

    `size` is how many bytes it takes in memory, with the encodings that its owner has counted.
    """

    __slots__ = ("_encoded", "_encodings", "batches", "first", "kept", "last", "size")

    def __init__(self, *batches: Batch, encodings: deque[tuple[Block, int]] | None = None) -> None:
        """`encodings` is told of each encoding that the block keeps, with its bytes in memory."""
        self.batches = batches
        self.kept = False  # its owner counts it
        self.first = batches[0].first
        self.last = batches[-1].last
        self.size = sum([batch.size for batch in batches]) + _BLOCK_COST
        self._encodings = encodings
        self._encoded: dict[str, bytes] | None = None

    def encoded(self, dialect: EntryEncoding) -> bytes:
        """Return the entries in a dialect: the same bytes object for every reader of the dialect."""
        found = self._encoded
        data = found.get(dialect.key) if found is not None else None
        if data is None:
            data = self._keep(dialect.key, self.encode(dialect))
        return data

    def _keep(self, key: str, data: bytes) -> bytes:
        if self._encodings is not None:
            data = bytes(memoryview(data))  # the encoder returns its buffer, which is larger
            self._encodings.append((self, len(data) + _ENCODING_COST + (_TABLE_COST if self._encoded is None else 0)))
        if self._encoded is None:
            self._encoded = {}
        self._encoded[key] = data
        return data

    def as_encoded(self, dialect: EntryEncoding, *, past: bool) -> bytes:
        """Return the entries in a dialect, as they were encoded for their delivery, or anew without keeping that."""
        data = self._encoded.get(dialect.key) if self._encoded is not None and not past else None
        return self.encode(dialect, past=past) if data is None else data

    def encode(self, dialect: EntryEncoding, *, past: bool = False) -> bytes:
        """Return the entries in a dialect, encoded anew; `past` if they are not news."""
        encode = dialect.encode_entries
        return b"".join([encode(batch.entries, batch.seq, past=past) for batch in self.batches])


class Follower(Protocol):
    """A reader as its logs see it: it is told of new blocks and of notices. Any thread may call it."""

    @property
    def told_last(self) -> bool:
        """True if it is told of a block after all followers that are not told last."""

    @property
    def user_key(self) -> str:
        """The key of the user whose connection it is; empty if it belongs to no user."""

    def offer(self, log: Log, block: Block) -> None:
        """Take the next block of the log. Called by one thread at a time for each log, in the order of commit."""

    def catch_up(self) -> None:
        """A log has moved without a block: have its entries read from the store. Never blocks."""

    def notify(self, frame: Frame, log: Log | None = None) -> None:
        """Take a notice of what has changed just now, such as presence or a topic; it is not repeated later."""

    def hang_up(self) -> None:
        """End the connection, whose peer gets what it has missed when it connects again: `offer` has failed."""


class ReadableLog(Protocol):
    """A log as its readers see it. It is compared by identity."""

    @property
    def row(self) -> LogRow:
        """The log in the store."""

    @property
    def tail(self) -> int:
        """The last committed number."""

    @property
    def channel(self) -> str | None:
        """The channel's name; None for a private log."""

    @property
    def pages(self) -> EncodedPages | None:
        """The pages that were encoded for lagging readers; None if they are not kept, as few read the log."""

    def partner(self, user_key: str) -> str | None:
        """Return the name of the user's partner in a private log; None for a channel."""

    def attach(self, follower: Any) -> None:
        """Have the follower told of what is committed from now on."""

    def detach(self, follower: Any) -> None:
        """Tell the follower nothing more."""

    def recent(self, after: int, dialect: EntryEncoding, *, past: bool) -> tuple[bytes, int] | None:
        """Return the bytes of blocks in memory that follow number `after`, and their last number; None if none do."""

    def following(self, store: Entries, after: int, limit: int) -> list[Batch]:
        """Return batches that follow number `after`, at most `limit` entries."""

    def oldest_recent(self) -> int:
        """Return the first number in memory; the one after the tail if nothing is."""


class Log:
    """One channel or private log. `tail` is the last committed number; it moves under `_lock` only."""

    __slots__ = (
        "__weakref__", "_baton", "_followers", "_in_order", "_lock", "_recent", "_told_last", "_undelivered", "channel",
        "members", "pages", "removed", "row", "tail", "topic",
    )  # fmt: skip

    def __init__(self, row: LogRow) -> None:
        self.row = row
        self.channel = row.name if row.is_channel else None  # None for a private log
        self.tail = row.tail
        self.topic = row.topic
        self.pages: EncodedPages | None = None  # see `ReadableLog.pages`
        self.members = 0  # of a channel, also those who are away
        self.removed = False  # it leaves the store, or has left it: nothing is posted to it
        self._lock = leaf()
        self._followers: dict[Follower, None] = {}  # in the order of attaching, without those that are told last
        self._told_last: dict[Follower, None] = {}
        self._in_order: tuple[Follower, ...] | None = None  # both; None after a change, until somebody asks
        self._recent: deque[Block] = deque()  # without a gap up to the tail
        self._undelivered: list[Block] = []
        self._baton = threading.Lock()

    def partner(self, user_key: str) -> str | None:
        """Return the name of the user's partner in a private log; None for a channel."""
        if self.channel is not None:
            return None
        return self.row.other if self.row.key.startswith(f"{user_key}:") else self.row.name

    def attach(self, follower: Follower) -> None:
        """Tell the follower of all blocks from now on. No-op for one that is attached already."""
        with self._lock:
            (self._told_last if follower.told_last else self._followers)[follower] = None
            self._in_order = None

    def detach(self, follower: Follower) -> None:
        """Tell the follower nothing more."""
        with self._lock:
            (self._told_last if follower.told_last else self._followers).pop(follower, None)
            self._in_order = None

    @property
    def followers(self) -> tuple[Follower, ...]:
        """The attached followers, in the order in which they are told."""
        with self._lock:
            if self._in_order is None:
                self._in_order = (*self._followers, *self._told_last)
            return self._in_order

    @property
    def follower_count(self) -> int:
        """The number of attached followers; to ask costs the same for any number."""
        return len(self._followers) + len(self._told_last)

    def count_members(self, more: int) -> None:
        """Add to the count of a channel's members, or take from it."""
        with self._lock:
            self.members += more

    def publish(self, block: Block) -> None:
        """Add a committed block, which `deliver` takes to the followers. Called in the order of commit."""
        with self._lock:
            if block.first != self.tail + 1:  # a commit was taken for failed: its entries are in the store only
                self._recent.clear()
            self._recent.append(block)
            self._undelivered.append(block)
            self.tail = block.last

    def skip(self, tail: int) -> None:
        """Move the tail to a number whose entries are in the store only. Who follows the log then falls behind."""
        with self._lock:
            self._recent.clear()
            self.tail = tail
            followers = (*self._followers, *self._told_last)
        for follower in followers:
            follower.catch_up()

    def forget(self, block: Block) -> None:
        """Drop the oldest block from memory, if it is this one."""
        with self._lock:
            if self._recent and self._recent[0] is block:
                self._recent.popleft()

    def recent(self, after: int, dialect: EntryEncoding, *, past: bool) -> tuple[bytes, int] | None:
        """See `ReadableLog.recent`. The result is None if only the store has the entries."""
        blocks = self._after(after, _GATHER)
        if not blocks:
            return None
        pieces = [block.as_encoded(dialect, past=past) for block in blocks]
        return b"".join(pieces) if len(pieces) > 1 else pieces[0], blocks[-1].last

    def following(self, store: Entries, after: int, limit: int) -> list[Batch]:
        """Return batches that follow number `after`, at most `limit` entries, from memory or else from the store.

        Batches that follow each other in the journal, too, are joined.
        """
        batches: list[Batch] = []
        for block in self._after(after, _GATHER):
            for batch in block.batches:
                if limit > 0:
                    batches.append(batch_after(batch, after, limit))
                    limit -= len(batches[-1].entries)
        return _joined(batches or store.read_batches(self.row, after, limit, _READ))

    def _after(self, after: int, size: int) -> list[Block]:
        """Return blocks in memory that follow number `after`, about `size` bytes; the first may be a part of one."""
        blocks: list[Block] = []
        with self._lock:
            recent = self._recent
            at = bisect_right(recent, after, key=_last)
            if at < len(recent) and recent[at].first > after + 1:
                return []
            while size > 0 and at < len(recent):
                blocks.append(recent[at])
                size -= recent[at].size
                at += 1
        if blocks and blocks[0].first <= after:
            blocks[0] = Block(*[batch_after(batch, after) for batch in blocks[0].batches if batch.last > after])
        return blocks

    def oldest_recent(self) -> int:
        """Return the first number in memory; the one after the tail if nothing is."""
        with self._lock:
            return self._recent[0].first if self._recent else self.tail + 1

    def deliver(self) -> None:
        """Take the waiting blocks to every follower, or leave that to the thread that has the baton. Never blocks."""
        waiting = self._undelivered
        while waiting and self._baton.acquire(blocking=False):
            try:
                while waiting:
                    block = self._take()
                    for follower in self.followers:
                        try:
                            follower.offer(self, block)
                        except Exception as error:  # noqa: BLE001 - it is reported, and the others go on
                            report(events.InternalError(part="delivery", consequence="A connection ends."), error)
                            follower.hang_up()
            finally:
                self._baton.release()

    def _take(self) -> Block:
        """Return all waiting blocks as one, so that many small commits cost each reader one send."""
        with self._lock:
            blocks = self._undelivered.copy()
            self._undelivered.clear()
        return blocks[0] if len(blocks) == 1 else Block(*[batch for block in blocks for batch in block.batches])


def _last(block: Block) -> int:
    return block.last


def _joined(batches: Sequence[Batch]) -> list[Batch]:
    """Return the batches with those joined that follow each other, so that lone posts are encoded together."""
    joined: list[Batch] = []
    run: list[Batch] = []
    for batch in [*batches, None]:
        follows = batch is not None and run and _follow(run[-1], batch)
        if run and not follows:
            joined.append(_join(run))
            run = []
        if batch is not None:
            run.append(batch)
    return joined


def _follow(one: Batch, other: Batch) -> bool:
    return other.first == one.last + 1 and other.seq - len(other.entries) == one.seq


def _join(run: Sequence[Batch]) -> Batch:
    if len(run) == 1:
        return run[0]
    entries = [entry for batch in run for entry in batch.entries]
    return Batch(run[0].log, run[0].first, run[-1].last, run[-1].seq, entries, sum([batch.size for batch in run]))


def batch_after(batch: Batch, after: int, limit: int | None = None) -> Batch:
    """Return the entries of a batch that follow number `after`, at most `limit`."""
    skipped = max(0, after + 1 - batch.first)
    end = len(batch.entries) if limit is None else min(skipped + limit, len(batch.entries))
    if end - skipped == len(batch.entries):
        return batch
    left_out = len(batch.entries) - end
    first, last = batch.first + skipped, batch.last - left_out
    return Batch(batch.log, first, last, batch.seq - left_out, batch.entries[skipped:end], batch.size)
