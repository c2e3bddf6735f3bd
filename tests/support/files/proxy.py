"""A proxy between clients and a server that understands the frames of files: it counts them, stops them, or harms them.

What harms them is a `Meddle`: it gets the frames that came together in one direction, and gives those that go on.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeAlias

import msgspec

from tests.support.clients import endpoint
from tests.support.relay import Relay, Way, end
from tests.support.waiting import DEADLINE
from wire.ranges import EMPTY, RangeSet, union

_CHUNK = 1 << 18


class Facts(msgspec.Struct):
    """The fields of a frame that the proxy looks at."""

    op: str = ""
    name: str = ""
    offset: int = 0
    bytes: int = 0
    length: int = 0
    have: list[list[int]] = []


@dataclass(frozen=True)
class Passing:
    """A frame on its way, `up` to the server or down from it."""

    up: bool
    line: bytes
    payload: bytes
    facts: Facts

    @property
    def is_chunk(self) -> bool:
        """True if the frame carries bytes of a file."""
        return bool(self.payload) and self.facts.op in ("put", "chunk")

    def damaged(self, at: int) -> Passing:
        """The same with one bit of the payload turned."""
        payload = bytearray(self.payload)
        payload[at] ^= 1
        return replace(self, payload=bytes(payload))


Meddle: TypeAlias = Callable[[list[Passing]], Sequence[Passing]]


class Cut(Exception):
    """Raised by a Meddle: end this line here."""


class Gate:
    """Lets so many bytes of files by, and then none. `up`: those to the server; otherwise those from it."""

    def __init__(self, *, up: bool) -> None:
        self.up = up
        self._condition = threading.Condition()
        self._budget = 0
        self._waiting = 0

    def allow(self, count: int) -> None:
        """Let so many more by."""
        with self._condition:
            self._budget += count
            self._condition.notify_all()

    def wait_until_shut(self) -> None:
        """Return when all that was allowed is through, and somebody wants more."""
        with self._condition:
            shut = self._condition.wait_for(lambda: self._waiting and not self._budget, DEADLINE)
        assert shut, "no transfer is under way"

    def take(self, wanted: int, tap: Tap) -> int:
        """Return how many of `count` bytes may pass, at least one; 0 if the connection is cut."""
        with self._condition:
            self._waiting += 1
            self._condition.notify_all()
            self._condition.wait_for(lambda: self._budget or tap.cut)
            self._waiting -= 1
            taken = 0 if tap.cut else min(wanted, self._budget)
            self._budget -= taken
            return taken

    def look(self) -> None:
        """Have those who wait look whether their line is cut."""
        with self._condition:
            self._condition.notify_all()


@dataclass(eq=False)
class Tap:
    """One line through the proxy, and what was seen on it."""

    client: socket.socket
    server: socket.socket
    cut: bool = False
    name: str = ""  # whose line it is
    had: RangeSet | None = None  # what was there of the file when it was offered
    puts: list[tuple[int, int]] = field(default_factory=list)
    kept: list[tuple[int, int]] = field(default_factory=list)
    first_get: int | None = None
    up: int = 0  # bytes of files
    down: int = 0
    ended: list[bool] = field(default_factory=list)  # which ways have come to their end

    def close(self) -> None:
        """End it, both ways."""
        self.cut = True
        end(self.client, self.server)


class FileProxy(Relay):
    """Passes frames to a server; `address` is its own, and `taps` are all lines that there were."""

    def __init__(self, server: str, meddle: Meddle | None = None, gate: Gate | None = None) -> None:
        self.meddle = meddle
        self.gate = gate
        self.taps: list[Tap] = []
        self.server_up = threading.Event()  # until it is set, new lines wait
        self.server_up.set()
        super().__init__(endpoint(server))
        self.address = f"127.0.0.1:{self.port}"

    def cut(self, name: str = "") -> None:
        """End all lines, or somebody's."""
        for tap in self.taps:
            if not name or tap.name == name:
                tap.close()
        if self.gate is not None:
            self.gate.look()

    def of(self, name: str) -> list[Tap]:
        """Somebody's lines that were there for a file, in order."""
        return [tap for tap in self.taps if tap.name == name and (tap.had is not None or tap.first_get is not None)]

    def _release(self) -> None:
        self.server_up.set()

    def _admits(self) -> bool:
        self.server_up.wait(DEADLINE)
        return True

    def _open(self, client: socket.socket, server: socket.socket) -> Sequence[Way]:
        tap = Tap(client, server)
        self.taps.append(tap)
        return [partial(self._pass, tap, up) for up in (True, False)]

    def _pass(self, tap: Tap, up: bool) -> None:
        source, sink = (tap.client, tap.server) if up else (tap.server, tap.client)
        try:
            for frames in _batches(source, up):
                for frame in self.meddle(frames) if self.meddle is not None else frames:
                    _note(tap, frame)
                    self._send(tap, sink, frame)
        except (OSError, Cut):
            pass
        finally:
            tap.close()
            if self.gate is not None:
                self.gate.look()
            tap.ended.append(up)
            if len(tap.ended) == 2:  # nobody reads any more: whoever still sends is to hear of it
                tap.client.close()
                tap.server.close()

    def _send(self, tap: Tap, sink: socket.socket, frame: Passing) -> None:
        sink.sendall(frame.line)
        rest = memoryview(frame.payload)
        while rest:
            taken = len(rest)
            if self.gate is not None and frame.is_chunk and self.gate.up == frame.up:
                taken = self.gate.take(taken, tap)
                if not taken:
                    raise Cut
            sink.sendall(rest[:taken])
            if frame.is_chunk:
                tap.up += taken if frame.up else 0
                tap.down += 0 if frame.up else taken
            rest = rest[taken:]


def _note(tap: Tap, frame: Passing) -> None:
    facts = frame.facts
    span = (facts.offset, facts.offset + (facts.length if facts.op == "kept" else facts.bytes))
    if frame.up and facts.op in ("attach", "hello"):
        tap.name = facts.name
    elif frame.up and facts.op == "put":
        tap.puts.append(span)
    elif frame.up and facts.op == "get" and tap.first_get is None:
        tap.first_get = facts.offset
    elif facts.op == "kept":
        tap.kept.append(span)
    elif facts.op == "offered":
        tap.had = union(facts.have) if facts.have else EMPTY


def _batches(source: socket.socket, up: bool) -> Iterator[list[Passing]]:
    """The whole frames that have come together, each time; lines that are none pass as they are."""
    data = b""
    while more := source.recv(_CHUNK):
        data += more
        frames: list[Passing] = []
        while (end := data.find(b"\n") + 1) and (frame := _frame(data, end, up)) is not None:
            frames.append(frame)
            data = data[end + len(frame.payload) :]
        if frames:
            yield frames


def _frame(data: bytes, end: int, up: bool) -> Passing | None:
    line = data[:end]
    facts: Any = Facts()
    if line.startswith(b"{"):
        with contextlib.suppress(msgspec.MsgspecError):
            facts = msgspec.json.decode(line, type=Facts)
    size = facts.bytes if facts.op in ("put", "chunk") else 0
    return Passing(up, line, data[end : end + size], facts) if len(data) >= end + size else None
