"""Floor 4: the line to the server: one thread that dials, sends, receives, and dials again when the line is lost.

Whatever else carries frames to a server (MQTT, for one) needs just this: `start`, `send`, `drop`, `stop`, and the
three events. `deliver` is called on the link's thread, returns when the event has been dealt with, and so is also
what slows the server down when the terminal is slow. The thread never waits for a send, nor a sender for the thread.
"""

from __future__ import annotations

import contextlib
import random
import selectors
import socket
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from wire.errors import PeerError
from wire.frames import Frame, Ping, Welcome
from wire.jsonlines import JsonLines
from wire.limits import Limits

_DIALLING = 10.0  # seconds for one attempt
_SILENCE = 30.0  # seconds without a byte until the server is asked for a sign of life; as long again until we give up
_LONGEST_PAUSE = 15.0  # seconds between two attempts
_PARTING = 1.0  # seconds that the thread may take to end
_CHUNK = 65_536
_REPLY_LINE = 64 << 20  # bytes: a page of long entries or a list of channels is one line


@dataclass(frozen=True, slots=True)
class Up:
    """There is a line; nothing that was sent before will go out on it."""


@dataclass(frozen=True, slots=True)
class Down:
    """There is no line any more, or none could be had."""

    reason: str


@dataclass(frozen=True, slots=True)
class Received:
    """What the server says."""

    frames: list[Frame]


Event: TypeAlias = Up | Down | Received


def pause(attempt: int, chance: Callable[[], float] = random.random) -> float:
    """Seconds to wait before attempt number `attempt`: growing, and not the same for all who lost the same server."""
    return min(_LONGEST_PAUSE, 0.25 * 2.0 ** min(attempt, 10)) * (0.5 + chance() / 2)


class Link:
    """The line to `host` and `port`. Public methods may be called from any thread, but none from `deliver`'s."""

    def __init__(self, host: str, port: int, deliver: Callable[[Event], None]) -> None:
        self._address = (host, port)
        self._deliver = deliver
        self._lock = threading.Lock()  # a leaf: held for the buffer and the flag only
        self._outgoing = bytearray()
        self._dropped = False
        self._stopping = threading.Event()
        self._bell, self._ringer = socket.socketpair()
        self._bell.setblocking(False)
        self._ringer.setblocking(False)
        # A daemon, because neither a resolver nor a connect can be interrupted; whoever leaves need not wait for one.
        self._thread = threading.Thread(target=self._run, name="partyline-link", daemon=True)

    def start(self) -> None:
        """Dial, and go on until `stop`."""
        self._thread.start()

    def send(self, frames: Iterable[Frame]) -> None:
        """Send frames on the present line, in order; they are lost with it."""
        data = b"".join(map(JsonLines.encode, frames))
        with self._lock:
            self._outgoing += data
        self._ring()

    def drop(self) -> None:
        """Give the present line up and dial again."""
        with self._lock:
            self._dropped = True
        self._ring()

    def stop(self) -> None:
        """Hang up; `deliver` is not called any more. What is not sent yet is lost."""
        self._stopping.set()
        self._ring()
        if self._thread.ident is None:
            self._bell.close()
            self._ringer.close()
        else:
            self._thread.join(_PARTING)

    def _ring(self) -> None:
        with contextlib.suppress(OSError):  # it has been rung often enough, or nobody is there to hear it
            self._ringer.send(b"!")

    # The link's own thread

    def _run(self) -> None:
        with self._bell, self._ringer:
            attempt = 0
            while not self._stopping.is_set():
                welcomed, reason = self._dial()
                if self._stopping.is_set():
                    return
                self._deliver(Down(reason))
                attempt = 0 if welcomed else attempt + 1
                self._stopping.wait(pause(attempt))

    def _dial(self) -> tuple[bool, str]:
        """One line, from its beginning to its end; whether we were let in, and why it ended."""
        try:
            peer = socket.create_connection(self._address, _DIALLING)
        except OSError as error:
            return False, error.strerror or str(error)
        with peer:
            if self._stopping.is_set():
                return False, ""
            with self._lock:
                self._outgoing.clear()
                self._dropped = False
            self._deliver(Up())
            line = _Line(peer)
            try:
                self._converse(line)
                return line.welcomed, "given up"
            except OSError as error:
                return line.welcomed, error.strerror or str(error)
            except PeerError as error:
                return line.welcomed, error.sentence

    def _converse(self, line: _Line) -> None:
        """Send and receive until the line is given up. Raises OSError or PeerError when it ends by itself."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._bell, selectors.EVENT_READ)
            selector.register(line.peer, selectors.EVENT_READ)
            while not (self._stopping.is_set() or self._dropped):
                writing = selectors.EVENT_WRITE if self._transmit(line.peer) else 0
                selector.modify(line.peer, selectors.EVENT_READ | writing)
                ready = selector.select(_SILENCE)
                if not ready:
                    self.send([line.sound_out()])
                for key, events in ready:
                    if key.fileobj is self._bell:
                        self._bell.recv(_CHUNK)
                    elif events & selectors.EVENT_READ and (frames := line.receive()):
                        self._deliver(Received(frames))

    def _transmit(self, peer: socket.socket) -> bool:
        """Send what the line takes; whether something is left. The lock is not held for long: the send never waits."""
        with self._lock:
            if self._outgoing:
                with contextlib.suppress(BlockingIOError):
                    del self._outgoing[: peer.send(self._outgoing)]
            return bool(self._outgoing)


class _Line:
    """One connection, without blocking: bytes in, frames out, and whether the other end is still there."""

    def __init__(self, peer: socket.socket) -> None:
        self.peer = peer
        self.welcomed = False
        self._asked = False  # for a sign of life
        self._dialect = JsonLines(Limits(line=_REPLY_LINE), client=True)
        peer.setblocking(False)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def receive(self) -> list[Frame]:
        """The frames that have come. Raises OSError at the end of the line."""
        data = self.peer.recv(_CHUNK)
        if not data:
            raise ConnectionError("the server has hung up")
        self._asked = False
        frames = self._dialect.receive(data)
        self.welcomed = self.welcomed or any(isinstance(frame, Welcome) for frame in frames)
        return frames

    def sound_out(self) -> Ping:
        """What to send after a long silence. Raises OSError if that was tried already."""
        if self._asked:
            raise TimeoutError("no sign of life")
        self._asked = True
        return Ping()
