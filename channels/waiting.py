"""Floor 2: the bytes that wait for the connections of one address: they are bounded for all of these together.

They are answers that the peers have not read, and payloads that have come in part. Each reader counts its own unsent
bytes. The sum is made when it is needed, for a peer that has not taken all of its answers, or that asks for a long one:
what the socket takes at once costs nothing here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Protocol

from .locks import leaf


class WaitingReader(Protocol):
    """A reader whose unsent bytes count."""

    @property
    def waiting(self) -> int:
        """The unsent bytes."""


class AddressBytes:
    """The readers of one address, each with the bytes that are reserved for it. Any thread may call it."""

    __slots__ = ("_leave", "_lock", "_most", "_queue", "_reserved", "readers", "turn")

    def __init__(self, most: int, leave: Callable[[], None]) -> None:
        """`most` is how many bytes may wait; 0: any number. `leave` is called for each reader that leaves."""
        self.readers = 0  # counted by `WaitingBytes`
        # A baton: a thread holds it while it makes a long answer, and never while it waits for a peer or a limit. So of
        # an address whose connections ask for many, one thread competes with all others for the interpreter lock.
        self.turn = threading.Lock()
        self._leave = leave
        self._most = most
        self._lock = leaf()
        self._reserved: dict[WaitingReader, int] = {}
        self._queue: dict[WaitingReader, threading.Event] = {}  # those whose threads wait for room, the longest first

    def enter(self, reader: WaitingReader) -> None:
        """Count a reader."""
        with self._lock:
            self._reserved[reader] = 0

    def leave(self, reader: WaitingReader) -> None:
        """Count a reader no longer, and end the wait of its thread. No-op for one that has left."""
        with self._lock:
            if self._reserved.pop(reader, None) is None:
                return
        self._leave()
        event = self._queue.pop(reader, None)
        if event is not None:
            event.set()
        self.freed()

    def is_full(self) -> bool:
        """Return True if more bytes wait than may."""
        return 0 < self._most < sum([reader.waiting for reader in list(self._reserved)])

    def reserve(self, reader: WaitingReader, size: int, timeout: float) -> bool:
        """Keep room free for `size` bytes of a reader, instead of what was reserved for it before, until `release`.

        Return False if there is no room within `timeout` seconds. More bytes than all room has wait until nothing else
        does. Blocks: the reader's own thread calls it.
        """
        if self._take(reader, size):
            return True
        until = time.monotonic() + timeout
        while True:
            event = self._queue[reader] = threading.Event()  # before it looks again, so that no room is missed
            there = self._take(reader, size)
            if there or reader not in self._reserved or not event.wait(max(0.0, until - time.monotonic())):
                break
        self._queue.pop(reader, None)
        self.freed()  # another thread may find room, too
        return there

    def _take(self, reader: WaitingReader, size: int) -> bool:
        with self._lock:
            if reader not in self._reserved:
                return False
            used = sum([other.waiting + held for other, held in self._reserved.items() if other is not reader])
            used += reader.waiting
            if self._most and used and used + size > self._most:
                return False
            self._reserved[reader] = size
            return True

    def release(self, reader: WaitingReader) -> None:
        """Reserve nothing any longer: the answer waits, or it was sent."""
        with self._lock:
            if reader in self._reserved:
                self._reserved[reader] = 0
        self.freed()

    def freed(self) -> None:
        """Have the thread that has waited the longest look for room. Takes no lock."""
        for reader in list(self._queue):
            event = self._queue.pop(reader, None)
            if event is not None:
                event.set()
                return


class WaitingBytes:
    """The addresses of all connections. Any thread may call it."""

    def __init__(self, most: int) -> None:
        """`most` is how many bytes may wait for one address; 0: any number."""
        self._most = most
        self._lock = leaf()
        self._addresses: dict[str, AddressBytes] = {}

    def __len__(self) -> int:
        """Return the number of addresses."""
        return len(self._addresses)

    def enter(self, address: str, reader: WaitingReader) -> AddressBytes:
        """Count a reader for its address, until it leaves."""
        with self._lock:
            found = self._addresses.get(address)
            if found is None:
                found = self._addresses[address] = AddressBytes(self._most, partial(self._left, address))
            found.readers += 1
        found.enter(reader)
        return found

    def turn(self, address: str) -> threading.Lock:
        """Return the turn of the connections of an address, one of which is counted."""
        with self._lock:
            return self._addresses[address].turn

    def _left(self, address: str) -> None:
        """Forget an address without readers."""
        with self._lock:
            found = self._addresses[address]
            found.readers -= 1
            if not found.readers:
                del self._addresses[address]
