"""File transfers between worker processes, and the users who offer and receive the files."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

from bench.peers import ROOT, RunningPeer
from bench.socket.pool import SETUP_SECONDS, Client, RunFailed


class Worker:
    """A process that sends or receives one file: see worker.py. A context manager that ends the process."""

    def __init__(self, kind: str, *given: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bench.files.worker", kind, *map(str, given)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def read_line(self) -> str:
        """Return the next line that the worker prints. Raises RunFailed if it ended."""
        assert self.process.stdout
        line = self.process.stdout.readline().strip()
        if not line:
            raise RunFailed("a worker of the transfer failed")
        return line

    def begin(self, file: str = "") -> None:
        """Start the transfer; a receiver needs the id of the file."""
        assert self.process.stdin
        self.process.stdin.write(f"{file}\n")
        self.process.stdin.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


RANGE = 1 << 18  # bytes in a request of `fetch`


class User(Client):
    """A connected user with a token for further connections. A context manager."""

    def __init__(self, server: RunningPeer, name: str) -> None:
        self.sock = socket.create_connection(("127.0.0.1", server.port), SETUP_SECONDS)
        self.name = name
        self.token = json.loads(self.ask(server.dialect.login(name), b"\n"))["token"]

    def attach(self, server: RunningPeer, secure: ssl.SSLContext | None = None) -> socket.socket:
        """Return a further connection of this user, for files, in TLS with `secure`."""
        sock = socket.create_connection(("127.0.0.1", server.port), SETUP_SECONDS)
        if secure is not None:
            sock = secure.wrap_socket(sock, server_hostname="127.0.0.1")
        sock.sendall(json.dumps({"op": "attach", "name": self.name, "token": self.token}).encode() + b"\n")
        while not sock.recv(4096).endswith(b"\n"):
            pass
        return sock

    def next_file(self) -> str:
        """Wait for the next file offered to this user; return its id."""
        seen = self.expect(b'"file":"')
        while not (found := re.search(rb'"file":"(\w+)"', seen)):
            seen += self.expect(b"\n")
        return found[1].decode()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()


def fetch(connection: socket.socket, file: str, size: int) -> None:
    """Request a whole file by ranges, and discard what comes."""
    requests = [
        json.dumps({"op": "get", "file": file, "offset": at, "length": RANGE}).encode() + b"\n"
        for at in range(0, size, RANGE)
    ]
    connection.sendall(b"".join(requests))
    left, view = size, bytearray(1 << 16)
    while left > 0 and (got := connection.recv_into(view)):
        left -= got  # counts the JSON lines between the chunks, too, so the end comes a few bytes early


@contextmanager
def two_users(server: RunningPeer) -> Iterator[tuple[User, User]]:
    """Yield the sender and the receiver."""
    with User(server, "alice") as alice, User(server, "bob") as bob:
        yield alice, bob


def make_file(path: Path, size: int) -> Path:
    """Write a file without equal blocks, and flush it, so that no run waits for the disk; return its path."""
    block = os.urandom(1 << 20)
    with path.open("wb") as file:
        for at in range(0, size, len(block)):
            file.write((at.to_bytes(8, "big") + block[8:])[: size - at])
        file.flush()
        os.fsync(file.fileno())
    return path


@contextmanager
def memory_folder(folder: Path, size: int) -> Iterator[Path]:
    """Yield a folder in memory if four files of this size fit there, otherwise the given folder."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or shutil.disk_usage(memory).free < 4 * size:
        yield folder
        return
    with tempfile.TemporaryDirectory(dir=memory, prefix="partyline-bench-") as made:
        yield Path(made)


def sendfile_seconds(folder: Path, path: Path) -> float:
    """Return the seconds of a plain `socket.sendfile` to a receiver that hashes and writes."""
    with Worker("sink", folder / "plain") as sink, Worker("source", sink.read_line(), path) as source:
        sink.read_line()
        source.read_line()
        start = time.perf_counter()
        sink.begin()
        source.begin()
        sink.read_line()
        seconds = time.perf_counter() - start
    (folder / "plain").unlink()
    return seconds


def relay(
    server: RunningPeer, users: tuple[User, User], folder: Path, path: Path, *, overlapping: bool
) -> tuple[float, float]:
    """Return the seconds of the upload and of the download, to a receiver that hashes, writes and verifies.

    `overlapping`: download during the upload; the second number is then from the start of the upload.
    """
    alice, bob = users
    os.utime(path)  # the server takes it for another file than the last one
    with ExitStack() as stack:
        sending = stack.enter_context(Worker("send", server.port, "alice", alice.token, "bob", path))
        receiving = stack.enter_context(Worker("get", server.port, "bob", bob.token, folder / "in"))
        sending.read_line()
        receiving.read_line()
        start = time.perf_counter()
        sending.begin()
        file = bob.next_file()
        if overlapping:
            receiving.begin(file)
            sending.read_line()
            up = time.perf_counter() - start
        else:
            sending.read_line()
            up = time.perf_counter() - start
            start = time.perf_counter()
            receiving.begin(file)
        receiving.read_line()
        down = time.perf_counter() - start
        alice.ask(b'{"op":"cancel","file":"%b"}\n' % file.encode(), b'"op":"cancelled"')
    (folder / "in" / path.name).unlink()
    return up, down


@contextmanager
def relaying(server: RunningPeer, folder: Path, path: Path, rate: int) -> Iterator[None]:
    """Relay a file at `rate` bytes a second during the block. Raises RunFailed if the transfer ends before it."""
    with two_users(server) as (alice, bob), ExitStack() as stack:
        sending = stack.enter_context(Worker("send", server.port, "alice", alice.token, "bob", path, rate))
        receiving = stack.enter_context(Worker("get", server.port, "bob", bob.token, folder / "in"))
        sending.read_line()
        receiving.read_line()
        sending.begin()
        receiving.begin(bob.next_file())
        yield
        if receiving.process.poll() is not None:
            raise RunFailed("the transfer ended before the measurement")
