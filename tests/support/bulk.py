"""Lean clients for floods, and a look at a process from outside: its memory, threads and descriptors."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.helpers import DEADLINE, Json, Process, endpoint
from wire.frames import Entry, Error, Frame, Hello, Join, Say, Welcome
from wire.jsonlines import JsonLines
from wire.limits import Limits
from wire.mqtt import V5, ConnAck, Connect, MqttPackets, Packet, Properties, encode

_REPLIES = Limits(line=1 << 28)
_READERS = 12  # descriptors of the connections to the database that are opened when several read at once


class Gone(Exception):
    """The server has ended the connection, or there is none."""


class Bulk:
    """A program's connection that keeps nothing of what it has handed out. Raises Gone where a line may break."""

    def __init__(self, address: str, name: str = "", **hello: object) -> None:
        """Connect; with a name, say hello (`welcome` holds the answer, `early` what came along with it)."""
        try:
            self.socket = socket.create_connection(endpoint(address), DEADLINE)
        except OSError as error:
            raise Gone(error) from error
        self._lines = JsonLines(_REPLIES, client=True)
        self._early: list[Frame] = []
        if name:
            self.send(Hello(name=name, ref="hello", **hello))  # type: ignore[arg-type]
            while not self._early or not any(isinstance(frame, Welcome | Error) for frame in self._early):
                self._early += self._read(DEADLINE)
            answer = next(frame for frame in self._early if isinstance(frame, Welcome | Error))
            if isinstance(answer, Error):
                self.close()
                raise Gone(answer.error)
            self.welcome = answer

    def send(self, *frames: Frame) -> None:
        """Send frames, and wait for nothing but room."""
        self.send_bytes(b"".join(map(JsonLines.encode, frames)))

    def send_bytes(self, data: bytes) -> None:
        """Send bytes, and wait for nothing but room."""
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise Gone(error) from error

    def take(self, seconds: float = DEADLINE) -> list[Frame]:
        """What has come, after a wait of at most so many seconds for the first of it."""
        frames, self._early = self._early, []
        return frames or self._read(seconds)

    def _read(self, seconds: float) -> list[Frame]:
        self.socket.settimeout(seconds)
        try:
            data = self.socket.recv(1 << 20)
        except TimeoutError:
            return []
        except OSError as error:
            raise Gone(error) from error
        if not data:
            raise Gone("the server has closed it")
        return self._lines.receive(data)

    def close(self) -> None:
        """Close our side."""
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class BulkMqtt:
    """A device's connection with a session that is kept. Raises Gone where a line may break."""

    def __init__(self, address: str, name: str, version: int, receive_maximum: int | None = None) -> None:
        self.version = version
        self._packets = MqttPackets(version=version)
        self._early: list[object] = []  # what came together with CONNACK
        more = Properties(session_expiry_interval=1_000, receive_maximum=receive_maximum)
        try:
            self._socket = socket.create_connection(endpoint(address), DEADLINE)
        except OSError as error:
            raise Gone(error) from error
        self.send(
            Connect(
                version=version, client_id=name, username=name, clean=False,
                properties=more if version == V5 else Properties(),
            )
        )  # fmt: skip
        first, *self._early = self.take()
        assert isinstance(first, ConnAck), first
        assert not first.reason, first
        self.present = first.session_present

    def send(self, *packets: Packet) -> None:
        try:
            self._socket.sendall(b"".join([encode(packet, self.version) for packet in packets]))
        except OSError as error:
            raise Gone(error) from error

    def take(self, seconds: float = DEADLINE) -> Iterator[object]:
        """What has come, after a wait of at most so many seconds for the first of it."""
        if self._early:
            yield from self._early
            self._early = []
            return
        self._socket.settimeout(seconds)
        try:
            data = self._socket.recv(1 << 18)
        except TimeoutError:
            return
        except OSError as error:
            raise Gone(error) from error
        if not data:
            raise Gone("the server has closed it")
        yield from self._packets.receive(data)

    def close(self) -> None:
        self._socket.close()


def memory(pid: int) -> int:
    """Resident bytes of a process."""
    return _status(pid, "VmRSS") * 1024


def peak_memory(pid: int) -> int:
    """The most resident bytes that a process ever had."""
    return _status(pid, "VmHWM") * 1024


def threads(pid: int) -> int:
    """How many threads a process has."""
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def descriptors(pid: int) -> int:
    """How many files and sockets a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def eventually(fits: Callable[[], bool], what: Callable[[], str]) -> None:
    """Look until it fits: for what another process does, of which no event reaches us."""
    deadline = time.monotonic() + DEADLINE
    while not fits():
        assert time.monotonic() < deadline, what()
        time.sleep(0.005)


def returns_to(pid: int, before: tuple[int, int]) -> None:
    """Wait until a process has no more threads than that, and no more descriptors but for the store's few readers."""
    eventually(
        lambda: threads(pid) <= before[0] and descriptors(pid) <= before[1] + _READERS,
        lambda: f"threads and descriptors: {before} before, {(threads(pid), descriptors(pid))} now",
    )


def _status(pid: int, field: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def counts(process: Process) -> tuple[int, int]:
    """Threads and descriptors of a server to which nobody is connected."""
    return threads(process.pid), descriptors(process.pid)


def serves(process: Process, name: str = "honest") -> None:
    """Somebody honest is served, and no mistake of the server's own is in its log."""
    with Json(process.address, name) as line:
        line.request(Join("lab"))
        number = line.request(Say("still here", "lab")).number
        assert line.expect(Entry, lambda entry: entry.number == number).text == "still here"
    assert "Traceback" not in process.log, process.log
