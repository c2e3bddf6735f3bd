"""A journal's surroundings without disk and sockets: a store that may fail, outlets with a will, a pump."""

from __future__ import annotations

import os
import random
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from channels.journal import Journal, Posting
from channels.locks import nothing_held
from channels.log import Log
from channels.reader import Reader
from store import Appended, Batch, LogRow, NewPosts, Store, StoreError
from wire.dialect import Encoding
from wire.errors import Refused
from wire.frames import Entry, Frame, Say
from wire.jsonlines import JsonLines
from wire.limits import Limits


class FakeStore:
    """Logs as lists; `failing` is the chance that an append raises StoreError, or, for `mistaken`, something else."""

    def __init__(self, failing: float = 0.0, mistaken: float = 0.0) -> None:
        self.kept: dict[int, list[Entry]] = {}
        self.cursors: dict[tuple[int, str], int] = {}
        self.reads = 0
        self.amid: Callable[[], None] | None = None  # is called inside of every append and move
        self._failing = failing
        self._mistaken = mistaken
        self._lock = threading.Lock()
        self._seq = 0

    def append(self, postings: Sequence[NewPosts], now: int) -> Appended:
        """As the contract says, for posts without ids."""
        nothing_held("append")
        chance = random.random()
        if chance < self._failing:
            raise StoreError("the disk is full")
        if chance < self._failing + self._mistaken:
            raise ZeroDivisionError("a mistake")
        assert self._lock.acquire(blocking=False), "two leaders at once"
        try:
            self._busy()
            appended = Appended()
            fresh: dict[int, Batch] = {}
            for posting in postings:
                kept = self.kept.setdefault(posting.log.id, [])
                batch = fresh.get(posting.log.id)
                if batch is None:
                    batch = fresh[posting.log.id] = Batch(posting.log, len(kept) + 1, len(kept), 0, [], 0)
                numbers = []
                for post in posting.posts:
                    entry = Entry(len(kept) + 1, now, posting.sender, post.text, posting.log.name)
                    kept.append(entry)
                    batch.entries.append(entry)
                    batch.size += len(post.text) + 32
                    numbers.append(entry.number)
                batch.last = len(kept)
                appended.numbers.append(numbers)
            for batch in fresh.values():
                self._seq += len(batch.entries)
                batch.seq = self._seq
            appended.batches = list(fresh.values())
            return appended
        finally:
            self._lock.release()

    def read(self, log: LogRow, after: int, limit: int, size: int | None = None) -> list[Entry]:
        """Entries that follow a number."""
        nothing_held("read")
        self.reads += 1
        return self.kept.get(log.id, [])[after : after + limit]

    def read_batches(self, log: LogRow, after: int, limit: int, size: int | None = None) -> list[Batch]:
        """The same as a batch."""
        entries = self.read(log, after, limit)
        return [Batch(log, entries[0].number, entries[-1].number, 0, entries, 0)] if entries else []

    def move(self, cursors: Mapping[tuple[int, str], int], seen: Mapping[str, int]) -> None:
        """Keep cursors."""
        nothing_held("move")
        self._busy()
        self.cursors.update(cursors)

    def _busy(self) -> None:
        """A store lets others run meanwhile."""
        os.sched_yield()
        if self.amid is not None:
            self.amid()


class FakePump:
    """A thread that walks whoever asks, each once, as doors.pump does when the kernel says that there is room."""

    def __init__(self, store: Store, limits: Limits) -> None:
        self._store = store
        self._limits = limits
        self._asked: deque[Reader[Log]] = deque()
        self._ready = threading.Semaphore(0)
        self._stopped = False
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="fake-pump")
        self._thread.start()

    def add(self, reader: Reader[Log]) -> None:
        """Walk it soon."""
        self._asked.append(reader)
        self._ready.release()

    def _run(self) -> None:
        while True:
            self._ready.acquire()
            if self._stopped:
                return
            try:
                self._asked.popleft().walk(self._store, self._limits)
            except BaseException as error:
                self.failure = error

    def close(self) -> None:
        """End the thread."""
        self._stopped = True
        self._ready.release()
        self._thread.join()


class FakeOutlet:
    """Takes as many bytes as it likes; `greed` is the chance that it takes all, `stopped` that it takes none now."""

    def __init__(self, pump: FakePump, greed: float, dialect: Encoding | None = None) -> None:
        self.taken = bytearray()
        self.stopped = False
        self.reader = Reader[Log](self, dialect or JsonLines())
        self._pump = pump
        self._greed = greed
        self._sending = threading.Lock()

    def transmit(self, data: bytes | memoryview, *, answered: bool = False) -> int:
        """Take some of it."""
        assert self._sending.acquire(blocking=False), "two threads send at once"
        try:
            if self.stopped:
                return 0
            count = len(data) if random.random() < self._greed else random.randint(0, len(data))
            self.taken += data[:count]
            return count
        finally:
            self._sending.release()

    def when_writable(self) -> None:
        """Have the pump come, or, while it is stopped, not before `go_on`."""
        if not self.stopped:
            self._pump.add(self.reader)

    def go_on(self) -> None:
        """Take bytes again."""
        self.stopped = False
        self._pump.add(self.reader)

    def hang_up(self) -> None:
        """Nothing to do."""

    def peer_has_ended(self) -> bool:
        """Its peer stays."""
        return False

    def is_broken(self) -> bool:
        """Its connection works."""
        return False

    def unacknowledged(self) -> int:
        """All has arrived."""
        return 0

    def frames(self) -> list[Frame]:
        """Return what was sent, as frames."""
        lines: list[Any] = JsonLines(Limits(line=1 << 30), client=True).receive(bytes(self.taken))
        return lines


class Stage:
    """A journal with some logs, on a fake store, with a fake pump."""

    def __init__(self, limits: Limits, logs: int = 1, *, failing: float = 0.0, mistaken: float = 0.0) -> None:
        self.store = FakeStore(failing, mistaken)
        self.limits = limits
        self.moved: list[tuple[str, int]] = []
        self.journal = Journal(
            cast("Store", self.store), limits, lambda log, user, to: self.moved.append((user, to)), Log.deliver
        )
        self.logs = [Log(LogRow(n, "channel", f"log{n}", f"log{n}", "", "", 0)) for n in range(2, logs + 2)]
        self.pump = FakePump(cast("Store", self.store), limits)

    def outlet(self, greed: float = 1.0) -> FakeOutlet:
        """A reader that follows nothing yet."""
        return FakeOutlet(self.pump, greed)

    def close(self) -> None:
        """End the pump; fails if a walk has failed."""
        self.pump.close()
        assert self.pump.failure is None, self.pump.failure


class Poster:
    """Posts as one user and notes what became of each post: its number, or the refusal."""

    def __init__(self, stage: Stage, name: str) -> None:
        self.name = name
        self.numbers: dict[tuple[str, str], int] = {}  # by log and text
        self.refused: dict[tuple[str, str], str] = {}  # the code
        self.posted = 0
        self._journal = stage.journal
        self._settled = threading.Semaphore(0)

    def post(self, log: Log, texts: Sequence[str]) -> None:
        """Hand them to the journal, and wait for nothing."""
        self.posted += 1
        posts = [Say(text, log.row.name) for text in texts]
        self._journal.post(Posting(log, self.name, self.name, posts, self._stored, self._refused))

    def settle(self, postings: int, seconds: float) -> bool:
        """Wait, without lending the journal a hand, until so many postings are stored or refused."""
        return all(self._settled.acquire(timeout=seconds) for _ in range(postings))

    def _stored(self, posting: Posting, numbers: Sequence[int]) -> None:
        for post, number in zip(posting.posts, numbers, strict=True):
            self.numbers[posting.log.row.name, post.text] = number
        self._settled.release()

    def _refused(self, posting: Posting, refused: Refused) -> None:
        for post in posting.posts:
            self.refused[posting.log.row.name, post.text] = refused.code
        self._settled.release()
