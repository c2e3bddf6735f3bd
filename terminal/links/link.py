"""Floor 4: the base of the links: a thread that connects to the server and reconnects when the connection is lost.

A chat may have several servers (endpoint.py). The link is connected to one of them at a time.

A link has `start`, `send`, `drop`, `retry`, `stop`, and three events. The link's thread calls `deliver`, which returns
when the event was handled: so a slow terminal slows the server down. Neither does that thread wait for a sender, nor a
sender for it.
"""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from net import reason
from wire.frames import Frame

from .endpoint import Endpoint, Rounds, attempt_seconds

_FIRST_PAUSE = 0.25  # seconds, at most, before the first attempt after a loss
_SHORT_PAUSE = 2.0  # seconds, at most, between two attempts in the first half minute of an absence
_LONG_PAUSE = 15.0  # seconds, at most, between two attempts
_PATIENT = 15.0  # an absence divided by this is the pause: 2 seconds after half a minute, 15 after four minutes
_ENDING = 1.0  # seconds for the thread to end
_WAKES = 65_536  # bytes


@dataclass(frozen=True, slots=True)
class Connected:
    """A connection to this server is open, or about to be. It carries no frame that was sent before."""

    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection to `endpoint` is closed; if `reached` is false, it could not be opened.

    `then` is the server that is tried next, at once; None if a pause is due, as each server was tried.
    """

    reason: str
    reached: bool = True
    endpoint: Endpoint | None = None
    then: Endpoint | None = None


@dataclass(frozen=True, slots=True)
class Received:
    """Frames from the server."""

    frames: list[Frame]


Event: TypeAlias = Connected | Disconnected | Received
Deliver: TypeAlias = Callable[[Event], None]


def pause(absent: float, chance: Callable[[], float] = random.random) -> float:
    """Return the seconds to wait before the next attempt, `absent` seconds after the connection was lost.

    They stay few while a server may be restarting, and grow afterwards. They are random, as many clients lose a server
    at the same moment.
    """
    longest = max(_FIRST_PAUSE, min(absent, _SHORT_PAUSE), min(absent / _PATIENT, _LONG_PAUSE))
    return longest * (0.5 + chance() / 2)


def connect_failure(error: OSError | UnicodeError) -> str:
    """Return why a connection could not be opened."""
    if isinstance(error, UnicodeError):  # of the resolver, which encodes the host
        return "that is not a host name"
    return reason(error)


class Link(ABC):
    """The base of JsonLink and MqttLink. Any thread may call the public methods, but not from inside of `deliver`."""

    def __init__(self, endpoints: Sequence[Endpoint], deliver: Deliver) -> None:
        """`endpoints` are the servers of one chat, in the order of trying; at least one."""
        self._endpoints = endpoints
        self._rounds = Rounds(len(endpoints))
        self._attempt_seconds = attempt_seconds(len(endpoints))
        self._deliver = deliver
        self._lock = threading.Lock()  # a leaf: held for the list and the flag only
        self._outgoing: list[Frame] = []
        self._dropped = False
        self._stopping = threading.Event()
        self._pause_over = threading.Event()
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        # A daemon, because neither a resolver nor a connect can be interrupted: leaving does not wait for them.
        self._thread = threading.Thread(target=self._run, name="partyline-link", daemon=True)

    @property
    def endpoint(self) -> Endpoint:
        """The server of the present connection, or of the present or next attempt. Any thread may read it."""
        return self._endpoints[self._rounds.at]

    @property
    def _has_others(self) -> bool:
        return len(self._endpoints) > 1

    def start(self) -> None:
        """Connect, and stay connected until `stop`."""
        self._thread.start()

    def send(self, frames: Iterable[Frame]) -> None:
        """Send frames on the present connection, in order; they are lost with it."""
        with self._lock:
            self._outgoing += frames
        self._wake()

    def drop(self) -> None:
        """Close the present connection and reconnect, to the next server if there are several."""
        with self._lock:
            self._dropped = True
        self._wake()

    def retry(self) -> None:
        """Begin the next round of attempts now: end the present pause, or skip the next one."""
        self._pause_over.set()

    def stop(self) -> None:
        """Disconnect for good. Frames that are not sent yet are lost, and no event is delivered any more."""
        self._stopping.set()
        self._pause_over.set()
        self._wake()
        if self._thread.ident is None:
            self._wake_reader.close()
            self._wake_writer.close()
        else:
            self._thread.join(_ENDING)

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # the thread will wake anyway, or has ended
            self._wake_writer.send(b"!")

    # The link's own thread

    def _run(self) -> None:
        with self._wake_reader, self._wake_writer:
            lost = time.monotonic()
            while not self._stopping.is_set():
                began, endpoint = time.monotonic(), self.endpoint
                welcomed, down = self._dial(endpoint)
                if self._stopping.is_set():
                    return
                if welcomed:
                    lost = time.monotonic()
                over = self._rounds.ended(time.monotonic() - began if welcomed else None)
                self._deliver(replace(down, endpoint=endpoint, then=None if over else self.endpoint))
                if over:
                    self._pause_over.wait(pause(time.monotonic() - lost))
                    self._pause_over.clear()

    @abstractmethod
    def _dial(self, endpoint: Endpoint) -> tuple[bool, Disconnected]:
        """Run one connection from open to close; return whether the server let us in, and why it ended."""

    def _begin(self, endpoint: Endpoint) -> None:
        """Deliver Connected, and drop frames of an earlier connection."""
        with self._lock:
            self._outgoing.clear()
            self._dropped = False
        self._deliver(Connected(endpoint))

    @property
    def _given_up(self) -> bool:
        return self._dropped or self._stopping.is_set()

    def _take_outgoing(self) -> list[Frame]:
        """Return the frames to send now, and forget them."""
        with self._lock:
            frames, self._outgoing = self._outgoing, []
        return frames

    def _clear_wake(self) -> None:
        """Empty the wake-up socket, so that the next `_wake` wakes the thread again."""
        with contextlib.suppress(BlockingIOError):
            self._wake_reader.recv(_WAKES)
