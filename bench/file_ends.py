"""The two ends of a file on its way, each a process of its own: `python -m bench.file_ends KIND …`.

Each prints a line when it is ready, begins when a line comes, and prints one when it is done. The line that the
receiver waits for names the file.
"""

from __future__ import annotations

import hashlib
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from terminal.carrier import JsonCarrier
from terminal.transfer import Fetching, Sending
from wire.file_frames import GetFile, SendFile

_PIECE = 1 << 18


def send(port: int, name: str, token: str, to: str, path: str) -> Callable[[str], None]:
    """Through the relay, as `/send` does."""
    carrier = JsonCarrier("127.0.0.1", port, name, token)
    transfer = Sending(SendFile(to=to, path=path), lambda: None)

    def work(_: str) -> None:
        transfer.run(carrier)

    return work


def get(port: int, name: str, token: str, folder: str) -> Callable[[str], None]:
    """Through the relay, as `/get` does: it hashes and writes."""
    carrier = JsonCarrier("127.0.0.1", port, name, token)

    def work(file: str) -> None:
        Fetching(GetFile(file=file), Path(folder), 0, lambda _: True, lambda: None).run(carrier)

    return work


def source(port: int, path: str) -> Callable[[str], None]:
    """A plain socket.sendfile."""
    sock = socket.create_connection(("127.0.0.1", port))
    file = Path(path).open("rb")  # noqa: SIM115  (until the process ends)

    def work(_: str) -> None:
        with sock, file:
            sock.sendfile(file)
            sock.shutdown(socket.SHUT_WR)
            sock.recv(1)

    return work


def sink(path: str) -> Callable[[str], None]:
    """Takes what comes on one connection, hashes and writes it."""
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    sock = listener.accept()[0]

    def work(_: str) -> None:
        view, made = memoryview(bytearray(_PIECE)), hashlib.sha256()
        with sock, Path(path).open("wb") as file:
            while got := sock.recv_into(view):
                made.update(view[:got])
                os.write(file.fileno(), view[:got])
        made.hexdigest()

    return work


_KINDS: dict[str, Callable[..., Callable[[str], None]]] = {"send": send, "get": get, "source": source, "sink": sink}


def main(kind: str, *given: str) -> None:
    """Be one end."""
    work = _KINDS[kind](*[int(each) if each.isdigit() else each for each in given])
    print("ready", flush=True)
    work(sys.stdin.readline().strip())
    print("done", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
