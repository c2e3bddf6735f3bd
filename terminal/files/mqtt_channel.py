"""Floor 4: files over the one line that an MQTT client has: each request is a command below `file/<id>/`, see
wire/topics/files.py. Pure, but for the channel, which a transfer's thread waits in.
"""

from __future__ import annotations

import itertools
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
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

from .channel import ConnectionLostError

_SILENCE = 60.0  # seconds without an answer: the line is lost
_FOLLOWING = 600.0  # seconds that a sender may pause before we look once more
_PIECE = 1 << 17  # bytes of a chunk: what is said goes on between two of them
_WINDOW = 8

A = TypeVar("A", bound=Answer)


class MqttFileChannels:
    """Who waits for which answers. `send` is the link's; `take` and `lost` are for whoever the link delivers to."""

    def __init__(self, send: Callable[[Iterable[Frame]], None]) -> None:
        self._send = send
        self._lock = threading.Lock()
        self._channels: dict[int, MqttFileChannel] = {}
        self._numbers = itertools.count(1)

    def open(self) -> MqttFileChannel:
        """Open another channel over the connection."""
        with self._lock:
            number = next(self._numbers)
            channel = self._channels[number] = MqttFileChannel(number, self._send, self._close)
        return channel

    def _close(self, number: int) -> None:
        with self._lock:
            self._channels.pop(number, None)

    def take(self, frame: Frame) -> bool:
        """Hand a frame to the channel that it is for; False if it is for somebody else."""
        if isinstance(frame, More):
            for channel in self._all():
                channel.came.put(frame)
            return True
        ref = getattr(frame, "ref", None)
        if not isinstance(ref, str) or not ref.startswith("file "):
            return False
        with self._lock:
            found = self._channels.get(int(ref.split()[1]))
        if found is not None:
            found.came.put(frame)
        return True

    def lost(self) -> None:
        """The line is lost, and every answer with it."""
        for channel in self._all():
            channel.came.put(None)

    def _all(self) -> list[MqttFileChannel]:
        with self._lock:
            return list(self._channels.values())


class MqttFileChannel:
    """A FileChannel (see channel.py) over the link that everything else goes over, too."""

    chunk = _PIECE

    def __init__(self, number: int, send: Callable[[Iterable[Frame]], None], closed: Callable[[int], None]) -> None:
        self.came: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
        self._number = number
        self._send = send
        self._closed = closed
        self._refs = itertools.count(1)
        self._puts: deque[str] = deque()
        self._early: dict[str, Frame] = {}
        self._file = ""  # whose news we wait for
        self._news = False

    def close(self) -> None:
        """Wait for nothing more."""
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
            raise Refused(answer.code if answer.code in CODES else "internal", answer.error)
        if not isinstance(answer, kind):
            raise ConnectionLostError("the server answers something else")
        return answer

    def _next(self, seconds: float) -> Frame:
        try:
            frame = self.came.get(timeout=seconds)
        except queue.Empty:
            raise ConnectionLostError("no answer") from None
        if frame is None:
            raise ConnectionLostError("the line is lost")
        self._news = self._news or (isinstance(frame, More) and frame.file == self._file)
        return frame

    def offer(self, offer: Offer) -> Offered:
        """Offer a file; what is there of it."""
        return self._wait(self._ask(offer), Offered)

    def put(self, file: str, offset: int, data: bytes | memoryview) -> None:
        """Send a chunk; up to a window of them wait for their answers."""
        self._puts.append(self._ask(Put(file=file, offset=offset, bytes=len(data), payload=bytes(data))))
        while len(self._puts) > _WINDOW:
            self._wait(self._puts.popleft(), Kept)

    def settle(self) -> None:
        """Wait until all chunks are kept."""
        while self._puts:
            self._wait(self._puts.popleft(), Kept)

    def finish(self, file: str, sha256: str, size: int) -> None:
        """All is sent."""
        self._wait(self._ask(Finish(file=file, sha256=sha256, size=size)), Finished)

    def cancel(self, file: str) -> None:
        """Take an offer back."""
        self._wait(self._ask(Cancel(file=file)), Cancelled)

    def have(self, file: str, *, watch: bool = False) -> Ranges:
        """What is there of a file."""
        self._file, self._news = file, False
        return self._wait(self._ask(Have(file=file, watch=watch)), Ranges)

    def fetch(self, file: str, first: int, end: int) -> Iterator[memoryview]:
        """A range in order: some requests are under way at a time; it ends where nothing more is there."""
        self._file, self._news = file, False
        asked: deque[tuple[str, int]] = deque()
        at = ahead = first
        short = False
        while at < end and (asked or not short):
            while not short and ahead < end and len(asked) < _WINDOW:
                length = min(_PIECE, end - ahead)
                asked.append((self._ask(Get(file=file, offset=ahead, length=length)), length))
                ahead += length
            ref, length = asked.popleft()
            chunk = self._wait(ref, Chunk)
            if chunk.offset == at and chunk.payload:
                at += len(chunk.payload)
                yield memoryview(chunk.payload)
            short = short or len(chunk.payload) < length

    def more(self) -> None:
        """Wait until there is more."""
        while not self._news:
            self._next(_FOLLOWING)

    def sum(self, file: str, first: int, length: int) -> str:
        """The SHA-256 of a range."""
        return self._wait(self._ask(Sum(file=file, offset=first, length=length)), SumIs).sha256

    def taken(self, file: str) -> None:
        """We have it."""
        self._wait(self._ask(Taken(file=file)), Ok)
