"""Floor 4: what every link to a server is: a thread that dials, and dials again when the line is lost.

A link has `start`, `send`, `drop`, `stop`, and three events. `deliver` is called on the link's thread, returns when the
event has been dealt with, and so is also what slows the server down when the terminal is slow. The thread never waits
for a send, nor a sender for the thread.
"""

from __future__ import annotations

import contextlib
import random
import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from wire.frames import Frame

_LONGEST_PAUSE = 15.0  # seconds between two attempts
_PARTING = 1.0  # seconds that the thread may take to end
_WAKES = 65_536  # bytes


@dataclass(frozen=True, slots=True)
class Connected:
    """There is a line; nothing that was sent before will go out on it."""


@dataclass(frozen=True, slots=True)
class Disconnected:
    """There is no line any more, or none could be had: then nothing was `reached`."""

    reason: str
    reached: bool = True


@dataclass(frozen=True, slots=True)
class Received:
    """What the server says."""

    frames: list[Frame]


Event: TypeAlias = Connected | Disconnected | Received
Deliver: TypeAlias = Callable[[Event], None]


def pause(attempt: int, chance: Callable[[], float] = random.random) -> float:
    """Seconds to wait before attempt number `attempt`: growing, and not the same for all who lost the same server."""
    return min(_LONGEST_PAUSE, 0.25 * 2.0 ** min(attempt, 10)) * (0.5 + chance() / 2)


class Link(ABC):
    """A link, but for what a line is. Public methods may be called from any thread, but none from `deliver`'s."""

    def __init__(self, deliver: Deliver) -> None:
        self._deliver = deliver
        self._lock = threading.Lock()  # a leaf: held for the list and the flag only
        self._outgoing: list[Frame] = []
        self._dropped = False
        self._stopping = threading.Event()
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        # A daemon, because neither a resolver nor a connect can be interrupted; whoever leaves need not wait for one.
        self._thread = threading.Thread(target=self._run, name="partyline-link", daemon=True)

    def start(self) -> None:
        """Dial, and go on until `stop`."""
        self._thread.start()

    def send(self, frames: Iterable[Frame]) -> None:
        """Send frames on the present line, in order; they are lost with it."""
        with self._lock:
            self._outgoing += frames
        self._wake()

    def drop(self) -> None:
        """Give the present line up and dial again."""
        with self._lock:
            self._dropped = True
        self._wake()

    def stop(self) -> None:
        """Hang up; `deliver` is not called any more. What is not sent yet is lost."""
        self._stopping.set()
        self._wake()
        if self._thread.ident is None:
            self._wake_reader.close()
            self._wake_writer.close()
        else:
            self._thread.join(_PARTING)

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # it has been rung often enough, or nobody is there to hear it
            self._wake_writer.send(b"!")

    # The link's own thread

    def _run(self) -> None:
        with self._wake_reader, self._wake_writer:
            attempt = 0
            while not self._stopping.is_set():
                welcomed, down = self._dial()
                if self._stopping.is_set():
                    return
                self._deliver(down)
                attempt = 0 if welcomed else attempt + 1
                self._stopping.wait(pause(attempt))

    @abstractmethod
    def _dial(self) -> tuple[bool, Disconnected]:
        """One line, from its beginning to its end; whether we were let in, and why it ended."""

    def _begin(self) -> None:
        """There is a line: say so, with nothing old on it."""
        with self._lock:
            self._outgoing.clear()
            self._dropped = False
        self._deliver(Connected())

    @property
    def _given_up(self) -> bool:
        return self._dropped or self._stopping.is_set()

    def _take(self) -> list[Frame]:
        """What is to be sent now."""
        with self._lock:
            frames, self._outgoing = self._outgoing, []
        return frames

    def _clear_wake(self) -> None:
        """The bell has rung: make it fit to ring again."""
        with contextlib.suppress(BlockingIOError):
            self._wake_reader.recv(_WAKES)
