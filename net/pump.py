"""Floor 0: the write pump: one thread that resumes every connection whose socket was full, once it can take bytes.

A connection asks for that once, from any thread; the kernel answers once (EPOLLONESHOT). Connections that are not
behind cost nothing. A connection that could not get what it has to send is resumed some time later.
"""

from __future__ import annotations

import os
import select
import threading
import time
from typing import Protocol

_PAUSE = 1.0  # seconds before a connection is resumed that asked for it later


class PausedWriter(Protocol):
    """A connection that waits until its socket takes bytes again."""

    def resume_writing(self) -> None:
        """Send what the socket takes, and ask the pump again if something is left. Must not block, nor raise."""


class WritePump:
    """Owns the thread `pump` and the epoll set of connections that wait until their sockets take bytes."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC)
        self._epoll.register(self._wake, select.EPOLLIN)
        self._writers: dict[int, PausedWriter] = {}  # by descriptor; each change is one atomic step
        self._later: dict[int, None] = {}  # descriptors, for the thread alone
        self._later_at = 0.0  # by time.monotonic, when these are resumed
        self._troubled = False  # connections have asked for that, and not all have gone on since
        self._thread = threading.Thread(target=self._run, name="pump", daemon=True)
        self._thread.start()

    def add(self, descriptor: int, writer: PausedWriter) -> None:
        """Call `writer.resume_writing` once, in the pump's thread, when the descriptor takes bytes. For any thread."""
        events = select.EPOLLOUT | select.EPOLLONESHOT
        if descriptor in self._writers:
            self._epoll.modify(descriptor, events)
        else:
            self._writers[descriptor] = writer
            self._epoll.register(descriptor, events)

    def add_later(self, descriptor: int) -> bool:
        """Have a connection that was resumed just now resumed again after a second. Only for the pump's thread.

        Return True if none has asked for that since all of them got what they have to send.
        """
        if not self._later:
            self._later_at = time.monotonic() + _PAUSE
        self._later[descriptor] = None
        first, self._troubled = not self._troubled, True
        return first

    def remove(self, descriptor: int) -> None:
        """Forget a connection, if it is known; call this before its descriptor is closed. For any thread."""
        if self._writers.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def _run(self) -> None:
        while True:
            timeout = max(0.0, self._later_at - time.monotonic()) if self._later else None
            for descriptor, _ in self._epoll.poll(timeout):
                if descriptor == self._wake:
                    return
                self._resume(descriptor)
            if self._later and time.monotonic() >= self._later_at:
                later, self._later = self._later, {}
                for descriptor in later:
                    self._resume(descriptor)
                self._troubled = bool(self._later)

    def _resume(self, descriptor: int) -> None:
        """Call a writer, of which the pump's thread keeps nothing afterwards: the connection may end."""
        writer = self._writers.get(descriptor)
        if writer is not None:
            writer.resume_writing()

    def close(self) -> None:
        """End the thread."""
        os.eventfd_write(self._wake, 1)
        self._thread.join()
        self._epoll.close()
        os.close(self._wake)
