"""Floor 4: file connections of an MQTT client: they share its one link to the broker with the messages.

Each request is a command of wire/topics/files.py. A transfer's thread waits in its file connection for the answers.
"""

from __future__ import annotations

import itertools
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TypeVar

from wire.errors import CODES, Refused
from wire.frames import (
    Answer,
    Cancel,
    Cancelled,
    Chunk,
    Error,
    Finish,
    Finished,
    Frame,
    Get,
    Have,
    Kept,
    More,
    Offer,
    Offered,
    Ok,
    Put,
    Ranges,
    Request,
    Sum,
    SumIs,
    Taken,
)

from ..links import Deliver, Disconnected, Event, Link, Received
from .connection import ConnectionLostError, FileAwayError

_SILENCE = 60.0  # seconds without an answer until the connection counts as lost
_FOLLOWING = 600.0  # seconds without news of a file, after which the transfer asks again
_CHUNK = 1 << 17  # bytes; messages are sent between two chunks
_WINDOW = 8  # unanswered requests of one file connection

A = TypeVar("A", bound=Answer)


class MqttFileConnections:
    """All open file connections. The link's thread passes the answers on; any thread may call `open`."""

    def __init__(self) -> None:
        self._link: Link | None = None
        self._lock = threading.Lock()
        self._connections: dict[int, MqttFileConnection] = {}
        self._numbers = itertools.count(1)

    def make_link(self, make: Callable[[Deliver], Link], deliver: Deliver) -> Link:
        """Return the link that `make` returns. It delivers all but the frames of file connections."""
        self._link = make(partial(self._pass_on, deliver))
        return self._link

    def open(self, _name: str, _token: str) -> MqttFileConnection:
        """Open another file connection over the link, which has logged in."""
        assert self._link is not None
        with self._lock:
            number = next(self._numbers)
            connection = self._connections[number] = MqttFileConnection(number, self._link.send, self._close)
        return connection

    def _close(self, number: int) -> None:
        with self._lock:
            self._connections.pop(number, None)

    def _pass_on(self, deliver: Deliver, event: Event) -> None:
        """Pass the frames of file connections to them, and everything else to `deliver`."""
        if isinstance(event, Received):
            event = Received([frame for frame in event.frames if not self._dispatch(frame)])
            if not event.frames:
                return
        deliver(event)
        if isinstance(event, Disconnected):  # not earlier: a transfer would open its next connection over the lost link
            self._lost()

    def _dispatch(self, frame: Frame) -> bool:
        """Pass a frame to its file connection. Return False if the frame is for none of them."""
        if isinstance(frame, More):
            for connection in self._all():
                connection.came.put(frame)
            return True
        ref = getattr(frame, "ref", None)
        if not isinstance(ref, str) or not ref.startswith("file "):
            return False
        with self._lock:
            found = self._connections.get(int(ref.split()[1]))
        if found is not None:
            found.came.put(frame)
        return True

    def _lost(self) -> None:
        """End the waits of all file connections, as the link has lost its connection."""
        for connection in self._all():
            connection.came.put(None)

    def _all(self) -> list[MqttFileConnection]:
        with self._lock:
            return list(self._connections.values())


class MqttFileConnection:
    """A FileConnection (see connection.py) over the link that also carries the messages."""

    chunk = _CHUNK
    shared = True

    def __init__(self, number: int, send: Callable[[Iterable[Frame]], None], closed: Callable[[int], None]) -> None:
        self.came: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
        self._number = number
        self._send = send
        self._closed = closed
        self._refs = itertools.count(1)
        self._puts: deque[str] = deque()
        self._early: dict[str, Frame] = {}
        self._file = ""  # the file whose `more` counts as news
        self._news = False

    def close(self) -> None:
        """Close the file connection, and end a wait in it. The link stays open."""
        self._closed(self._number)
        self.came.put(None)

    def _ask(self, request: Request) -> str:
        ref = f"file {self._number} {next(self._refs)}"
        request.ref = ref
        self._send([request])
        return ref

    def _wait(self, ref: str, kind: type[A]) -> A:
        while ref not in self._early:
            frame = self._next(_SILENCE)
            if not isinstance(frame, More):
                self._early[str(getattr(frame, "ref", ""))] = frame
        answer = self._early.pop(ref)
        if isinstance(answer, Error):
            if answer.code == FileAwayError.CODE:
                raise FileAwayError(answer.error)
            raise Refused(answer.code if answer.code in CODES else "internal", answer.error)
        if not isinstance(answer, kind):
            raise ConnectionLostError("the server sent an unexpected answer")
        return answer

    def _next(self, seconds: float) -> Frame:
        try:
            frame = self.came.get(timeout=seconds)
        except queue.Empty:
            raise ConnectionLostError("no answer") from None
        if frame is None:
            raise ConnectionLostError("the connection is lost")
        self._news = self._news or (isinstance(frame, More) and frame.file == self._file)
        return frame

    def offer(self, offer: Offer) -> Offered:
        """Offer a file. Return what the server has of it."""
        return self._wait(self._ask(offer), Offered)

    def put(self, file: str, offset: int, data: bytes | memoryview) -> None:
        """Send a chunk. Up to `_WINDOW` chunks wait for their answers."""
        while len(self._puts) >= _WINDOW:
            self._wait(self._puts.popleft(), Kept)
        self._puts.append(self._ask(Put(file=file, offset=offset, bytes=len(data), payload=bytes(data))))

    def settle(self) -> None:
        """Wait until the server has stored all chunks."""
        while self._puts:
            self._wait(self._puts.popleft(), Kept)

    def finish(self, file: str, sha256: str, size: int) -> None:
        """Finish the upload."""
        self._wait(self._ask(Finish(file=file, sha256=sha256, size=size)), Finished)

    def cancel(self, file: str) -> None:
        """Take the offer back."""
        self._wait(self._ask(Cancel(file=file)), Cancelled)

    def have(self, file: str, *, watch: bool = False) -> Ranges:
        """Return what the server has of a file; with `watch`, it announces further bytes."""
        self._file, self._news = file, False
        return self._wait(self._ask(Have(file=file, watch=watch)), Ranges)

    def fetch(self, file: str, first: int, end: int) -> Iterator[memoryview]:
        """Yield the bytes of a range in order, up to where the server has no more. Requests overlap."""
        self._file, self._news = file, False
        asked: deque[tuple[str, int]] = deque()
        at = ahead = first
        short = False
        while at < end and (asked or not short):
            while not short and ahead < end and len(asked) < _WINDOW:
                length = min(_CHUNK, end - ahead)
                asked.append((self._ask(Get(file=file, offset=ahead, length=length)), length))
                ahead += length
            ref, length = asked.popleft()
            chunk = self._wait(ref, Chunk)
            if chunk.offset == at and chunk.payload:
                at += len(chunk.payload)
                yield memoryview(chunk.payload)
            short = short or len(chunk.payload) < length

    def more(self) -> None:
        """Wait until the server has more of the file."""
        while not self._news:
            self._next(_FOLLOWING)

    def sum(self, file: str, first: int, length: int) -> str:
        """Return the SHA-256 of a range."""
        return self._wait(self._ask(Sum(file=file, offset=first, length=length)), SumIs).sha256

    def taken(self, file: str) -> None:
        """Report that the file is complete and correct."""
        self._wait(self._ask(Taken(file=file)), Ok)
