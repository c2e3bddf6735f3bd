"""Floor 2: a reader: the cursors of one connection, and the bytes on their way to its peer.

A reader is level or behind. While it is level, the thread that delivers a block sends it at once, without blocking.
When the outlet does not take all bytes, the reader is behind: the rest waits in `_backlog`, the cursors stay, the
reader ignores new blocks, and the write pump walks it through its logs until it is level again.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from store import Entries
from wire.dialect import Encoding
from wire.frames import Frame, Gap
from wire.limits import Limits

from .locks import leaf
from .log import Block, ReadableLog
from .waiting import AddressBytes, WaitingBytes

_PAGE = 256  # entries that are read from the store at once, and about how many bytes
_PAGE_SIZE = 65_536
_TURN = 16  # pieces that one reader is sent before the write pump turns to the next
_ON_ITS_WAY = 131_072  # unacknowledged bytes above which a long answer waits until the outlet takes bytes
_SMALL = 1_024  # bytes of an answer that waits in one piece with others
_PIECE = 16_384  # bytes of such a piece, at least before its last answer
_PATIENCE = 60.0  # seconds that a long answer waits for room beside what others of the address have not read


L = TypeVar("L", bound=ReadableLog)


def _rest(data: bytes | memoryview, taken: int, *, shared: bool) -> memoryview:
    """Return what follows the first `taken` bytes, without the memory of these if they are more than half of all.

    Of shared bytes, the memory stays anyway.
    """
    view = memoryview(data)
    rest = view[taken:]
    return rest if shared or 2 * len(rest) >= len(memoryview(view.obj)) else memoryview(bytes(rest))


class Outlet(Protocol):
    """The door's end of a connection."""

    def transmit(self, data: bytes | memoryview, *, answered: bool = False) -> int:
        """Send without blocking; return how many bytes were taken. A broken connection takes all of them.

        The rest must be what is sent next: in TLS, a part of it may be under way.

        `answered`: the peer answers these bytes at once.
        """

    def when_writable(self) -> None:
        """Add the connection to the write pump, which calls its `resume_writing` once it takes bytes again.

        `resume_writing` calls `Reader.walk`.
        """

    def hang_up(self) -> None:
        """Read nothing more from the peer, so that the connection's own thread ends the connection."""

    def peer_has_ended(self) -> bool:
        """Return True if the peer has ended its side, whether its last bytes were read yet or not."""

    def is_broken(self) -> bool:
        """Return True if the connection has failed, so that the peer gets nothing more."""

    def unacknowledged(self) -> int:
        """Return how many bytes the peer's machine has not acknowledged; at least 1 for a broken connection."""


class Reader(Generic[L]):
    """A `Follower` and a `SessionReader` with one peer. `_lock` is the connection's send lock: every send holds it."""

    __slots__ = (
        "_account", "_acknowledged", "_backlog", "_behind", "_closed", "_cursors", "_held", "_lock",
        "_outlet", "_room", "_shared_first", "_waiting", "dialect", "user_key",
    )  # fmt: skip

    told_last = False

    def __init__(self, outlet: Outlet, dialect: Encoding) -> None:
        self.dialect = dialect
        self.user_key = ""
        self._outlet = outlet
        self._lock = leaf()
        self._cursors: dict[L, int] = {}
        self._acknowledged: dict[L, int] = {}  # up to which number the peer has the entries for certain
        self._backlog: deque[memoryview | bytearray] | None = None  # what the outlet did not take, in order
        self._shared_first = False  # the first of these pieces is of a block, which others have, too
        self._waiting = 0  # bytes in the backlog
        self._behind = False
        self._closed = False
        self._held: list[tuple[L, int, int | None]] | None = None  # the logs to follow from `begin` on
        self._room: tuple[int, threading.Event] | None = None  # a waiting thread, and the bytes until which it waits
        self._account: AddressBytes | None = None  # where the unsent bytes count

    def count_for(self, waiting_bytes: WaitingBytes, address: str) -> None:
        """See `SessionReader.count_for`."""
        if self._account is not None:
            self._account.leave(self)
        self._account = waiting_bytes.enter(address, self)

    @property
    def waiting(self) -> int:
        """The unsent bytes."""
        return self._waiting

    def follow(self, log: L, after: int, acknowledged: int | None = None) -> None:
        """See `SessionReader.follow`."""
        with self._lock:
            if self._held is not None:
                self._held.append((log, after, acknowledged))
                return
            placed = self._place_locked(log, after, acknowledged)
        if placed:
            self._attach(log)

    def hold(self) -> None:
        """See `SessionReader.hold`."""
        with self._lock:
            self._held = []

    def begin(self, starts: Sequence[tuple[L, int, int | None]]) -> None:
        """See `SessionReader.begin`."""
        with self._lock:
            held, self._held = self._held or [], None
            placed = [start[0] for start in (*starts, *held) if self._place_locked(*start)]
        for log in placed:
            self._attach(log)

    def _place_locked(self, log: L, after: int, acknowledged: int | None) -> bool:
        """Set the cursor of a log that has none. Return False if it has one, or if the reader is closed."""
        if self._closed or log in self._cursors:
            return False
        self._cursors[log] = after
        self._acknowledged[log] = after if acknowledged is None else acknowledged
        return True

    def _attach(self, log: L) -> None:
        log.attach(self)
        with self._lock:
            attached = log in self._cursors and not self._closed
            if attached and log.tail > self._cursors[log]:
                self._fall_behind_locked()
        if not attached:  # another thread has closed the reader or stopped following the log meanwhile
            log.detach(self)

    def membership_ended(self, log: L) -> None:
        """See `SessionReader.membership_ended`. Send nothing of the log after this has returned."""
        with self._lock:
            self._cursors.pop(log, None)
            self._acknowledged.pop(log, None)
        log.detach(self)

    def followed(self) -> list[L]:
        """Return the logs that are followed."""
        with self._lock:
            return list(self._cursors)

    def follows(self, log: L) -> bool:
        """Return True if the log is followed."""
        return log in self._cursors

    def acknowledge(self, log: L, number: int) -> int | None:
        """See `SessionReader.acknowledge`."""
        with self._lock:
            number = min(number, self._cursors.get(log, 0))
            if number <= self._acknowledged.get(log, 0):
                return None
            self._acknowledged[log] = number
            return number

    def newly_read(self) -> tuple[list[tuple[L, int]], bool]:
        """See `SessionReader.newly_read`. Entries count as read when the peer's machine has acknowledged all bytes."""
        if self.dialect.acknowledges:
            return [], False
        with self._lock:
            if self._waiting or self._outlet.unacknowledged():
                return [], True
            moved = [(log, number) for log, number in self._cursors.items() if number > self._acknowledged.get(log, 0)]
            self._acknowledged.update(moved)
            return moved, self._behind and not self._closed

    def offer(self, log: L, block: Block) -> None:
        """Send a new block if the reader is level. See `Follower.offer`."""
        with self._lock:
            if self._behind or self._closed:
                return
            cursor = self._cursors.get(log)
            if cursor is None or cursor >= block.last:
                return
            if cursor + 1 != block.first:
                self._fall_behind_locked()
                return
            data = block.encoded(self.dialect)
            self._cursors[log] = block.last
            taken = self._outlet.transmit(data)  # a level reader has no backlog
            if taken < len(data):
                self._keep_locked(data, taken, shared=True)

    def catch_up(self) -> None:
        """See `Follower.catch_up`."""
        with self._lock:
            if not self._behind:
                self._fall_behind_locked()

    def reply(self, frame: Frame) -> None:
        """Send an answer, after everything that waits already."""
        data, payload = self.dialect.encode_apart(frame)
        if data:
            self.reply_bytes(data, payload)

    def reply_bytes(self, data: bytes, payload: bytes = b"") -> None:
        """Send encoded answers, after everything that waits already, and a payload after them."""
        with self._lock:
            self._send_locked(data)
            self._send_locked(payload)

    def notify(self, frame: Frame, log: L | None = None) -> None:
        """Send a notice, or drop it if the reader is behind or held, or does not follow `log`."""
        self.notify_bytes(self.dialect.encode(frame), log)

    def notify_bytes(self, data: bytes, log: L | None = None) -> None:
        """Send an encoded notice, as `notify` does."""
        with self._lock:
            if not self._behind and self._held is None and (log is None or log in self._cursors):
                self._send_locked(data)

    def _send_locked(self, data: bytes, *, shared: bool = False) -> None:
        if self._closed or not data:
            return
        if self._backlog:
            self._wait_locked(self._backlog, data)
            return
        taken = self._outlet.transmit(data)
        if taken < len(data):
            self._keep_locked(data, taken, shared=shared)

    def _wait_locked(self, backlog: deque[memoryview | bytearray], data: bytes) -> None:
        """Add to the backlog. Small answers share a piece: a piece of its own takes more memory than they do."""
        self._waiting += len(data)
        last = backlog[-1]
        if len(data) > _SMALL:
            backlog.append(memoryview(data))
        elif type(last) is bytearray and len(last) < _PIECE:
            last += data
        else:
            backlog.append(bytearray(data))

    def _keep_locked(self, data: bytes, taken: int, *, shared: bool) -> None:
        """Keep what the outlet has not taken. `shared`: other readers have the same bytes."""
        if self._backlog is None:
            self._backlog = deque()
        self._backlog.append(_rest(data, taken, shared=shared))
        self._shared_first = shared
        self._waiting = len(data) - taken
        self._fall_behind_locked()

    def _fall_behind_locked(self) -> None:
        if not self._closed:
            self._behind = True
            self._outlet.when_writable()

    def walk(self, store: Entries, limits: Limits) -> None:
        """Send entries up to the tails, as far as the outlet takes them. Called by the write pump alone."""
        for _ in range(_TURN):
            with self._lock:
                if self._closed or not self._flush_locked():
                    return
                log = next((log for log, cursor in self._cursors.items() if cursor < log.tail), None)
                if log is None:
                    self._behind = False
                    if self._room is not None:
                        self._room[1].set()
                    return
                cursor = self._cursors[log]
            data, last = self._following(store, limits, log, cursor)
            with self._lock:
                if self._cursors.get(log) == cursor:
                    # The log that was just served goes to the end, so that the others have their turn.
                    del self._cursors[log]
                    self._cursors[log] = last
                    self._send_locked(data, shared=True)
        with self._lock:
            self._fall_behind_locked()

    def _following(self, store: Entries, limits: Limits, log: L, cursor: int) -> tuple[bytes, int]:
        """Return the bytes that follow `cursor`, and their last number; readers that lag alike share the bytes."""
        tail, pages = log.tail, log.pages
        if tail - cursor > limits.lag:
            return self._gap(log, cursor, tail - limits.after_gap)
        if pages is None:
            return self._encode_following(store, log, cursor, tail)
        # The line of a past entry has the date, if that is not today.
        form = f"{self.dialect.key} {time.strftime('%F')}" if self.dialect.shows_time else self.dialect.key
        page = pages.find((log, cursor, form))
        if page is None:
            page = self._encode_following(store, log, cursor, tail)
            pages.keep((log, cursor, form), *page)
        return page

    def _encode_following(self, store: Entries, log: L, cursor: int, tail: int) -> tuple[bytes, int]:
        """Encode what follows `cursor`: from memory, from the store, or as a gap notice."""
        past = self.dialect.shows_time
        recent = log.recent(cursor, self.dialect, past=past)
        if recent is not None:
            return recent
        count = min(log.oldest_recent() - 1 - cursor, tail - cursor)
        page = _PAGE - cursor % _PAGE  # pages end at the same entries, wherever a reader began
        entries = store.read(log.row, cursor, min(page, count) if count > 0 else page, _PAGE_SIZE)
        if not entries:
            return self._gap(log, cursor, tail)
        if entries[0].number > cursor + 1:  # what is between them is damaged
            return self._gap(log, cursor, entries[0].number - 1)
        if entries[-1].number > cursor + len(entries):
            entries = [entry for at, entry in enumerate(entries, cursor + 1) if entry.number == at]
        return self.dialect.encode_entries(entries, past=past), entries[-1].number

    def _gap(self, log: L, cursor: int, to: int) -> tuple[bytes, int]:
        return self.dialect.encode(self.gap(log, cursor, to)), to

    def gap(self, log: L, after: int, to: int) -> Gap:
        """Return the notice that the entries after number `after`, up to `to`, were left out."""
        return Gap(first=after + 1, last=to, channel=log.channel, user=log.partner(self.user_key))

    def _flush_locked(self) -> bool:
        """Send the backlog. Return True if all of it was taken."""
        backlog = self._backlog
        while backlog:
            piece = memoryview(backlog[0])
            taken = self._outlet.transmit(piece)
            self._waiting -= taken
            if taken < len(piece):
                backlog[0] = _rest(piece, taken, shared=self._shared_first)
                self._outlet.when_writable()
                break
            backlog.popleft()
            self._shared_first = False
        if self._room is not None and self._waiting <= self._room[0]:
            self._room[1].set()
        if self._account is not None:
            self._account.freed()
        return not backlog

    def wait_for_room(self, limit: int, timeout: float | None = None) -> bool:
        """See `SessionReader.wait_for_room`. A peer that asks faster than it reads is not read meanwhile."""
        if not self._waiting or self._closed:
            return True
        if self._waiting <= limit:
            if not self._is_full():
                return True
            limit = 0
        with self._lock:
            if self._waiting <= limit or self._closed:
                return True
            event = threading.Event()
            self._room = (limit, event)
        there = event.wait(timeout)
        with self._lock:
            self._room = None
        return there

    def wait_for_page(self) -> None:
        """See `SessionReader.wait_for_page`. A page that the outlet does not take would wait here in memory."""
        if not self._waiting and self._outlet.unacknowledged() <= _ON_ITS_WAY:
            return
        with self._lock:
            if self._closed:
                return
            event = threading.Event()
            self._room = (0, event)  # set by `walk`, which the write pump calls when the outlet takes bytes
            self._fall_behind_locked()
        event.wait()
        with self._lock:
            self._room = None

    def reserve(self, size: int) -> bool:
        """See `SessionReader.reserve`."""
        account = self._account
        return account is None or account.reserve(self, size, _PATIENCE)

    def release(self) -> None:
        """See `SessionReader.release`."""
        account = self._account
        if account is not None:
            account.release(self)

    def _is_full(self) -> bool:
        """Return True if too many bytes wait for the connections of the address."""
        account = self._account
        return account is not None and account.is_full()

    def wait_until_level(self, timeout: float) -> None:
        """Wait until everything is sent, at most `timeout` seconds. Own thread only."""
        with self._lock:
            if not self._behind or self._closed:
                return
            event = threading.Event()
            self._room = (-1, event)  # `walk` sets it when the reader is level; an empty backlog does not
        event.wait(timeout)
        with self._lock:
            self._room = None

    def peer_has_ended(self) -> bool:
        """See `SessionReader.peer_has_ended`."""
        return self._outlet.peer_has_ended()

    def is_broken(self) -> bool:
        """See `SessionReader.is_broken`."""
        return self._outlet.is_broken()

    def hang_up(self) -> None:
        """Have the connection's own thread end the connection."""
        self._outlet.hang_up()

    def close(self) -> None:
        """Send nothing more. Bytes that the outlet has taken may still reach the peer."""
        with self._lock:
            self._closed = True
            logs = list(self._cursors)
            self._backlog, self._waiting = None, 0
            if self._room is not None:
                self._room[1].set()
            account, self._account = self._account, None
        if account is not None:
            account.leave(self)
        for log in logs:
            log.detach(self)
