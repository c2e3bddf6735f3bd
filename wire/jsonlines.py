"""Floor 0: the JSON dialect: one object a line, with raw bytes after a frame whose `bytes` is not 0.

`receive` takes bytes cut anywhere and returns frames. A line that is not a frame becomes `Malformed`, in its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import msgspec

from .frames import AnyReply, AnyRequest, Chunk, Entry, Frame, Malformed, Offer, Ping, Pong, Put
from .json_text import encode, encode_lines
from .limits import Limits

_requests: msgspec.json.Decoder[Any] = msgspec.json.Decoder(AnyRequest)
_replies: msgspec.json.Decoder[Any] = msgspec.json.Decoder(AnyReply)
_WITH_PAYLOAD = frozenset((Ping, Pong, Put, Chunk, Offer))


class _Outline(msgspec.Struct):
    """The fields of a line that is not a frame which its answer needs."""

    op: Any = None
    ref: Any = None


_outline = msgspec.json.Decoder(_Outline)


class JsonLines:
    """Decodes the requests of one connection or, for a client, its replies. Encoding has no state."""

    key = "json"
    acknowledges = True
    shows_time = False
    free_text = False
    largest = 0
    __slots__ = (
        "_buffer", "_decoder", "_frame", "_limits", "_payloads", "_pieces", "_skipping", "_unwanted", "_wanted",
    )  # fmt: skip

    def __init__(self, limits: Limits | None = None, *, client: bool = False, payloads: bool = True) -> None:
        """Without `payloads`, no frame has one before `allow_payloads`: the peer has not logged in."""
        self._limits = limits or Limits()
        self._payloads = payloads
        self._decoder = _replies if client else _requests
        self._buffer = bytearray()  # the start of an incomplete line
        self._frame: Any = None  # a frame whose payload is incomplete
        self._pieces: list[bytes | memoryview] = []  # the payload so far, in pieces, so that it is copied once
        self._wanted = 0  # bytes of the payload that are missing
        self._skipping = False  # inside the rest of a line that was too long
        self._unwanted = 0  # bytes to skip of a payload that is too long

    def allow_payloads(self) -> None:
        """Take payloads from now on."""
        self._payloads = True

    @property
    def awaited(self) -> int:
        """The bytes of a payload that has come in part; 0 if there is none."""
        return 0 if self._frame is None else int(self._frame.bytes)

    def receive(self, data: bytes) -> list[Any]:
        """Return the frames that `data` completes, with `Malformed` for each line that is not a frame."""
        if self._frame is not None and len(data) < self._wanted:
            self._pieces.append(data)
            self._wanted -= len(data)
            return []
        buffer = self._buffer
        if buffer:
            if b"\n" not in data and len(buffer) + len(data) <= self._limits.line:
                buffer += data
                return []
            data = b"".join((buffer, data))
            buffer.clear()
        if self._frame is None and not self._skipping and not self._unwanted:
            frames = self._receive_plain(data)
            if frames is not None:
                return frames
        return self._receive_slowly(data)

    def _receive_plain(self, data: bytes) -> list[Any] | None:
        """Decode whole lines without payloads at full speed. Return None for any other data."""
        end = data.rfind(b"\n") + 1
        limit = self._limits.line
        if len(data) - end > limit or not _all_within(data, end, limit):
            return None
        try:
            frames = self._decoder.decode_lines(data[:end])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        # The decoder also accepts two objects on one line, and one object on two. So each line end but the last must
        # stand between two objects (no string holds a line end), and there must be as many lines as objects.
        lines = len(frames)
        if lines and (data.count(b"\n", 0, end) != lines or data.count(b"}\n{", 0, end) != lines - 1):
            return None
        if not _WITH_PAYLOAD.isdisjoint(map(type, frames)):
            return None
        self._buffer += data[end:]
        return frames

    def _receive_slowly(self, data: bytes) -> list[Any]:
        """Decode line by line, so that each mistake has its answer in its place."""
        frames: list[Any] = []
        start = 0
        while True:
            if self._unwanted:
                skipped = min(self._unwanted, len(data) - start)
                self._unwanted -= skipped
                start += skipped
            if self._frame is not None:
                if len(data) - start < self._wanted:
                    self._pieces.append(data[start:])
                    self._wanted -= len(data) - start
                    return frames
                frames.append(self._complete(data, start))
                start += self._wanted
            end = data.find(b"\n", start)
            if end < 0:
                break
            if self._skipping:
                self._skipping = False
            elif (frame := self._line(data[start:end])) is not None:
                frames.append(frame)
            start = end + 1
        rest = data[start:]
        if not self._skipping and len(rest) > self._limits.line:
            frames.append(self._too_long())
            self._skipping = True
        if not self._skipping:
            self._buffer += rest
        return frames

    def _complete(self, data: bytes, start: int) -> Frame:
        """Return the frame that waited for its payload, whose last bytes are in `data` from `start` on."""
        frame, self._frame = self._frame, None
        whole = memoryview(data)[start : start + self._wanted]
        frame.payload = b"".join([*self._pieces, whole]) if self._pieces else bytes(whole)
        self._pieces = []
        return cast("Frame", frame)

    def _line(self, line: bytes) -> Frame | None:
        if len(line) > self._limits.line:
            return self._too_long()
        if not line.strip():
            return None
        try:
            frame = self._decoder.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            return _malformed(line, error)
        size = getattr(frame, "bytes", 0)
        refusal = self._refusal(frame, size)
        if refusal is not None:
            self._unwanted = size
            return refusal
        if size:
            self._frame, self._wanted = frame, size
            return None
        return cast("Frame", frame)

    def _refusal(self, frame: Any, size: int) -> Malformed | None:
        """Return why a payload of that size is skipped; None if it is taken."""
        if size and not self._payloads:
            return Malformed("hello-first", "Give your name first: until then, no frame has a payload.", ref=frame.ref)
        if size > self._limits.payload:
            sentence = f"A payload has at most {self._limits.payload} bytes. This one was skipped."
            return Malformed("too-long", sentence, ref=frame.ref)
        if getattr(frame, "payload", b""):
            return Malformed("bad-frame", "A payload is not a field: it follows its line as raw bytes.", ref=frame.ref)
        return None

    def _too_long(self) -> Malformed:
        return Malformed("too-long", f"A line has at most {self._limits.line} bytes. This one was skipped.")

    @staticmethod
    def encode(frame: Frame) -> bytes:
        """Return a frame as a line, with its payload after it."""
        line, payload = JsonLines.encode_apart(frame)
        return line + payload if payload else line

    @staticmethod
    def encode_apart(frame: Frame) -> tuple[bytes, bytes]:
        """Return the line and the payload."""
        payload: bytes = getattr(frame, "payload", b"")
        if payload:
            frame = msgspec.structs.replace(frame, payload=b"", bytes=len(payload))
        return encode(frame) + b"\n", payload

    @staticmethod
    def encode_entries(entries: Sequence[Entry], seq: int = 0, *, past: bool = False) -> bytes:
        """Return a batch of entries as lines, which are the same for every JSON connection."""
        return encode_lines(entries)


def _all_within(data: bytes, end: int, limit: int) -> bool:
    """Return True if no line of `data` up to `end` is over `limit` bytes. Looks at one line every `limit` bytes."""
    at = 0
    while end - at > limit:
        line_end = data.rfind(b"\n", at, at + limit + 1)
        if line_end < 0:
            return False
        at = line_end + 1
    return True


def _malformed(line: bytes, error: Exception) -> Malformed:
    ref = op = None
    try:
        outline = _outline.decode(line)
        op, ref = outline.op, outline.ref
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Malformed("bad-frame", f"The line is not a JSON object: {error}.")
    if not isinstance(ref, int | str):
        ref = None
    if "Invalid value" in str(error) and "$.op" in str(error):
        return Malformed("unknown-frame", f"Unknown op {str(op)[:40]!r}.", ref=ref)
    kind = f"{op[:40]!r} frame" if isinstance(op, str) else "frame"
    return Malformed("bad-frame", f"The line is not a {kind}: {error}.", ref=ref)
