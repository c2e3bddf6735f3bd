"""The rows of files, for Partyline only: through the relay beside plain `sendfile`, and what slow receivers cost."""

from __future__ import annotations

import contextlib
import hashlib
import json
import multiprocessing
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from terminal.carrier import JsonCarrier
from terminal.transfer import Fetching, Sending
from wire.file_frames import Get, GetFile, SendFile

from .meter import Meter
from .peers import Peer, Running
from .rows import SELF, Measured, Metric, Plan, Row

_PIECE = 1 << 20
_ASKED = 64  # chunks that each slow receiver asks for
_SLOW = 100
_forked = multiprocessing.get_context("fork")


@contextlib.contextmanager
def _guest(server: Running, name: str) -> Iterator[Callable[[], JsonCarrier]]:
    """Somebody who is connected; makes further lines of theirs."""
    with socket.create_connection(("127.0.0.1", server.port)) as line:
        line.sendall(json.dumps({"op": "hello", "name": name}).encode() + b"\n")
        token = json.loads(line.makefile("rb").readline())["token"]
        yield lambda: JsonCarrier("127.0.0.1", server.port, name, token)


def _beside(work: Callable[[], object]) -> None:
    """Do something in a process of its own, and wait until it is done."""
    process = _forked.Process(target=work)
    process.start()
    process.join()
    if process.exitcode:
        raise OSError(f"a transfer has failed: {process.exitcode}")


def _made(folder: Path, size: int) -> Path:
    path = folder / "big"
    with path.open("wb") as file:
        for _ in range(size // _PIECE):
            file.write(os.urandom(_PIECE))
    return path


def _plain(path: Path, target: Path) -> float:
    """Seconds that a plain `sendfile` takes, to a receiver that hashes and writes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def send() -> None:
            with socket.create_connection(listener.getsockname()) as line, path.open("rb") as file:
                line.sendfile(file)

        sender = _forked.Process(target=send)
        start = time.perf_counter()
        sender.start()
        line, _ = listener.accept()
        view, made = memoryview(bytearray(_PIECE)), hashlib.sha256()
        with line, target.open("wb", buffering=0) as file:
            while count := line.recv_into(view):
                made.update(view[:count])
                file.write(view[:count])
        sender.join()
    target.unlink()
    return time.perf_counter() - start


def relay(peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row p1: one sends while another fetches what is there already; each hashes what passes it."""
    path = _made(folder, plan.file)
    plain = _plain(path, folder / "plain")
    with peer.running(folder / "data") as server, _guest(server, "sender") as one, _guest(server, "receiver") as other:
        meter = Meter(server)
        start = time.perf_counter()
        sending = Sending(SendFile(to="receiver", path=str(path)), lambda: None)
        uploader = _forked.Process(target=lambda: sending.run(one()))
        uploader.start()
        carrier = one()
        file = sending.offer(carrier).file  # offered twice, it is one file
        carrier.close()
        fetching = Fetching(GetFile(file=file), folder / "in", 0, lambda _: True, lambda: None)
        _beside(lambda: fetching.run(other()))
        uploader.join()
        taken = time.perf_counter() - start
        return Measured((plan.file / taken, plain / taken), meter.read())


def slow_receivers(peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row p2: each asks for many chunks, and reads none."""
    path = _made(folder, max(plan.file // 16, _ASKED << 18))
    with peer.running(folder / "data") as server, _guest(server, "sender") as make, contextlib.ExitStack() as ended:
        carrier = make()
        sending = Sending(SendFile(to="sender", path=str(path)), lambda: None)
        sending.run(carrier)
        before = server.memory()
        lines = [make() for _ in range(_SLOW)]
        for line in lines:
            ended.callback(line.close)
            for at in range(_ASKED):
                line._send(Get(file=sending.file, offset=at << 18, length=1 << 18))
        for _ in range(100):  # what the server answers to others comes after what it has begun for these
            carrier.have(sending.file)
        return Measured((float(server.memory() - before),))


FILE_ROWS = (
    Row(
        "p1",
        "a file of {file:,} bytes to one who fetches it meanwhile, through the server",
        (
            Metric("relay", "MB/s", 1e6),
            Metric("of a plain sendfile", "", targets={SELF: 0.5}),
        ),
        relay,
        True,
    ),
    Row(
        "p2",
        "100 receivers that ask for 16 MiB each and read nothing",
        (Metric("memory of all", "MiB", 1 << 20, more_is_better=False, targets={SELF: 64.0}),),
        slow_receivers,
        True,
    ),
)
