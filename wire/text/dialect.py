"""Floor 0: the text dialect of one connection: lines to frames, and frames to lines."""

from __future__ import annotations

import re
from collections.abc import Sequence

from wire.actions import ACTION
from wire.errors import Refused
from wire.frames import Entry, Frame, Line, Malformed, Request
from wire.limits import Limits
from wire.names import is_plain, printable
from wire.other_protocols import check_first_line

from .commands import parse as parse_command
from .render import entry_line, past_line, render

# The start of the line that greets a silent peer; programs skip that line.
GREETING_START = b"Welcome to Partyline "

_MAY_ACT = f": {ACTION}".encode()  # in the lines of entries of which one may be an action; `/` alone is found faster

# Telnet's negotiation (RFC 854): IAC, a verb, perhaps an option; a subnegotiation runs up to IAC SE, or to the end of
# the line. `*+` never steps back: with `*?`, a line of starts without an end took time with the square of its length.
_TELNET = re.compile(rb"\xff\xfa(?:[^\xff]|\xff(?!\xf0))*+(?:\xff\xf0)?|\xff[\xfb-\xfe].|\xff[\xf0-\xf9]", re.DOTALL)


class TextLines:
    """Decodes the lines of one connection. Encoding has no state."""

    key = "text"
    acknowledges = False  # the peer is a person
    shows_time = True
    free_text = True
    largest = 0
    __slots__ = ("_begun", "_buffer", "_limits", "_skipping")

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._buffer = bytearray()  # the start of an incomplete line
        self._skipping = False  # inside the rest of a line that was too long
        self._begun = False  # a line that is not blank has come

    @property
    def awaited(self) -> int:
        """Return 0: a line has no payload."""
        return 0

    def receive(self, data: bytes) -> list[Request]:
        """Return a frame for each line that `data` completes: a command's request, `Line` or `Malformed`.

        Raises WrongProtocol if the first line is one of HTTP.
        """
        buffer = self._buffer
        if buffer:
            if b"\n" not in data and len(buffer) + len(data) <= self._limits.line:
                buffer += data
                return []
            data = b"".join((buffer, data))
            buffer.clear()
        *lines, rest = data.split(b"\n")
        if not self._begun:
            self._begin(lines, rest)
        frames: list[Request] = []
        for line in lines:
            if self._skipping:
                self._skipping = False
            elif len(line) > self._limits.line:
                frames.append(self._too_long())
            elif (frame := _parse(line)) is not None:
                frames.append(frame)
        if not self._skipping and len(rest) > self._limits.line:
            frames.append(self._too_long())
            self._skipping = True
        if not self._skipping:
            buffer += rest
        return frames

    def _begin(self, lines: list[bytes], rest: bytes) -> None:
        """Look at the first line that is not blank. Raises WrongProtocol."""
        first = next((line for line in lines if not line.isspace() and line), b"")
        if first:
            check_first_line(first)
        elif len(rest) > self._limits.line:
            check_first_line(rest, whole=False)
        self._begun = bool(first) or len(rest) > self._limits.line

    def allow_payloads(self) -> None:
        """No-op: a line has no payload."""

    def _too_long(self) -> Malformed:
        return Malformed("too-long", f"A line has at most {self._limits.line} bytes. This one was not sent.")

    @staticmethod
    def encode(frame: Frame) -> bytes:
        """Return the lines that show a frame; empty if a person need not see it."""
        return "".join([f"{line}\n" for line in render(frame)]).encode()

    @staticmethod
    def encode_apart(frame: Frame) -> tuple[bytes, bytes]:
        """Return the lines, and no payload."""
        return TextLines.encode(frame), b""

    @staticmethod
    def encode_entries(entries: Sequence[Entry], seq: int = 0, *, past: bool = False) -> bytes:
        """Return a batch of entries as lines, the same for every text connection; with their times if `past`."""
        if past:
            return "".join([f"{past_line(entry)}\n" for entry in entries]).encode()
        data = "".join(
            [f"[{e.channel}] {e.sender}: {e.text}\n" if e.to is None else f"{e.sender} -> {e.to}: {e.text}\n"
             for e in entries]
        ).encode(errors="surrogatepass")  # fmt: skip
        if (b"/" not in data or _MAY_ACT not in data) and is_plain(data, len(entries)):
            return data
        return "".join([f"{entry_line(entry)}\n" for entry in entries]).encode()


def _parse(raw: bytes) -> Request | None:
    if b"\xff" in raw:
        raw = _TELNET.sub(b"", raw)
    line = printable(raw.decode(errors="replace")).strip()
    if not line:
        return None
    try:
        return parse_command(line) or Line(line)
    except Refused as refused:
        return Malformed(refused.code, refused.sentence)
