"""The rows about files, for Partyline only: how fast one goes through the relay, what many receivers cost.

Where speeds are compared, all that is written is in memory, if there is pool: a relay writes twice what a plain
transfer does, and beyond some gigabytes it would be the disk that is measured.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Self

from bench.meter import Meter, Usage
from bench.peers import ROOT, Peer, RunningPeer
from bench.socket.load import SinglePublisher
from bench.socket.pool import SETUP_SECONDS, Client, RunFailed, client_pool

from .row import SELF, Measured, Metric, Plan, Row

RECEIVERS = 100
SHARED = 16 << 20  # bytes of the file that all of them fetch
SUBSCRIBERS = 10
_GET = 1 << 18
GIGABIT = 118_000_000  # bytes of a file a second over such a line


class End:
    """One end of a file on its way: see ends.py."""

    def __init__(self, kind: str, *given: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bench.files.ends", kind, *map(str, given)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def line(self) -> str:
        """What it prints next."""
        assert self.process.stdout
        line = self.process.stdout.readline().strip()
        if not line:
            raise RunFailed("an end of the transfer has failed")
        return line

    def begin(self, word: str = "") -> None:
        """Have it begin."""
        assert self.process.stdin
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


class Person(Client):
    """Somebody who is connected, and may have further lines for files. A context manager."""

    def __init__(self, server: RunningPeer, name: str) -> None:
        self.sock = socket.create_connection(("127.0.0.1", server.port), SETUP_SECONDS)
        self.name = name
        self.token = json.loads(self.ask(server.dialect.login(name), b"\n"))["token"]

    def line(self, server: RunningPeer) -> socket.socket:
        """A further line."""
        sock = socket.create_connection(("127.0.0.1", server.port), SETUP_SECONDS)
        sock.sendall(json.dumps({"op": "attach", "name": self.name, "token": self.token}).encode() + b"\n")
        while not sock.recv(4096).endswith(b"\n"):
            pass
        return sock

    def file(self) -> str:
        """The id of the next file that is offered to them."""
        seen = self.expect(b'"file":"')
        while not (found := re.search(rb'"file":"(\w+)"', seen)):
            seen += self.expect(b"\n")
        return found[1].decode()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()


def _make(path: Path, size: int) -> Path:
    """A file of that size, no block of which is like another; it is in the page cache then, and on disk.

    Else it would be written to the disk while something is measured.
    """
    block = os.urandom(1 << 20)
    with path.open("wb") as file:
        for at in range(0, size, len(block)):
            file.write((at.to_bytes(8, "big") + block[8:])[: size - at])
        file.flush()
        os.fsync(file.fileno())
    return path


@contextmanager
def room_for(folder: Path, size: int) -> Iterator[Path]:
    """A folder in memory, if there is pool for four files of that size; else the one that was given."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or shutil.disk_usage(memory).free < 4 * size:
        yield folder
        return
    with tempfile.TemporaryDirectory(dir=memory, prefix="partyline-bench-") as made:
        yield Path(made)


def plain(folder: Path, path: Path) -> float:
    """Seconds of a plain sendfile to one that hashes and writes."""
    with End("sink", folder / "plain") as sink, End("source", sink.line(), path) as source:
        sink.line()
        source.line()
        start = time.perf_counter()
        sink.begin()
        source.begin()
        sink.line()
        seconds = time.perf_counter() - start
    (folder / "plain").unlink()
    return seconds


@contextmanager
def couple(server: RunningPeer) -> Iterator[tuple[Person, Person]]:
    """Who sends, and who receives."""
    with Person(server, "alice") as alice, Person(server, "bob") as bob:
        yield alice, bob


def relayed(
    server: RunningPeer, people: tuple[Person, Person], folder: Path, path: Path, *, following: bool
) -> tuple[float, float]:
    """Seconds of the way up and of the way down, to one that hashes, writes and verifies.

    `following`: both at a time, so that the second number is from the beginning of the one to the end of the other.
    """
    alice, bob = people
    os.utime(path)  # so it is another one than the last
    with ExitStack() as stack:
        sending = stack.enter_context(End("send", server.port, "alice", alice.token, "bob", path))
        getting = stack.enter_context(End("get", server.port, "bob", bob.token, folder / "in"))
        sending.line()
        getting.line()
        start = time.perf_counter()
        sending.begin()
        file = bob.file()
        if following:
            getting.begin(file)
            sending.line()
            up = time.perf_counter() - start
        else:
            sending.line()
            up = time.perf_counter() - start
            start = time.perf_counter()
            getting.begin(file)
        getting.line()
        down = time.perf_counter() - start
        alice.ask(b'{"op":"cancel","file":"%b"}\n' % file.encode(), b'"op":"cancelled"')
    (folder / "in" / path.name).unlink()
    return up, down


def _speed(peer: Peer, folder: Path, plan: Plan, *, following: bool) -> Measured:
    """Plain before and after, so that a machine that gets slower or faster does not count."""
    size = plan.file_mib << 20
    with room_for(folder, size) as place, peer.running(place) as server, couple(server) as people:
        path = _make(place / "big", size)
        before = plain(place, path)
        meter = Meter(server)
        up, down = relayed(server, people, place, path, following=following)
        usage = meter.read()
        beside = (before + plain(place, path)) / 2
        return Measured((beside / down, size / down, size / up, size / beside), usage)


def live(peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row f0."""
    return _speed(peer, folder, plan, following=True)


def later(peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row f1."""
    return _speed(peer, folder, plan, following=False)


def over_mqtt(peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row f4."""
    size = plan.file_mib << 20
    with room_for(folder, size) as place, peer.running(place) as server:
        path, copy = _make(place / "big", size), place / "copy"
        with (
            End("mqtt_send", server.port, "oven", "lamp", path) as sending,
            End("mqtt_get", server.port, "lamp", copy) as getting,
        ):
            sending.line()
            getting.line()
            meter, start = Meter(server), time.perf_counter()
            sending.begin()
            file = sending.line()
            up = time.perf_counter() - start
            start = time.perf_counter()
            getting.begin(file)
            getting.line()
            down = time.perf_counter() - start
        return Measured((size / up, size / down), meter.read())


def directly(peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row f5: from the first byte to the verified file; before that, the sender has made the checksum."""
    size = plan.file_mib << 20
    with room_for(folder, size) as place, peer.running(place) as server, couple(server) as (alice, bob):
        path = _make(place / "big", size)
        before = plain(place, path)
        meter = Meter(server)
        with (
            End("host", server.port, "alice", alice.token, "bob", path) as sending,
            End("get_directly", server.port, "bob", bob.token, place / "in") as getting,
        ):
            sending.line()
            getting.line()
            sending.begin()
            getting.begin(bob.file())
            seconds = float(getting.line())
            sending.line()
        usage = meter.read()
        (place / "in" / path.name).unlink()
        beside = (before + plain(place, path)) / 2
        return Measured((beside / seconds, size / seconds, size / beside), usage)


def clients(peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row f2: the most that the server's memory was, above what it was before; nobody looks at the bytes."""
    with peer.running(folder) as server, Person(server, "alice") as alice, ExitStack() as stack:
        path = _make(folder / "shared", SHARED)
        with End("send", server.port, "alice", alice.token, "alice", path) as end:
            end.line()
            end.begin()
            file = alice.file()
            end.line()
        before = server.memory()
        Path(f"/proc/{server.process.pid}/clear_refs").write_text("5")  # the peak counts from now on: proc(5)
        lines = [stack.enter_context(alice.line(server)) for _ in range(RECEIVERS)]
        meter, start = Meter(server), time.perf_counter()
        threads = [threading.Thread(target=_drain, args=(line, file)) for line in lines]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.perf_counter() - start
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert found
        return Measured((int(found[1]) * 1024 - before, RECEIVERS * SHARED / seconds), meter.read())


def _drain(line: socket.socket, file: str) -> None:
    asked = [
        json.dumps({"op": "get", "file": file, "offset": at, "length": _GET}).encode() + b"\n"
        for at in range(0, SHARED, _GET)
    ]
    line.sendall(b"".join(asked))
    left, view = SHARED, bytearray(1 << 16)
    while left > 0 and (got := line.recv_into(view)):
        left -= got  # the lines of the frames count, too: the last few bytes do not matter here


def waiting(peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row f3: without, with, without. A transfer that took both cores would make any server wait for one."""
    size = int(GIGABIT * (plan.seconds + 2))
    with room_for(folder, size) as place:
        path = _make(place / "big", size)
        before, _ = _p99(peer, place / "before", plan, None)
        during, usage = _p99(peer, place / "during", plan, path)
        after, _ = _p99(peer, place / "after", plan, None)
    idle = (before + after) / 2
    return Measured((during / idle, during, idle), usage)


def _p99(peer: Peer, folder: Path, plan: Plan, path: Path | None) -> tuple[float, Usage]:
    with (
        peer.running(folder) as server,
        client_pool(
            server.dialect, server.port, channels=1, subscribers=SUBSCRIBERS, publishers=1, size=plan.size
        ) as pool,
        _transfer(server, folder, path) if path is not None else nullcontext(),
    ):
        meter = Meter(server)
        latencies = sorted(SinglePublisher(pool).paced(plan.seconds, plan.rate).latencies)
        return latencies[len(latencies) * 99 // 100], meter.read()


@contextmanager
def _transfer(server: RunningPeer, folder: Path, path: Path) -> Iterator[None]:
    """A file that is on its way meanwhile, at the rate of a gigabit line. Raises RunFailed if it comes to its end."""
    with couple(server) as (alice, bob), ExitStack() as stack:
        sending = stack.enter_context(End("send", server.port, "alice", alice.token, "bob", path, GIGABIT))
        getting = stack.enter_context(End("get", server.port, "bob", bob.token, folder / "in"))
        sending.line()
        getting.line()
        sending.begin()
        getting.begin(bob.file())
        yield
        if getting.process.poll() is not None:
            raise RunFailed("the file came to its end too early")


_RATES = (
    Metric("with / plain", "x", targets={SELF: 0.5}),
    Metric("on the way down", "MB/s", 1e6),
    Metric("on the way up", "MB/s", 1e6),
    Metric("plain sendfile", "MB/s", 1e6),
)
RELAY_ROWS: tuple[Row, ...] = (
    Row(
        "f0",
        "a file of {file_mib} MiB in memory, fetched while it is sent, beside a plain sendfile",
        _RATES,
        live,
        True,
    ),
    Row(
        "f1", "a file of {file_mib} MiB in memory, sent and then fetched, beside a plain sendfile", _RATES, later, True
    ),
    Row(
        "f2",
        f"a file of {SHARED >> 20} MiB, fetched by {RECEIVERS} receivers at a time",
        (
            Metric("memory over idle", "MiB", 1 << 20, more_is_better=False, targets={SELF: 64.0}),
            Metric("all together", "MB/s", 1e6),
        ),
        clients,
        True,
    ),
    Row(
        "f3",
        f"{{rate}} messages a second to {SUBSCRIBERS} receivers while a file is relayed at {GIGABIT // 10**6} MB/s",
        (
            Metric("p99, with / without", "x", more_is_better=False, targets={SELF: 2.0}),
            Metric("latency, p99, with", "ms", 1e-3, more_is_better=False),
            Metric("latency, p99, without", "ms", 1e-3, more_is_better=False),
        ),
        waiting,
        True,
    ),
    Row(
        "f4",
        "a file of {file_mib} MiB in memory, over MQTT at QoS 1, sent and then fetched",
        (Metric("on the way up", "MB/s", 1e6, targets={SELF: 100.0}), Metric("on the way down", "MB/s", 1e6)),
        over_mqtt,
        True,
    ),
    Row(
        "f5",
        "a file of {file_mib} MiB in memory, straight from client to client, beside a plain sendfile",
        (
            Metric("with / plain", "x", targets={SELF: 0.8}),
            Metric("straight", "MB/s", 1e6),
            Metric("plain sendfile", "MB/s", 1e6),
        ),
        directly,
        True,
    ),
)
