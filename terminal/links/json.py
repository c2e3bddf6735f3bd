"""Floor 4: the link that speaks the JSON dialect over TCP."""

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

from .link import Deliver, Disconnected, Link, Received, connect_failure

_CONNECTING = 10.0  # seconds for one attempt
_SILENCE = 30.0  # seconds without a byte until a ping is sent, and until the connection is given up after it
_CHUNK = 65_536
_REPLY_LINE = 64 << 20  # bytes: a page of long entries, or a list of channels, is one line


class JsonLink(Link):
    """The link to `host` and `port`."""

    def __init__(self, host: str, port: int, deliver: Deliver) -> None:
        super().__init__(deliver)
        self._address = (host, port)

    def _dial(self) -> tuple[bool, Disconnected]:
        try:
            peer = socket.create_connection(self._address, _CONNECTING)
        except (OSError, UnicodeError) as error:
            return False, Disconnected(connect_failure(error), reached=False)
        with peer:
            if self._stopping.is_set():
                return False, Disconnected("")
            self._begin()
            connection = _JsonConnection(peer)
            try:
                self._converse(connection)
                return connection.welcomed, Disconnected("dropped")
            except OSError as error:
                return connection.welcomed, Disconnected(error.strerror or str(error))
            except PeerError as error:
                return connection.welcomed, Disconnected(error.sentence)

    def _converse(self, connection: _JsonConnection) -> None:
        """Send and receive until `drop` or `stop`. Raises OSError or PeerError when the connection ends by itself."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake_reader, selectors.EVENT_READ)
            selector.register(connection.peer, selectors.EVENT_READ)
            while not self._given_up:
                writing = selectors.EVENT_WRITE if connection.send(self._take_outgoing()) else 0
                selector.modify(connection.peer, selectors.EVENT_READ | writing)
                ready = selector.select(_SILENCE)
                if not ready:
                    self.send([connection.ping()])
                for key, events in ready:
                    if key.fileobj is self._wake_reader:
                        self._clear_wake()
                    elif events & selectors.EVENT_READ and (frames := connection.receive()):
                        self._deliver(Received(frames))


class _JsonConnection:
    """One non-blocking connection: bytes in, frames out, and pings to a silent server."""

    def __init__(self, peer: socket.socket) -> None:
        self.peer = peer
        self.welcomed = False
        self._pinged = False
        self._received = False  # any byte
        self._unsent = bytearray()
        self._dialect = JsonLines(Limits(line=_REPLY_LINE), client=True)
        peer.setblocking(False)
        disable_nagle(peer)

    def send(self, frames: Iterable[Frame]) -> bool:
        """Send frames and the unsent rest, as far as the socket takes them. Return True if bytes are left."""
        self._unsent += b"".join(map(JsonLines.encode, frames))
        if self._unsent:
            with contextlib.suppress(BlockingIOError):
                del self._unsent[: self.peer.send(self._unsent)]
        return bool(self._unsent)

    def receive(self) -> list[Frame]:
        """Return the frames that came. Raises OSError at the end of the connection."""
        data = self.peer.recv(_CHUNK)
        if not data:
            raise ConnectionError("the server closed the connection")
        self._pinged = False
        if not self._received and data.startswith(GREETING_START):  # meant for a person: we spoke too late
            data = data.partition(b"\n")[2]
        self._received = True
        frames = self._dialect.receive(data)
        self.welcomed = self.welcomed or any(isinstance(frame, Welcome) for frame in frames)
        return frames

    def ping(self) -> Ping:
        """Return the ping for a silent server. Raises OSError if the last one had no answer."""
        if self._pinged:
            raise TimeoutError("the server does not respond")
        self._pinged = True
        return Ping()
