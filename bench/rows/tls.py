"""The rows in TLS, Partyline only, compared with plain connections to the same server."""

from __future__ import annotations

import time
from pathlib import Path

from bench.files.transfers import User, Worker, fetch, make_file, memory_folder
from bench.peers import Peer
from bench.socket.logins import logins, names
from bench.tls.peer import TlsPartylinePeer, context

from .row import SELF, Measured, Metric, Plan, Row


def bulk(_peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row t0: plain, TLS, TLS, plain, so that a steady drift of the machine cancels out."""
    size = plan.file_mib << 20
    with (
        memory_folder(folder, size) as place,
        TlsPartylinePeer().running(place) as server,
        User(server, "alice") as alice,
    ):
        path = make_file(place / "big", size)
        with Worker("send", server.port, "alice", alice.token, "alice", path) as sending:
            sending.read_line()
            sending.begin()
            file = alice.next_file()
            sending.read_line()
        seconds = []
        for secure in (None, context(place), context(place), None):
            with alice.attach(server, secure) as connection:
                start = time.perf_counter()
                fetch(connection, file, size)
                seconds.append(time.perf_counter() - start)
        plain, encrypted = seconds[0] + seconds[3], seconds[1] + seconds[2]
        return Measured((plain / encrypted, 2 * size / encrypted, 2 * size / plain))


def idle_memory(_peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row t1: as row e."""
    with (
        TlsPartylinePeer().running(folder) as server,
        logins(server.port, server.dialect, secure=context(folder)) as clients,
    ):
        clients.log_in(names("u", 10))
        before = server.memory()
        clients.log_in(names("v", plan.idle))
        return Measured(((server.memory() - before) / plan.idle,))


TLS_ROWS: tuple[Row, ...] = (
    Row(
        "t0",
        "file of {file_mib:,} MiB, fetched in TLS",
        (
            Metric("ratio to plain", "x", targets={SELF: 0.5}),
            Metric("download in TLS", "MB/s", 1e6),
            Metric("download, plain", "MB/s", 1e6),
        ),
        bulk,
        partyline_only=True,
    ),
    Row(
        "t1",
        "{idle:,} idle connections in TLS",
        (Metric("memory per connection", "KiB", 1024, more_is_better=False, targets={SELF: 60.0}),),
        idle_memory,
        partyline_only=True,
    ),
)
