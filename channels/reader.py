"""Floor 2: a reader: one connection's cursors, and what is on its way to it.

A reader is level or behind. While it is level, whoever delivers sends straight to it, without blocking. When its
outlet does not take everything, it is behind: what was cut off waits in `_backlog`, its cursors stay where they are,
deliveries pass it by, and the pump walks it through its logs until it is level again.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from store import Entries
from wire.dialect import Encoding
from wire.frames import Frame, Gap
from wire.limits import Limits

from .locks import leaf
from .log import Block, ReadableLog

_PAGE = 256  # entries that are read from the store at once
_TURN = 16  # pieces that one reader is sent before the pump turns to the next


L = TypeVar("L", bound=ReadableLog)


class Outlet(Protocol):
    """The door's end of a connection."""

    def transmit(self, data: bytes | memoryview, *, answered: bool = False) -> int:
        """Send without blocking; how many bytes were taken. A broken line takes everything.

        `answered`: the peer will answer this at once.
        """

    def when_writable(self) -> None:
        """Have `Reader.walk` called by the pump once the line takes bytes again."""

    def hang_up(self) -> None:
        """Read nothing more from the peer; the connection's own thread then ends it."""

    def unacknowledged(self) -> int:
        """How many bytes the peer's machine has not acknowledged yet."""


class Reader(Generic[L]):
    """What one connection reads. `_lock` is the connection's send lock: it alone is held while something is sent."""

    __slots__ = (
        "_acknowledged", "_backlog", "_behind", "_closed", "_cursors", "_held", "_lock",
        "_outlet", "_room", "_waiting", "dialect", "user_key",
    )  # fmt: skip

    told_last = False

    def __init__(self, outlet: Outlet, dialect: Encoding) -> None:
        self.dialect = dialect
        self.user_key = ""
        self._outlet = outlet
        self._lock = leaf()
        self._cursors: dict[L, int] = {}
        self._acknowledged: dict[L, int] = {}  # what of it the peer has had for certain
        self._backlog: deque[memoryview] | None = None  # what the outlet did not take, in order
        self._waiting = 0  # its bytes
        self._behind = False
        self._closed = False
        self._held: list[tuple[L, int, int | None]] | None = None  # what is to be followed after `begin`
        self._room: tuple[int, threading.Event] | None = None  # somebody waits until so few bytes are waiting

    def follow(self, log: L, after: int, acknowledged: int | None = None) -> None:
        """Read a log from the entry after number `after` on. No harm if it is followed already.

        `acknowledged` is the stored cursor, if that is another number.
        """
        with self._lock:
            if self._held is not None:
                self._held.append((log, after, acknowledged))
                return
            placed = self._place_locked(log, after, acknowledged)
        if placed:
            self._attach(log)

    def hold(self) -> None:
        """Read nothing until `begin`: the peer has not been told yet who it is."""
        with self._lock:
            self._held = []

    def begin(self, starts: Sequence[tuple[L, int, int | None]]) -> None:
        """Follow these logs, each as `follow` does, and then what others had this reader follow meanwhile."""
        with self._lock:
            held, self._held = self._held or [], None
            placed = [start[0] for start in (*starts, *held) if self._place_locked(*start)]
        for log in placed:
            self._attach(log)

    def _place_locked(self, log: L, after: int, acknowledged: int | None) -> bool:
        """Put the cursor where it begins, unless there is one."""
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
        if not attached:  # closed, or unfollowed, by another thread meanwhile
            log.detach(self)

    def unfollow(self, log: L) -> None:
        """Read a log no more; nothing of it comes after this has returned."""
        with self._lock:
            self._cursors.pop(log, None)
        log.detach(self)

    def followed(self) -> list[L]:
        """The logs that are read."""
        with self._lock:
            return list(self._cursors)

    def follows(self, log: L) -> bool:
        """Whether the log is read."""
        return log in self._cursors

    def acknowledge(self, log: L, number: int) -> int | None:
        """The peer has had a log's entries up to `number`: how far its cursor is to be moved, None if not at all."""
        with self._lock:
            number = min(number, self._cursors.get(log, 0))
            if number <= self._acknowledged.get(log, 0):
                return None
            self._acknowledged[log] = number
            return number

    def newly_read(self) -> tuple[list[tuple[L, int]], bool]:
        """How far a person's reader has come since this was asked last, if their machine has all that was sent.

        And whether there is more on its way.
        """
        if self.dialect.acknowledges:
            return [], False
        with self._lock:
            if self._waiting or self._outlet.unacknowledged():
                return [], True
            moved = [(log, number) for log, number in self._cursors.items() if number > self._acknowledged.get(log, 0)]
            self._acknowledged.update(moved)
            return moved, self._behind and not self._closed

    def offer(self, log: L, block: Block) -> None:
        """Send a new block, if the reader is level. Called by whoever delivers the log, in order."""
        with self._lock:
            if self._behind or self._closed:
                return
            cursor = self._cursors.get(log)
            if cursor is None or cursor >= block.last:
                return
            if cursor + 1 != block.first:
                self._fall_behind_locked()
                return
            self._cursors[log] = block.last
            data = block.encoded(self.dialect)
            taken = self._outlet.transmit(data)  # whoever is level has no backlog
            if taken < len(data):
                self._keep_locked(data, taken)

    def reply(self, frame: Frame) -> None:
        """Send an answer, after whatever waits already."""
        data, payload = self.dialect.encode_apart(frame)
        if data:
            self.reply_bytes(data, payload)

    def reply_bytes(self, data: bytes, payload: bytes = b"") -> None:
        """Send the bytes of answers, after whatever waits already, and a payload after them."""
        with self._lock:
            self._send_locked(data)
            self._send_locked(payload)

    def notify(self, frame: Frame, log: L | None = None) -> None:
        """Send something that matters just now; a reader who is behind, or has left its `log`, goes without."""
        self.notify_bytes(self.dialect.encode(frame), log)

    def notify_bytes(self, data: bytes, log: L | None = None) -> None:
        """The same with the bytes."""
        with self._lock:
            if not self._behind and self._held is None and (log is None or log in self._cursors):
                self._send_locked(data)

    def _send_locked(self, data: bytes) -> None:
        if self._closed or not data:
            return
        if self._backlog:
            self._backlog.append(memoryview(data))
            self._waiting += len(data)
            return
        taken = self._outlet.transmit(data)
        if taken < len(data):
            self._keep_locked(data, taken)

    def _keep_locked(self, data: bytes, taken: int) -> None:
        """The outlet has taken only so many bytes: the rest waits."""
        if self._backlog is None:
            self._backlog = deque()
        self._backlog.append(memoryview(data)[taken:])
        self._waiting = len(data) - taken
        self._fall_behind_locked()

    def _fall_behind_locked(self) -> None:
        if not self._closed:
            self._behind = True
            self._outlet.when_writable()

    def walk(self, store: Entries, limits: Limits) -> None:
        """Go on towards the tails, as far as the line takes it. Called by the pump alone."""
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
                    self._send_locked(data)
        with self._lock:
            self._fall_behind_locked()

    def _following(self, store: Entries, limits: Limits, log: L, cursor: int) -> tuple[bytes, int]:
        """What comes after `cursor`, as bytes, and its last number: from memory, from the store, or a gap notice."""
        tail = log.tail
        if tail - cursor > limits.lag:
            return self._gap(log, cursor, tail - limits.after_gap)
        past = self.dialect.shows_time
        recent = log.recent(cursor, self.dialect, past=past)
        if recent is not None:
            return recent
        count = min(log.oldest_recent() - 1 - cursor, tail - cursor)
        entries = store.read(log.row, cursor, min(_PAGE, count if count > 0 else _PAGE))
        if not entries:
            return self._gap(log, cursor, tail)
        return self.dialect.encode_entries(entries, past=past), entries[-1].number

    def _gap(self, log: L, cursor: int, to: int) -> tuple[bytes, int]:
        return self.dialect.encode(self.gap(log, cursor, to)), to

    def gap(self, log: L, after: int, to: int) -> Gap:
        """The notice that the entries after number `after`, up to `to`, were left out."""
        return Gap(first=after + 1, last=to, channel=log.channel, user=log.peer(self.user_key))

    def _flush_locked(self) -> bool:
        """Send what waits; whether all of it went out."""
        backlog = self._backlog
        while backlog:
            piece = backlog[0]
            taken = self._outlet.transmit(piece)
            self._waiting -= taken
            if taken < len(piece):
                backlog[0] = piece[taken:]
                self._outlet.when_writable()
                break
            backlog.popleft()
        if self._room is not None and self._waiting <= self._room[0]:
            self._room[1].set()
        return not backlog

    def wait_for_room(self, limit: int, timeout: float | None = None) -> bool:
        """Wait until at most `limit` bytes are waiting: the price of asking faster than reading. Own thread only.

        False if that was not so within `timeout` seconds.
        """
        if self._waiting <= limit or self._closed:
            return True
        with self._lock:
            if self._waiting <= limit or self._closed:
                return True
            event = threading.Event()
            self._room = (limit, event)
        there = event.wait(timeout)
        with self._lock:
            self._room = None
        return there

    def wait_until_level(self, timeout: float) -> None:
        """Wait until the line has taken all that there is to be read, or so many seconds. Own thread only."""
        with self._lock:
            if not self._behind or self._closed:
                return
            event = threading.Event()
            self._room = (-1, event)  # whoever is level has nothing waiting, but not the other way round
        event.wait(timeout)
        with self._lock:
            self._room = None

    def hang_up(self) -> None:
        """Have the connection ended by its own thread."""
        self._outlet.hang_up()

    def close(self) -> None:
        """Read nothing more; what was sent may still arrive."""
        with self._lock:
            self._closed = True
            logs = list(self._cursors)
            self._backlog = None
            if self._room is not None:
                self._room[1].set()
        for log in logs:
            log.detach(self)
