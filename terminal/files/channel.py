"""Floor 4: a line of its own for one file, so that what is said meanwhile does not wait for it.

It speaks the JSON dialect, begins with `attach`, blocks, and belongs to one transfer's thread.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import select
import socket
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, Protocol, TypeVar

import msgspec

from net import disable_nagle
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

_DIALLING = 10.0  # seconds
_SILENCE = 60.0  # seconds without a byte while an answer is due: the line is lost
_FOLLOWING = 600.0  # seconds that a sender may pause before we look whether the line is still there
_RETURN = 20.0  # seconds for which a sender is waited for who has to be told: longer than a pause between attempts
_LINE = 16 << 20  # bytes of a reply's line, at most
_BUFFER = 1 << 16
_PUTS = 8  # chunks under way
_GETS = 8
_GET = 1 << 18  # bytes of one of them
_GARBLED = {"bad-frame", "unknown-frame", "too-long"}  # we send no such thing: the line is damaged
_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(AnyReply)

A = TypeVar("A", bound=Frame)


class ConnectionLostError(Exception):
    """There is no line any more, or none was to be had: try again later."""


class FileChannel(Protocol):
    """What a transfer needs of a line. All of it raises Refused for good, ConnectionLostError for now."""

    chunk: int  # bytes of a `put`

    def offer(self, offer: Offer) -> Offered:
        """Offer a file; what is there of it."""

    def put(self, file: str, offset: int, data: bytes | memoryview) -> None:
        """Send a chunk, some of them ahead of their answers."""

    def settle(self) -> None:
        """Wait until all chunks are kept."""

    def finish(self, file: str, sha256: str, size: int) -> None:
        """All is sent."""

    def cancel(self, file: str) -> None:
        """Take an offer back."""

    def have(self, file: str, *, watch: bool = False) -> Ranges:
        """What is there of a file; to be waited for with `more` if it is not all there."""

    def fetch(self, file: str, first: int, end: int) -> Iterator[memoryview]:
        """A range, in order, in pieces that are good until the next one; it may end early: see `more`."""

    def more(self) -> None:
        """Wait until there is more."""

    def sum(self, file: str, first: int, length: int) -> str:
        """The SHA-256 of a range."""

    def taken(self, file: str) -> None:
        """We have it."""

    def close(self) -> None:
        """Called by any thread: end the line; whatever is under way raises ConnectionLostError."""


class JsonFileChannel:
    """A FileChannel over TCP: to the server or, with a token for it, straight to the client that has the file.

    `close` may be called by any thread: then whatever is under way raises ConnectionLostError.
    """

    chunk = 1 << 20  # at most

    def __init__(
        self, host: str, port: int, name: str, token: str, *, within: float = _DIALLING, silence: float = _SILENCE
    ) -> None:
        """Dial, and be let in, `within` so many seconds; later, so much `silence` means that the line is lost."""
        until = time.monotonic() + within
        try:
            self._socket = socket.create_connection((host, port), within)
        except OSError as error:
            raise ConnectionLostError(error.strerror or str(error)) from error
        self.name = name
        self.here = str(self._socket.getsockname()[0])  # the address of this end
        self._silence = silence
        self._socket.settimeout(max(0.01, until - time.monotonic()))
        disable_nagle(self._socket)
        self._incoming = io.BufferedReader(socket.SocketIO(self._socket, "r"), _BUFFER)
        self._view = memoryview(bytearray(_GET))
        self._refs = itertools.count(1)
        self._due: set[int | str | None] = set()  # the refs of what has no answer yet
        self._news = False  # `more` has come
        self._events: deque[Visitor | Wanted | Fetched] = deque()
        try:
            attached = self._answer(Attach(name=name, token=token), Attached)
            self.chunk = self.chunk if attached.most is None else min(self.chunk, attached.most)
            self._socket.settimeout(silence)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the line."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def offer(self, offer: Offer) -> Offered:
        """Offer a file; what is there of it."""
        if not self.chunk:
            raise Refused("too-large", "The server takes no files: its limit of a payload is 0 bytes.")
        behind = with_parts_behind(offer)
        if len(behind.payload) > self.chunk:
            raise Refused("too-large", f"{offer.name} has too many files, or their names are too long: send it packed.")
        return self._answer(behind, Offered)

    def put(self, file: str, offset: int, data: bytes | memoryview) -> None:
        """Send a chunk; up to a window of them wait for their answers."""
        self._send(Put(file=file, offset=offset, bytes=len(data)), data)
        while len(self._due) > _PUTS:
            self._next()

    def settle(self) -> None:
        """Wait until all chunks are kept."""
        while self._due:
            self._next()

    def finish(self, file: str, sha256: str, size: int) -> None:
        """All is sent."""
        self._answer(Finish(file=file, sha256=sha256, size=size), Finished)

    def cancel(self, file: str) -> None:
        """Take an offer back."""
        self._answer(Cancel(file=file), Cancelled)

    def have(self, file: str, *, watch: bool = False) -> Ranges:
        """What is there of a file."""
        self._news = False
        return self._answer(Have(file=file, watch=watch), Ranges)

    def fetch(self, file: str, first: int, end: int) -> Iterator[memoryview]:
        """A range in order: some requests are under way at a time; it ends where nothing more is there."""
        self._news = False
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
        """Wait until there is more."""
        self._wait_at_most(_FOLLOWING)
        while not self._news:
            self._next()
        self._wait_at_most(self._silence)

    def sum(self, file: str, first: int, length: int) -> str:
        """The SHA-256 of a range."""
        return self._answer(Sum(file=file, offset=first, length=length), SumIs).sha256

    def taken(self, file: str, sha256: str = "") -> None:
        """We have it; with the SHA-256 if it came directly: its sender may have lost the server, and be back soon."""
        until = time.monotonic() + _RETURN
        while True:
            self._news = False
            try:
                self._answer(Taken(file=file, sha256=sha256), Ok)
                return
            except Refused as refused:
                if not sha256 or refused.code != "incomplete" or not self._learns(until):
                    raise

    def _learns(self, until: float) -> bool:
        """Whether there is more by then."""
        while not self._news and (left := until - time.monotonic()) > 0 and self._stirs(left):
            self._next()
        return self._news

    # Directly from client to client

    def listen(self, file: str, port: int, sha256: str = "") -> None:
        """Have those who want the file sent to this port."""
        self._answer(Listen(file=file, port=port, sha256=sha256), Ok)

    def reach(self, file: str) -> Way:
        """Where it can be fetched directly."""
        return self._answer(Reach(file=file), Way)

    def event(self, seconds: float | None) -> Visitor | Wanted | Fetched | None:
        """What the server has to say about a file that is listened for; None if that is nothing for so long."""
        if not self._events and not self._stirs(min(seconds or _FOLLOWING, _FOLLOWING)):
            self._answer(Ping(), Pong)  # is the line still there?
        while not self._events and self._stirs(0):
            self._next()
        return self._events.popleft() if self._events else None

    def _stirs(self, seconds: float) -> bool:
        """Whether something comes within so many seconds, or is here already."""
        self._wait_at_most(0.0)
        try:
            here = bool(self._incoming.peek(1)) or bool(select.select([self._socket], [], [], seconds)[0])
        except (OSError, ValueError) as error:
            raise ConnectionLostError(getattr(error, "strerror", None) or str(error)) from error
        self._wait_at_most(self._silence)
        return here

    # The line

    def _wait_at_most(self, seconds: float) -> None:
        """From now on, so much silence means that the line is lost."""
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
            raise ConnectionLostError("the server answers something else")
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
        """The next event, or answer to what has none yet; a chunk's payload is in `_view`. Raises Refused."""
        frame = self._receive()
        while isinstance(frame, Answer) and frame.ref is not None and frame.ref not in self._due:
            frame = self._receive()  # that one has come before
        self._due.discard(getattr(frame, "ref", None))
        if isinstance(frame, Error):
            if frame.code in _GARBLED:
                raise ConnectionLostError(frame.error)
            raise Refused(*_known(frame))
        if frame is None or isinstance(frame, Closing):
            raise ConnectionLostError("the server closed the connection" if frame is None else frame.reason)
        self._news = self._news or isinstance(frame, More)
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
            raise ValueError("a chunk that is larger than was asked for")
        view = self._view[:count]
        while view:
            got = self._incoming.readinto(view)
            if not got:
                raise ValueError("the line has ended in a chunk")
            view = view[got:]


def _known(error: Error) -> tuple[str, str]:
    return (error.code if error.code in CODES else "internal"), error.error
