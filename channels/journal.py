"""Floor 2: the journal: it commits the posts of all logs and has them delivered.

The poster carries: a thread puts the posts that it has read into the queue and tries to take the lead, without
blocking. The leader commits all waiting posts in one transaction, adds them to the logs, releases the lead, and then
delivers. A thread that does not get the lead goes back to its socket. The leader looks at the queue again after
releasing the lead, so no post is left behind. Under load the transactions grow by themselves.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from weakref import ref

from reporting import events, report
from store import Batch, Entries, Members, NewPosts, StoreError
from wire.clock import now
from wire.errors import Refused
from wire.frames import Msg, Say
from wire.limits import Limits

from .locks import leaf, nothing_held
from .log import Block, Log, batch_after
from .store_health import StoreHealth

_COMMIT = 4 << 20  # bytes of posts in one transaction, so that a flood does not hold up the posts after it
_NO_ANSWER = "A sender gets no answer. The connection ends."
_FILL = 1_024  # entries between the tail and a commit that are read from the store by the leader
_POST = 64  # bytes that a post takes in addition to its text


@dataclass(slots=True, eq=False)
class Posting:
    """Posts of one user to one log, in order. The leader calls `stored` with their numbers, or `refused`."""

    log: Log
    sender_key: str
    sender: str
    posts: Sequence[Say | Msg]
    stored: Callable[[Posting, Sequence[int]], None]
    refused: Callable[[Posting, Refused], None]

    @property
    def size(self) -> int:
        """About how many bytes the posts take."""
        return sum([len(post.text) for post in self.posts]) + _POST * len(self.posts)


class JournalStore(Entries, Members, Protocol):
    """The part of the store that the journal uses: `append` and `move`."""


class Journal:
    """The queue, the lead, and the blocks that stay in memory for readers that are a little behind."""

    def __init__(
        self,
        store: JournalStore,
        limits: Limits,
        moved: Callable[[Log, str, int], None],
        deliver: Callable[[Log], None],
        delivered: Callable[[], None] = lambda: None,
        committed: Callable[[Sequence[Log]], None] | None = None,
    ) -> None:
        """`moved` is called for each cursor that was stored, `deliver` for each log with new entries.

        `committed` is called once for all logs that a commit has added to, before they are delivered, and `delivered`
        once after that. It is None for the only server on the store.
        """
        self._store = store
        self._limits = limits
        self._moved = moved
        self._deliver = deliver
        self._delivered = delivered
        self._committed = committed
        self._lock = leaf()
        self._lead = threading.Lock()  # a baton, not a leaf: the leader holds it across the commit
        self._queue: deque[Posting] = deque()
        self._queued = 0  # bytes
        self._elsewhere: deque[tuple[Log, int, Sequence[Batch]]] = deque()  # committed at other servers, and the tails
        self._cursors: dict[tuple[Log, str], int] = {}  # by log and user key
        self._seen: dict[str, int] = {}
        # The blocks of all logs, in order of commit. Only the leader uses it. It keeps no log that nobody else uses.
        self._kept: deque[tuple[ref[Log], Block]] = deque()
        self._kept_size = 0
        self._kept_limit = limits.cache - limits.cache_of_pages
        self._encodings: deque[tuple[Block, int]] = deque()  # that blocks keep since the last commit; any thread adds
        self._health = StoreHealth()
        self._lost_cursors = False  # reported; only the leader uses it

    def post(self, posting: Posting, *, carry: bool = True) -> None:
        """Store and deliver a posting, or leave that to the leader. Wait for the lead if the queue is full.

        `carry=False` leaves it in the queue until the next `carry`, for a poster that has more of them.
        """
        size = posting.size
        with self._lock:
            self._queue.append(posting)
            self._queued += size
            full = self._queued > self._limits.queue
        if carry or full:
            self.carry(wait=full)

    def publish(self, log: Log, tail: int, batches: Sequence[Batch]) -> None:
        """Add to a log, and deliver, what another server has committed up to the number `tail`.

        The leader does it in its turn, without what the log has already. What the batches do not have up to the tail,
        the followers read from the store.
        """
        with self._lock:
            self._elsewhere.append((log, tail, batches))
        self.carry()

    def move(self, log: Log, user: str, number: int) -> None:
        """Move a stored cursor with the next commit. A cursor only moves forwards."""
        key = (log, user)
        with self._lock:
            if number > self._cursors.get(key, 0):
                self._cursors[key] = number

    def saw(self, user: str, at: int) -> None:
        """Store with the next commit when a user was last seen, in milliseconds since 1970."""
        with self._lock:
            self._seen[user] = at

    def carry(self, *, wait: bool = False) -> None:
        """Commit and deliver until nothing waits, if the lead is free. With `wait`, wait for the lead first."""
        nothing_held("carry the journal")
        while (wait or self._queue or self._cursors or self._seen or self._elsewhere) and self._lead.acquire(
            blocking=wait
        ):
            wait = False
            try:
                heard = self._publish_elsewhere() if self._elsewhere else ()
                touched = self._commit()
                moved = self._commit_cursors()
            finally:
                self._lead.release()
            if touched and self._committed is not None:
                _attempt("Other servers get a message a second later.", self._committed, touched)
            for log in [*heard, *touched] if heard else touched:
                _attempt("Followers of a log get a message together with the next one.", self._deliver, log)
            if touched or heard:
                _attempt("Some cursors of people move later.", self._delivered)
            for (log, user), number in moved.items():
                _attempt("A sender is not told that a message was delivered.", self._moved, log, user, number)

    def _commit(self) -> list[Log]:
        """Commit the waiting posts, tell the posters, and add them to the logs. Return these logs.

        Whatever fails, every posting is told to be stored or refused, since its session waits for that.
        """
        postings = self._take()
        if any([posting.log.removed for posting in postings]):
            postings = self._refuse_removed(postings)
        if not postings:
            return []
        try:
            posts = [NewPosts(each.log.row, each.sender_key, each.sender, each.posts) for each in postings]
            appended = self._store.append(posts, now())
            settled = list(zip(postings, appended.numbers, strict=True))
        except Exception as error:  # noqa: BLE001 - `_refuse` logs it, and answers every posting
            self._refuse(postings, error)
            return []
        self._health.worked()
        logs = {posting.log.row.id: posting.log for posting in postings}
        for batch in appended.batches:
            log = logs[batch.log.id]
            if batch.first > log.tail + 1:
                _attempt("Followers of a log read the store.", self._fill, log, batch.first)
            _attempt("Followers of a log read the store.", self._publish, log, batch)
        for posting, numbers in settled:
            _attempt(_NO_ANSWER, posting.stored, posting, numbers)
        return [logs[batch.log.id] for batch in appended.batches]

    def _refuse_removed(self, postings: Sequence[Posting]) -> list[Posting]:
        """Refuse the postings to logs that have left the store; return the others."""
        for posting in postings:
            if posting.log.removed:
                sentence = f"The channel {posting.log.row.name} was empty, and the server has removed it."
                _attempt(_NO_ANSWER, posting.refused, posting, Refused("no-such-channel", sentence))
        return [posting for posting in postings if not posting.log.removed]

    def alone(self, call: Callable[[], bool]) -> bool:
        """Return what a function returns that is called while nothing is committed."""
        nothing_held("take the journal's lead")
        with self._lead:
            done = call()
        self.carry()
        return done

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

    def _publish_elsewhere(self) -> list[Log]:
        """Add what other servers have committed; return the logs."""
        heard: dict[Log, None] = {}
        while self._elsewhere:
            log, tail, batches = self._elsewhere.popleft()
            for batch in batches:
                if batch.last > log.tail:
                    _attempt("Followers of a log read the store.", self._publish, log, batch_after(batch, log.tail))
            if log.tail < tail:
                log.skip(tail)
            heard[log] = None
        return list(heard)

    def _fill(self, log: Log, first: int) -> None:
        """Add what other servers, or a commit that was taken for failed, have stored before the entry `first`."""
        missing = first - 1 - log.tail
        if missing > _FILL:
            return
        try:
            batches = self._store.read_batches(log.row, log.tail, missing)
        except StoreError as error:
            report(events.StoreProblem(str(error), "Followers of a log read the store."))
            return
        for batch in batches:
            self._publish(log, batch)

    def _publish(self, log: Log, batch: Batch) -> None:
        block = Block(batch, encodings=self._encodings)
        block.kept = True
        log.publish(block)
        self._kept.append((ref(log), block))
        self._kept_size += block.size
        self._count_encodings()
        while self._kept_size > self._kept_limit and len(self._kept) > 1:
            old_ref, old = self._kept.popleft()
            old_log = old_ref()
            if old_log is not None:
                old_log.forget(old)
            old.kept = False
            self._kept_size -= old.size

    def _count_encodings(self) -> None:
        """Count what the deliveries since the last commit have encoded."""
        while self._encodings:
            block, size = self._encodings.popleft()
            if block.kept:
                block.size += size
                self._kept_size += size

    def _refuse(self, postings: Sequence[Posting], error: Exception) -> None:
        if isinstance(error, StoreError):
            self._health.failed(str(error), sum(len(posting.posts) for posting in postings))
            refused = Refused("not-stored", f"Not stored: {error.told}")
        else:
            report(events.InternalError(part="journal", consequence="Messages were refused."), error)
            refused = Refused("internal", "Not stored, because of an error in the server. Its log has the details.")
        for posting in postings:
            _attempt(_NO_ANSWER, posting.refused, posting, refused)

    def _commit_cursors(self) -> dict[tuple[Log, str], int]:
        with self._lock:
            cursors, self._cursors = self._cursors, {}
            seen, self._seen = self._seen, {}
        if not cursors and not seen:
            return {}
        try:
            self._store.move({(log.row.id, user): number for (log, user), number in cursors.items()}, seen)
        except Exception as error:  # noqa: BLE001 - the posts of the same turn are yet to be delivered
            if not self._lost_cursors:
                report(events.StoreProblem(str(error), "Some entries will be sent twice."))
            self._lost_cursors = True
            return {}
        self._lost_cursors = False
        return cursors


def _attempt(consequence: str, call: Callable[..., None], *arguments: Any) -> None:
    """Call a function; report what it raises. What fails for one user or log must not keep back the others."""
    try:
        call(*arguments)
    except Exception as error:  # noqa: BLE001 - it is reported
        report(events.InternalError(part="journal", consequence=consequence), error)
