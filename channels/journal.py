"""Floor 2: the journal: every post of every log on its way through one commit to delivery.

The poster carries (leader and followers): a thread puts what it has read into the queue and tries to become the
leader, without blocking. The leader commits all that is waiting in one transaction, shows it to the logs, lets go of
the lead, and then delivers; whoever fails to become the leader goes back to its socket. After letting go of the lead,
the leader looks at the queue once more, so nothing can be left behind. Under load the batches grow by themselves.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from store import Batch, Entries, Members, Part, StoreError
from wire.clock import now
from wire.errors import Refused
from wire.frames import Msg, Say
from wire.limits import Limits

from .locks import leaf, nothing_held
from .log import Block, Log

log_ = logging.getLogger("partyline.journal")

_COMMIT = 4 << 20  # bytes of posts in one transaction, so that a flood does not hold up who comes after it
_POST = 64  # bytes that a post takes beside its text


@dataclass(slots=True, eq=False)
class Posting:
    """Posts of one user to one log, in order, and what is to be done when they are stored or are not."""

    log: Log
    sender_key: str
    sender: str
    posts: Sequence[Say | Msg]
    stored: Callable[[Posting, Sequence[int]], None]
    refused: Callable[[Posting, Refused], None]

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        return sum([len(post.text) for post in self.posts]) + _POST * len(self.posts)


class JournalStore(Entries, Members, Protocol):
    """The part of the store that the journal uses: `append` and `move`."""


class Journal:
    """The queue, the lead, and the blocks that stay in memory for readers who lag a little."""

    def __init__(
        self,
        store: JournalStore,
        limits: Limits,
        moved: Callable[[Log, str, int], None],
        deliver: Callable[[Log], None] = Log.deliver,
        delivered: Callable[[], None] = lambda: None,
    ) -> None:
        """`moved` is told of each stored cursor that has moved, `deliver` of each log that has something new.

        `delivered` is called after all logs that a commit touched.
        """
        self._store = store
        self._limits = limits
        self._moved = moved
        self._deliver = deliver
        self._delivered = delivered
        self._lock = leaf()
        self._lead = threading.Lock()  # a baton, not a leaf: it is held across the commit
        self._queue: deque[Posting] = deque()
        self._queued = 0  # bytes
        self._cursors: dict[tuple[Log, str], int] = {}  # by log and user key
        self._seen: dict[str, int] = {}
        self._kept: deque[tuple[Log, Block]] = deque()  # of all logs, in order of commit; the leader's own
        self._kept_size = 0

    def post(self, posting: Posting, *, carry: bool = True) -> None:
        """Store and deliver it, or leave that to the leader. Waits while too much is waiting already.

        Without `carry`, it may wait until the poster, who has more of them, calls `carry`.
        """
        size = posting.size
        with self._lock:
            self._queue.append(posting)
            self._queued += size
            full = self._queued > self._limits.queue
        if carry or full:
            self.carry(wait=full)

    def move(self, log: Log, user: str, number: int) -> None:
        """Have a stored cursor moved, forwards, with the next commit."""
        key = (log, user)
        with self._lock:
            if number > self._cursors.get(key, 0):
                self._cursors[key] = number

    def saw(self, user: str, at: int) -> None:
        """Have it stored when a user was last seen, with the next commit."""
        with self._lock:
            self._seen[user] = at

    def carry(self, *, wait: bool = False) -> None:
        """Become the leader, if the lead is free (or, with `wait`, when it is), until nothing is waiting."""
        nothing_held("carry the journal")
        while (wait or self._queue or self._cursors or self._seen) and self._lead.acquire(blocking=wait):
            wait = False
            try:
                touched = self._commit()
                moved = self._commit_cursors()
            finally:
                self._lead.release()
            for log in touched:
                self._deliver(log)
            if touched:
                self._delivered()
            for (log, user), number in moved.items():
                self._moved(log, user, number)

    def _commit(self) -> list[Log]:
        """Commit what is waiting, tell the posters, and show it; the logs that have something new."""
        postings = self._take()
        if not postings:
            return []
        parts = [Part(posting.log.row, posting.sender_key, posting.sender, posting.posts) for posting in postings]
        try:
            appended = self._store.append(parts, now())
        except Exception as error:
            self._refuse(postings, error)
            return []
        logs = {posting.log.row.id: posting.log for posting in postings}
        touched = [self._publish(logs[batch.log.id], batch) for batch in appended.batches]
        for posting, numbers in zip(postings, appended.numbers, strict=True):
            posting.stored(posting, numbers)
        return touched

    def _take(self) -> list[Posting]:
        postings: list[Posting] = []
        size = 0
        with self._lock:
            while self._queue and size < _COMMIT:
                posting = self._queue.popleft()
                size += posting.size
                postings.append(posting)
            self._queued -= size
        return postings

    def _publish(self, log: Log, batch: Batch) -> Log:
        block = Block(batch)
        log.publish(block)
        self._kept.append((log, block))
        self._kept_size += block.size
        while self._kept_size > self._limits.cache and len(self._kept) > 1:
            old_log, old = self._kept.popleft()
            old_log.forget()
            self._kept_size -= old.size
        return log

    def _refuse(self, postings: Sequence[Posting], error: Exception) -> None:
        if isinstance(error, StoreError):
            log_.error("%d posts refused: %s", sum(len(posting.posts) for posting in postings), error)
            refused = Refused("not-stored", f"It was not kept: {error}")
        else:
            log_.exception("a commit failed", exc_info=error)
            refused = Refused("internal", "It was not kept: the server made a mistake; its log says more.")
        for posting in postings:
            posting.refused(posting, refused)

    def _commit_cursors(self) -> dict[tuple[Log, str], int]:
        with self._lock:
            cursors, self._cursors = self._cursors, {}
            seen, self._seen = self._seen, {}
        if not cursors and not seen:
            return {}
        try:
            self._store.move({(log.row.id, user): number for (log, user), number in cursors.items()}, seen)
        except StoreError as error:
            log_.error("cursors were not kept, so some entries will come twice: %s", error)
            return {}
        return cursors
