"""Floor 0: the pump: one thread that walks every reader who is behind, as fast as its line takes it.

It costs nothing while everyone is level. A connection asks for it once, from any thread; the kernel answers once
(EPOLLONESHOT), and the walk asks again if it did not come to the end.
"""

from __future__ import annotations

import os
import select
import threading
from typing import Protocol


class Walker(Protocol):
    """A connection as the pump sees it."""

    def walk(self) -> None:
        """Send what can be sent; must not raise."""


class Pump:
    """Owns the thread `pump`, and the epoll set of connections that wait until they can be written to."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC)
        self._epoll.register(self._wake, select.EPOLLIN)
        self._walkers: dict[int, Walker] = {}  # by descriptor; each change is one atomic step
        self._thread = threading.Thread(target=self._run, name="pump", daemon=True)
        self._thread.start()

    def add(self, descriptor: int, walker: Walker) -> None:
        """Walk it once, when its descriptor can be written to."""
        events = select.EPOLLOUT | select.EPOLLONESHOT
        if descriptor in self._walkers:
            self._epoll.modify(descriptor, events)
        else:
            self._walkers[descriptor] = walker
            self._epoll.register(descriptor, events)

    def remove(self, descriptor: int) -> None:
        """Forget a connection, before its descriptor is closed."""
        if self._walkers.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def _run(self) -> None:
        while True:
            for descriptor, _ in self._epoll.poll():
                if descriptor == self._wake:
                    return
                walker = self._walkers.get(descriptor)
                if walker is not None:
                    walker.walk()

    def close(self) -> None:
        """End the thread."""
        os.eventfd_write(self._wake, 1)
        self._thread.join()
        self._epoll.close()
        os.close(self._wake)
