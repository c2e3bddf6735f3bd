"""The rows about files, Partyline only: the speed of a transfer, and the cost of many receivers.

Rows that compare speeds keep the files in memory if they fit: a relay writes twice what a plain transfer writes, and
beyond some gigabytes the disk would be the bottleneck.
"""

from __future__ import annotations

import re
import threading
import time
from contextlib import ExitStack, nullcontext
from pathlib import Path

from bench.files.transfers import (
    User,
    Worker,
    fetch,
    make_file,
    memory_folder,
    relay,
    relaying,
    sendfile_seconds,
    two_users,
)
from bench.meter import Meter, Usage
from bench.peers import Peer
from bench.socket.pool import client_pool

from .row import SELF, Measured, Metric, Plan, Row

RECEIVERS = 100  # in row f2
SHARED = 16 << 20  # bytes of the file in row f2
SUBSCRIBERS = 10  # in row f3
GIGABIT = 118_000_000  # bytes of file content a second on a gigabit link


def _speed(peer: Peer, folder: Path, plan: Plan, *, overlapping: bool) -> Measured:
    """Measure a plain transfer before and after, so that a steady drift of the machine cancels out."""
    size = plan.file_mib << 20
    with memory_folder(folder, size) as place, peer.running(place) as server, two_users(server) as users:
        path = make_file(place / "big", size)
        before = sendfile_seconds(place, path)
        meter = Meter(server)
        up, down = relay(server, users, place, path, overlapping=overlapping)
        usage = meter.read()
        plain = (before + sendfile_seconds(place, path)) / 2
        return Measured((plain / down, size / down, size / up, size / plain), usage)


def relay_while_sent(peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row f0."""
    return _speed(peer, folder, plan, overlapping=True)


def relay_after_sent(peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row f1."""
    return _speed(peer, folder, plan, overlapping=False)


def over_mqtt(peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row f4."""
    size = plan.file_mib << 20
    with memory_folder(folder, size) as place, peer.running(place) as server:
        path, copy = make_file(place / "big", size), place / "copy"
        with (
            Worker("mqtt_send", server.port, "oven", "lamp", path) as sending,
            Worker("mqtt_get", server.port, "lamp", copy) as receiving,
        ):
            sending.read_line()
            receiving.read_line()
            meter, start = Meter(server), time.perf_counter()
            sending.begin()
            file = sending.read_line()
            up = time.perf_counter() - start
            start = time.perf_counter()
            receiving.begin(file)
            receiving.read_line()
            down = time.perf_counter() - start
        return Measured((size / up, size / down), meter.read())


def direct(peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row f5: from the first byte to the verified file, without the checksum that the sender makes before."""
    size = plan.file_mib << 20
    with memory_folder(folder, size) as place, peer.running(place) as server, two_users(server) as (alice, bob):
        path = make_file(place / "big", size)
        before = sendfile_seconds(place, path)
        meter = Meter(server)
        with (
            Worker("host", server.port, "alice", alice.token, "bob", path) as sending,
            Worker("get_directly", server.port, "bob", bob.token, place / "in") as receiving,
        ):
            sending.read_line()
            receiving.read_line()
            sending.begin()
            receiving.begin(bob.next_file())
            seconds = float(receiving.read_line())
            sending.read_line()
        usage = meter.read()
        (place / "in" / path.name).unlink()
        plain = (before + sendfile_seconds(place, path)) / 2
        return Measured((plain / seconds, size / seconds, size / plain), usage)


def many_receivers(peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row f2: the peak of the server's memory above its idle memory. The receivers discard the content."""
    with peer.running(folder) as server, User(server, "alice") as alice, ExitStack() as stack:
        path = make_file(folder / "shared", SHARED)
        with Worker("send", server.port, "alice", alice.token, "alice", path) as sending:
            sending.read_line()
            sending.begin()
            file = alice.next_file()
            sending.read_line()
        before = server.memory()
        Path(f"/proc/{server.process.pid}/clear_refs").write_text("5")  # resets the peak: proc(5)
        connections = [stack.enter_context(alice.attach(server)) for _ in range(RECEIVERS)]
        meter, start = Meter(server), time.perf_counter()
        threads = [threading.Thread(target=fetch, args=(connection, file, SHARED)) for connection in connections]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.perf_counter() - start
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert found
        return Measured((int(found[1]) * 1024 - before, RECEIVERS * SHARED / seconds), meter.read())


def latency_during_transfer(peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row f3: without, with, without a transfer, whose rate leaves processor time to the server."""
    size = int(GIGABIT * (plan.seconds + 2))
    with memory_folder(folder, size) as place:
        path = make_file(place / "big", size)
        before, _ = _p99(peer, place / "before", plan, None)
        during, usage = _p99(peer, place / "during", plan, path)
        after, _ = _p99(peer, place / "after", plan, None)
    idle = (before + after) / 2
    return Measured((during / idle, during, idle), usage)


def _p99(peer: Peer, folder: Path, plan: Plan, path: Path | None) -> tuple[float, Usage]:
    """Return the 99th percentile of the latency in seconds, while a file is relayed if there is one."""
    with (
        peer.running(folder) as server,
        client_pool(
            server.dialect, server.port, channels=1, subscribers=SUBSCRIBERS, publishers=1, size=plan.size
        ) as pool,
        relaying(server, folder, path, GIGABIT) if path is not None else nullcontext(),
    ):
        meter = Meter(server)
        return plan.load().paced(pool, plan.seconds, plan.rate).p99, meter.read()


_RATES = (
    Metric("ratio to sendfile", "x", targets={SELF: 0.5}),
    Metric("download", "MB/s", 1e6),
    Metric("upload", "MB/s", 1e6),
    Metric("plain sendfile", "MB/s", 1e6),
)
FILE_ROWS: tuple[Row, ...] = (
    Row(
        "f0",
        "file of {file_mib:,} MiB, downloaded during the upload",
        _RATES,
        relay_while_sent,
        partyline_only=True,
    ),
    Row("f1", "file of {file_mib:,} MiB, downloaded after the upload", _RATES, relay_after_sent, partyline_only=True),
    Row(
        "f2",
        f"file of {SHARED >> 20} MiB, {RECEIVERS} downloads at the same time",
        (
            Metric("memory above idle", "MiB", 1 << 20, more_is_better=False, targets={SELF: 64.0}),
            Metric("all downloads", "MB/s", 1e6),
        ),
        many_receivers,
        partyline_only=True,
    ),
    Row(
        "f3",
        f"{{rate}} messages a second, {SUBSCRIBERS} receivers, and a file at {GIGABIT // 10**6} MB/s",
        (
            Metric("p99, with / without", "x", more_is_better=False, targets={SELF: 2.0}),
            Metric("latency, p99, with", "ms", 1e-3, more_is_better=False),
            Metric("latency, p99, without", "ms", 1e-3, more_is_better=False),
        ),
        latency_during_transfer,
        partyline_only=True,
    ),
    Row(
        "f4",
        "file of {file_mib:,} MiB over MQTT QoS 1, downloaded after the upload",
        (Metric("upload", "MB/s", 1e6, targets={SELF: 100.0}), Metric("download", "MB/s", 1e6)),
        over_mqtt,
        partyline_only=True,
    ),
    Row(
        "f5",
        "file of {file_mib:,} MiB, directly from client to client",
        (
            Metric("ratio to sendfile", "x", targets={SELF: 0.8}),
            Metric("download", "MB/s", 1e6),
            Metric("plain sendfile", "MB/s", 1e6),
        ),
        direct,
        partyline_only=True,
    ),
)
