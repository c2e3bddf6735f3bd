"""Floor 4: a TCP connection of its own for one file, so that messages do not wait for the file.

It speaks the JSON dialect, begins with `attach`, blocks, and belongs to the thread of one transfer.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import select
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import msgspec

from net import connect, disable_nagle
from wire.errors import CODES, Refused
from wire.frames import (
    Answer,
    AnyReply,
    Attach,
    Attached,
    Cancel,
    Cancelled,
    Chunk,
    Closing,
    Error,
    Fetched,
    Finish,
    Finished,
    Frame,
    Get,
    Have,
    Listen,
    More,
    Offer,
    Offered,
    Ok,
    Ping,
    Pong,
    Put,
    Ranges,
    Reach,
    Request,
    Sum,
    SumIs,
    Taken,
    Visitor,
    Wanted,
    Way,
    with_parts_behind,
)
from wire.jsonlines import JsonLines

from ..links import Deliver, Endpoint, Link, connect_failure
from .connection import ConnectionLostError, FileAwayError

_CONNECTING = 10.0  # seconds
_SILENCE = 60.0  # seconds without a byte while an answer is due, until the connection counts as lost
_FOLLOWING = 600.0  # seconds that a sender may pause until a ping is sent
_RETURN = 20.0  # seconds to wait for a sender who must be notified: longer than a pause between attempts
_LINE = 16 << 20  # bytes of one answer's line, at most
_BUFFER = 1 << 16
_PUTS = 8  # chunks in flight
_GETS = 8  # requests in flight
_GET = 1 << 18  # bytes of one chunk
_GARBLED = {"bad-frame", "unknown-frame", "too-long"}  # this client sends no such frame, so the connection is damaged
_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(AnyReply)

A = TypeVar("A", bound=Frame)


class JsonFileConnections:
    """Opens file connections to the server to which the link is connected. Any thread may call `open`."""

    def __init__(self) -> None:
        self._link: Link | None = None

    def make_link(self, make: Callable[[Deliver], Link], deliver: Deliver) -> Link:
        """Return the link that `make` returns."""
        self._link = make(deliver)
        return self._link

    def open(self, name: str, token: str) -> JsonFileConnection:
        """Connect and attach. Raises Refused, also if the token belongs to another server, or ConnectionLostError."""
        assert self._link is not None
        there: Endpoint = self._link.endpoint
        return JsonFileConnection(there.host, there.port, name, token, tls=there.tls)


class JsonFileConnection:
    """A FileConnection over TCP: to the server or, with a token for it, directly to the client that has the file."""

    chunk = 1 << 20  # at most
    shared = False

    def __init__(
        self,
        host: str,
        port: int,
        name: str,
        token: str,
        *,
        tls: ssl.SSLContext | None = None,
        within: float = _CONNECTING,
        silence: float = _SILENCE,
    ) -> None:
        """Connect and attach, both `within` seconds. Later, `silence` seconds without a byte mean a lost connection."""
        until = time.monotonic() + within
        self.encrypted = tls is not None
        try:
            self._socket = _connect(host, port, tls, within)
        except (OSError, UnicodeError) as error:
            raise ConnectionLostError(connect_failure(error)) from error
        self.name = name
        self.here = str(self._socket.getsockname()[0])  # the address of this end
        self._silence = silence
        self._socket.settimeout(max(0.01, until - time.monotonic()))
        disable_nagle(self._socket)
        self._incoming = io.BufferedReader(socket.SocketIO(self._socket, "r"), _BUFFER)
        self._view = memoryview(bytearray(_GET))
        self._refs = itertools.count(1)
        self._due: set[int | str | None] = set()  # the refs without an answer
        self._more = False  # a `more` frame came
        self._events: deque[Visitor | Wanted | Fetched] = deque()
        try:
            attached = self._answer(Attach(name=name, token=token), Attached)
            self.chunk = self.chunk if attached.most is None else min(self.chunk, attached.most)
            self._socket.settimeout(silence)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def offer(self, offer: Offer) -> Offered:
        """Offer a file; the answer says which ranges the server has."""
        if not self.chunk:
            raise Refused("too-large", "The server accepts no files: its payload limit is 0 bytes.")
        behind = with_parts_behind(offer)
        if len(behind.payload) > self.chunk:
            raise Refused(
                "too-large",
                f"{offer.name} has too many files, or their names are too long. Pack it into an archive first.",
            )
        return self._answer(behind, Offered)

    def put(self, file: str, offset: int, data: bytes | memoryview) -> None:
        """Send a chunk; up to 8 are in flight."""
        while len(self._due) >= _PUTS:
            self._next()
        self._send(Put(file=file, offset=offset, bytes=len(data)), data)

    def settle(self) -> None:
        """Wait until the server has stored all chunks."""
        while self._due:
            self._next()

    def finish(self, file: str, sha256: str, size: int) -> None:
        """Have the server verify the whole file."""
        self._answer(Finish(file=file, sha256=sha256, size=size), Finished)

    def cancel(self, file: str) -> None:
        """Cancel an offer."""
        self._answer(Cancel(file=file), Cancelled)

    def have(self, file: str, *, watch: bool = False) -> Ranges:
        """Return the ranges that the server has."""
        self._more = False
        return self._answer(Have(file=file, watch=watch), Ranges)

    def fetch(self, file: str, first: int, end: int) -> Iterator[memoryview]:
        """Yield a range in order, with up to 8 requests in flight; it ends where no more is there yet."""
        self._more = False
        asked: deque[Get] = deque()
        at = ahead = first
        short = False
        while at < end and (asked or not short):
            while not short and ahead < end and len(asked) < _GETS:
                asked.append(Get(file=file, offset=ahead, length=min(_GET, end - ahead)))
                self._send(asked[-1])
                ahead += asked[-1].length
            frame = self._next()
            if not isinstance(frame, Chunk):
                continue
            request = asked.popleft()
            wanted = request.length
            if frame.ref != request.ref or frame.offset != request.offset or frame.bytes > wanted:
                raise ConnectionLostError("a chunk is missing")
            if frame.offset == at:
                at += frame.bytes
                if frame.bytes:
                    yield self._view[: frame.bytes]
            short = short or frame.bytes < wanted

    def more(self) -> None:
        """Wait until the server has more of the file."""
        self._set_timeout(_FOLLOWING)
        while not self._more:
            self._next()
        self._set_timeout(self._silence)

    def sum(self, file: str, first: int, length: int) -> str:
        """Return the SHA-256 of a range, in hex."""
        return self._answer(Sum(file=file, offset=first, length=length), SumIs).sha256

    def taken(self, file: str, sha256: str = "") -> None:
        """Report that the file has arrived; with its SHA-256 if it came directly.

        Then a sender who has lost the server is waited for, up to 20 seconds.
        """
        until = time.monotonic() + _RETURN
        while True:
            self._more = False
            try:
                self._answer(Taken(file=file, sha256=sha256), Ok)
                return
            except Refused as refused:
                if not sha256 or refused.code != "incomplete" or not self._wait_for_more(until):
                    raise

    def _wait_for_more(self, until: float) -> bool:
        """Wait for a `more` frame until then; return True if it came."""
        while not self._more and (left := until - time.monotonic()) > 0 and self._readable_within(left):
            self._next()
        return self._more

    # Direct transfers

    def listen(self, file: str, port: int, sha256: str = "", fingerprint: str = "") -> None:
        """Have the server send those who want the file to this port; 0: to nobody any more."""
        self._answer(Listen(file=file, port=port, sha256=sha256, fingerprint=fingerprint), Ok)

    def reach(self, file: str) -> Way:
        """Return where the file can be fetched directly."""
        return self._answer(Reach(file=file), Way)

    def event(self, seconds: float | None) -> Visitor | Wanted | Fetched | None:
        """Return the server's next event about a file that we listen for; None after `seconds` without one."""
        if not self._events and not self._readable_within(min(seconds or _FOLLOWING, _FOLLOWING)):
            self._answer(Ping(), Pong)  # is the connection alive?
        while not self._events and self._readable_within(0):
            self._next()
        return self._events.popleft() if self._events else None

    def _readable_within(self, seconds: float) -> bool:
        """Return True if bytes are here or come within `seconds`."""
        self._set_timeout(0.0)
        try:
            here = self._has_bytes() or bool(select.select([self._socket], [], [], seconds)[0])
        except (OSError, ValueError) as error:
            raise ConnectionLostError(getattr(error, "strerror", None) or str(error)) from error
        self._set_timeout(self._silence)
        return here

    def _has_bytes(self) -> bool:
        """Return True if bytes have come already, TLS's own among them."""
        try:
            return bool(self._incoming.peek(1))
        except ssl.SSLWantReadError:
            return False

    # Frames

    def _set_timeout(self, seconds: float) -> None:
        """From now on, take `seconds` without a byte for a lost connection."""
        try:
            self._socket.settimeout(seconds)
        except OSError as error:  # it was closed meanwhile
            raise ConnectionLostError(error.strerror or str(error)) from error

    def _answer(self, request: Request, kind: type[A]) -> A:
        self._send(request)
        while True:
            answer = self._next()
            if getattr(answer, "ref", None) == request.ref:
                break
        if not isinstance(answer, kind):
            raise ConnectionLostError("the server sent an unexpected answer")
        return answer

    def _send(self, frame: Request, payload: bytes | memoryview = b"") -> None:
        frame.ref = next(self._refs)
        self._due.add(frame.ref)
        try:
            self._socket.sendall(JsonLines.encode(frame))
            if payload:
                self._socket.sendall(payload)
        except OSError as error:
            raise ConnectionLostError(error.strerror or str(error)) from error

    def _next(self) -> Frame:
        """Return the next event, or the next answer that is due; a chunk's payload is in `_view`. Raises Refused."""
        frame = self._receive()
        while isinstance(frame, Answer) and frame.ref is not None and frame.ref not in self._due:
            frame = self._receive()  # a second answer
        self._due.discard(getattr(frame, "ref", None))
        if isinstance(frame, Error):
            if frame.code == FileAwayError.CODE:
                raise FileAwayError(frame.error)
            if frame.code in _GARBLED:
                raise ConnectionLostError(frame.error)
            raise Refused(*_known(frame))
        if frame is None or isinstance(frame, Closing):
            raise ConnectionLostError("the server closed the connection" if frame is None else frame.reason)
        self._more = self._more or isinstance(frame, More)
        if isinstance(frame, Visitor | Wanted | Fetched):
            self._events.append(frame)
        return frame

    def _receive(self) -> Frame | None:
        try:
            line = self._incoming.readline(_LINE)
            while line and not line.startswith(b"{"):
                line = self._incoming.readline(_LINE)  # a greeting
            frame: Frame | None = _decoder.decode(line) if line else None
            if isinstance(frame, Chunk):
                self._read(frame.bytes)
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            raise ConnectionLostError(getattr(error, "strerror", None) or str(error)) from error
        return frame

    def _read(self, count: int) -> None:
        if count > len(self._view):
            raise ValueError("a chunk is larger than requested")
        view = self._view[:count]
        while view:
            got = self._incoming.readinto(view)
            if not got:
                raise ValueError("the connection ended within a chunk")
            view = view[got:]


def _connect(host: str, port: int, tls: ssl.SSLContext | None, seconds: float) -> socket.socket:
    """Return a connected socket, in TLS if there is a context. Raises OSError or UnicodeError."""
    sock = connect(host, port, seconds)
    return sock if tls is None else tls.wrap_socket(sock, server_hostname=host)


def _known(error: Error) -> tuple[str, str]:
    return (error.code if error.code in CODES else "internal"), error.error
