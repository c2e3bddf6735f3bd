"""Floor 2: a log in memory: its tail, its latest entries, and the followers that are told of new ones.

Delivery is by leader and followers: whoever finds the baton free carries all that is waiting, in order, to every
follower; whoever finds it taken goes on, for the one who has it looks once more before and after letting go.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import deque
from typing import Any, Protocol

from store import Batch, Entries, LogRow
from wire.dialect import EntryEncoding
from wire.frames import Frame

from .locks import leaf

_GATHER = 65_536  # bytes of small blocks that are sent to a lagging reader at once


class Block:
    """Consecutive batches of one log with no gap, and their bytes in each dialect that somebody reads them in."""

    __slots__ = ("_encoded", "batches", "first", "last", "size")

    def __init__(self, *batches: Batch) -> None:
        self.batches = batches
        self.first = batches[0].first
        self.last = batches[-1].last
        self.size = sum([batch.size for batch in batches])
        self._encoded: dict[str, bytes] = {}

    def encoded(self, dialect: EntryEncoding) -> bytes:
        """The same bytes object for every reader of the dialect."""
        data = self._encoded.get(dialect.key)
        if data is None:
            data = self._encoded[dialect.key] = self.encode(dialect)
        return data

    def encode(self, dialect: EntryEncoding, *, past: bool = False) -> bytes:
        """The bytes in a dialect, made anew."""
        encode = dialect.encode_entries
        return b"".join([encode(batch.entries, batch.seq, past=past) for batch in self.batches])


class Follower(Protocol):
    """What a log tells of its new blocks and of its news. Any thread may call it."""

    @property
    def told_last(self) -> bool:
        """True if it is told of a block after all followers that are not told last."""

    @property
    def user_key(self) -> str:
        """The key of the user whose connection it is; empty if it belongs to no user."""

    def offer(self, log: Log, block: Block) -> None:
        """Take the next block of the log. Called by one thread at a time for each log, in the order of commit."""

    def notify(self, frame: Frame, log: Log | None = None) -> None:
        """Take a notice of what has changed just now, such as presence or a topic; it is not repeated later."""


class ReadableLog(Protocol):
    """What a reader needs of a log. It is compared by identity."""

    @property
    def row(self) -> LogRow:
        """The log in the store."""

    @property
    def tail(self) -> int:
        """The last committed number."""

    @property
    def channel(self) -> str | None:
        """The channel's name; None for a private log."""

    def peer(self, user_key: str) -> str | None:
        """Return the name of the other user of a private log; None for a channel."""

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
    """One channel or private conversation. `tail` is the last committed number; it moves under `_lock` only."""

    __slots__ = ("_baton", "_lock", "_recent", "_undelivered", "followers", "row", "tail", "topic")

    def __init__(self, row: LogRow) -> None:
        self.row = row
        self.tail = row.tail
        self.topic = row.topic
        self.followers: tuple[Follower, ...] = ()
        self._lock = leaf()
        self._recent: deque[Block] = deque()  # without a gap up to the tail
        self._undelivered: deque[Block] = deque()
        self._baton = threading.Lock()

    @property
    def channel(self) -> str | None:
        """The channel's name; None for a private log."""
        return self.row.name if self.row.kind == "channel" else None

    def peer(self, user_key: str) -> str | None:
        """The other user of a private log, by name; None for a channel."""
        if self.row.kind == "channel":
            return None
        return self.row.other if self.row.key.startswith(f"{user_key}:") else self.row.name

    def attach(self, follower: Follower) -> None:
        """Tell the follower of all blocks from now on. No-op for one that is attached already."""
        with self._lock:
            followers = self.followers
            if follower not in followers:
                at = len(followers)
                while at and followers[at - 1].told_last and not follower.told_last:
                    at -= 1
                self.followers = (*followers[:at], follower, *followers[at:])

    def detach(self, follower: Follower) -> None:
        """Tell the follower nothing more."""
        with self._lock:
            self.followers = tuple([other for other in self.followers if other is not follower])

    def publish(self, block: Block) -> None:
        """Show a committed block to followers; called by the journal's leader, in order of commit."""
        with self._lock:
            assert block.first == self.tail + 1, f"{self.row.key}: {block.first} does not follow {self.tail}"
            self._recent.append(block)
            self._undelivered.append(block)
            self.tail = block.last

    def forget(self) -> None:
        """Keep the oldest block no longer in memory."""
        with self._lock:
            self._recent.popleft()

    def recent(self, after: int, dialect: EntryEncoding, *, past: bool) -> tuple[bytes, int] | None:
        """Bytes of some blocks that follow number `after`, and their last number; None if only the store has them."""
        blocks = self._after(after, _GATHER)
        if not blocks:
            return None
        if past:
            pieces = [block.encode(dialect, past=True) for block in blocks]
        else:
            pieces = [block.encoded(dialect) for block in blocks]
        return b"".join(pieces) if len(pieces) > 1 else pieces[0], blocks[-1].last

    def following(self, store: Entries, after: int, limit: int) -> list[Batch]:
        """Batches that follow number `after`, from memory or else from the store: at most `limit` entries."""
        batches: list[Batch] = []
        for block in self._after(after, _GATHER):
            for batch in block.batches:
                if limit > 0:
                    batches.append(_part(batch, after, limit))
                    limit -= len(batches[-1].entries)
        return batches or store.read_runs(self.row, after, limit)

    def _after(self, after: int, size: int) -> list[Block]:
        """Blocks in memory with what follows number `after`, up to about so many bytes; the first may be a part."""
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
            blocks[0] = Block(*[_part(batch, after) for batch in blocks[0].batches if batch.last > after])
        return blocks

    def oldest_recent(self) -> int:
        """The first number that is in memory; the one after the tail if nothing is."""
        with self._lock:
            return self._recent[0].first if self._recent else self.tail + 1

    def deliver(self) -> None:
        """Carry what is waiting to every reader, or leave it to whoever is at it."""
        waiting = self._undelivered
        while waiting and self._baton.acquire(blocking=False):
            try:
                while waiting:
                    block = self._take()
                    for follower in self.followers:
                        follower.offer(self, block)
            finally:
                self._baton.release()

    def _take(self) -> Block:
        """All that is waiting as one block, so that a crowd of small commits costs each reader one send."""
        with self._lock:
            blocks = list(self._undelivered)
            self._undelivered.clear()
        return blocks[0] if len(blocks) == 1 else Block(*[batch for block in blocks for batch in block.batches])


def _last(block: Block) -> int:
    return block.last


def _part(batch: Batch, after: int, limit: int | None = None) -> Batch:
    """The entries of a batch that follow number `after`, at most so many."""
    skipped = max(0, after + 1 - batch.first)
    end = len(batch.entries) if limit is None else min(skipped + limit, len(batch.entries))
    if end - skipped == len(batch.entries):
        return batch
    left_out = len(batch.entries) - end
    first, last = batch.first + skipped, batch.last - left_out
    return Batch(batch.log, first, last, batch.seq - left_out, batch.entries[skipped:end], batch.size)
