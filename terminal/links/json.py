"""Floor 4: the link that speaks JSON lines over TCP, as the server's own port wants it."""

from __future__ import annotations

import contextlib
import selectors
import socket
from collections.abc import Iterable

from net import disable_nagle
from wire.errors import PeerError
from wire.frames import Frame, Ping, Welcome
from wire.jsonlines import JsonLines
from wire.limits import Limits
from wire.text import GREETING_START

from .link import Deliver, Disconnected, Link, Received

_DIALLING = 10.0  # seconds for one attempt
_SILENCE = 30.0  # seconds without a byte until the server is asked for a sign of life; as long again until we give up
_CHUNK = 65_536
_REPLY_LINE = 64 << 20  # bytes: a page of long entries or a list of channels is one line


class JsonLink(Link):
    """The line to `host` and `port`."""

    def __init__(self, host: str, port: int, deliver: Deliver) -> None:
        super().__init__(deliver)
        self._address = (host, port)

    def _dial(self) -> tuple[bool, Disconnected]:
        try:
            peer = socket.create_connection(self._address, _DIALLING)
        except OSError as error:
            return False, Disconnected(error.strerror or str(error), reached=False)
        with peer:
            if self._stopping.is_set():
                return False, Disconnected("")
            self._begin()
            line = _JsonConnection(peer)
            try:
                self._converse(line)
                return line.welcomed, Disconnected("given up")
            except OSError as error:
                return line.welcomed, Disconnected(error.strerror or str(error))
            except PeerError as error:
                return line.welcomed, Disconnected(error.sentence)

    def _converse(self, line: _JsonConnection) -> None:
        """Send and receive until the line is given up. Raises OSError or PeerError when it ends by itself."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake_reader, selectors.EVENT_READ)
            selector.register(line.peer, selectors.EVENT_READ)
            while not self._given_up:
                writing = selectors.EVENT_WRITE if line.send(self._take()) else 0
                selector.modify(line.peer, selectors.EVENT_READ | writing)
                ready = selector.select(_SILENCE)
                if not ready:
                    self.send([line.sound_out()])
                for key, events in ready:
                    if key.fileobj is self._wake_reader:
                        self._clear_wake()
                    elif events & selectors.EVENT_READ and (frames := line.receive()):
                        self._deliver(Received(frames))


class _JsonConnection:
    """One connection, without blocking: bytes in, frames out, and whether the other end is still there."""

    def __init__(self, peer: socket.socket) -> None:
        self.peer = peer
        self.welcomed = False
        self._asked = False  # for a sign of life
        self._heard = False  # anything at all
        self._unsent = bytearray()
        self._dialect = JsonLines(Limits(line=_REPLY_LINE), client=True)
        peer.setblocking(False)
        disable_nagle(peer)

    def send(self, frames: Iterable[Frame]) -> bool:
        """Send these and what is left, as far as the line takes it; whether something is left now."""
        self._unsent += b"".join(map(JsonLines.encode, frames))
        if self._unsent:
            with contextlib.suppress(BlockingIOError):
                del self._unsent[: self.peer.send(self._unsent)]
        return bool(self._unsent)

    def receive(self) -> list[Frame]:
        """The frames that have come. Raises OSError at the end of the line."""
        data = self.peer.recv(_CHUNK)
        if not data:
            raise ConnectionError("the server has hung up")
        self._asked = False
        if not self._heard and data.startswith(GREETING_START):  # we were so slow to speak that it took us for a person
            data = data.partition(b"\n")[2]
        self._heard = True
        frames = self._dialect.receive(data)
        self.welcomed = self.welcomed or any(isinstance(frame, Welcome) for frame in frames)
        return frames

    def sound_out(self) -> Ping:
        """What to send after a long silence. Raises OSError if that was tried already."""
        if self._asked:
            raise TimeoutError("no sign of life")
        self._asked = True
        return Ping()
