"""Floor 4: the link that speaks the JSON dialect over TCP, plain or in TLS."""

from __future__ import annotations

import selectors
from collections.abc import Iterable

from net import PlainStream, Stream, TlsStream, connect, disable_nagle, reason
from wire.errors import PeerError
from wire.frames import Frame, Ping, Welcome
from wire.jsonlines import JsonLines
from wire.limits import Limits
from wire.text import GREETING_START

from .endpoint import Endpoint
from .link import Disconnected, Link, Received, connect_failure

_ANSWERING = 10.0  # seconds without a first byte, after which another server is tried if there is one
_SILENCE = 30.0  # seconds without a byte until a ping is sent, and until the connection is given up after it
_CHUNK = 65_536
_REPLY_LINE = 64 << 20  # bytes: a page of long entries, or a list of channels, is one line


class JsonLink(Link):
    """The link to the servers of one chat, of which it is connected to one at a time."""

    def _dial(self, endpoint: Endpoint) -> tuple[bool, Disconnected]:
        try:
            stream = self._open(endpoint)
        except (OSError, UnicodeError) as error:
            return False, Disconnected(connect_failure(error), reached=False)
        try:
            if self._stopping.is_set():
                return False, Disconnected("")
            self._begin(endpoint)
            connection = _JsonConnection(stream)
            try:
                self._converse(connection)
                return connection.welcomed, Disconnected("dropped")
            except OSError as error:
                return connection.welcomed, Disconnected(reason(error))
            except PeerError as error:
                return connection.welcomed, Disconnected(error.sentence)
        finally:
            stream.close()

    def _open(self, endpoint: Endpoint) -> Stream:
        """Connect, and shake hands for TLS. Raises OSError or UnicodeError."""
        sock = connect(endpoint.host, endpoint.port, self._attempt_seconds)
        left = sock.gettimeout() or 0.0
        disable_nagle(sock)
        sock.settimeout(None)
        if endpoint.tls is None:
            return PlainStream(sock)
        stream = TlsStream(sock, endpoint.tls, endpoint.host)
        try:
            stream.shake_hands(left)
        except BaseException:
            stream.close()
            raise
        return stream

    def _converse(self, connection: _JsonConnection) -> None:
        """Send and receive until `drop` or `stop`. Raises OSError or PeerError when the connection ends by itself."""
        stream = connection.stream
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake_reader, selectors.EVENT_READ)
            selector.register(stream.socket, selectors.EVENT_READ)
            while not self._given_up:
                writing = selectors.EVENT_WRITE if connection.send(self._take_outgoing()) else 0
                selector.modify(stream.socket, selectors.EVENT_READ | writing)
                ready = dict(selector.select(0 if stream.pending else self._patience(connection)))
                if not ready and not stream.pending:
                    if self._has_others and not connection.received:
                        raise TimeoutError("the server does not answer")
                    self.send([connection.ping()])
                if selector.get_key(self._wake_reader) in ready:
                    self._clear_wake()
                readable = ready.get(selector.get_key(stream.socket), 0) & selectors.EVENT_READ
                if (readable or stream.pending) and (frames := connection.receive()):
                    self._deliver(Received(frames))

    def _patience(self, connection: _JsonConnection) -> float:
        """Return the seconds to wait for a byte. A server that never answers must not keep us from the others."""
        return _ANSWERING if self._has_others and not connection.received else _SILENCE


class _JsonConnection:
    """One connection: bytes in, frames out, and pings to a silent server."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.welcomed = False
        self._pinged = False
        self.received = False  # any byte
        self._unsent = bytearray()
        self._dialect = JsonLines(Limits(line=_REPLY_LINE), client=True)

    def send(self, frames: Iterable[Frame]) -> bool:
        """Send frames and the unsent rest, as far as the socket takes them. Return True if bytes are left."""
        self._unsent += b"".join(map(JsonLines.encode, frames))
        if self._unsent:
            del self._unsent[: self.stream.send(bytes(self._unsent[:_CHUNK]))]
        return bool(self._unsent)

    def receive(self) -> list[Frame]:
        """Return the frames that came. Raises OSError at the end of the connection."""
        data = self.stream.receive_waiting(_CHUNK)
        if data is None:  # a part of a TLS record
            return []
        if not data:
            raise ConnectionError("the server closed the connection")
        self._pinged = False
        if not self.received and data.startswith(GREETING_START):  # meant for a person: we spoke too late
            data = data.partition(b"\n")[2]
        self.received = True
        frames = self._dialect.receive(data)
        self.welcomed = self.welcomed or any(isinstance(frame, Welcome) for frame in frames)
        return frames

    def ping(self) -> Ping:
        """Return the ping for a silent server. Raises OSError if the last one had no answer."""
        if self._pinged:
            raise TimeoutError("the server does not respond")
        self._pinged = True
        return Ping()
