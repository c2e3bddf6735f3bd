"""The program of a process that sends or receives one file: `python -m bench.files.worker KIND …`.

It prints a line when it is ready, begins when it reads a line, and prints a line at the end. The line that a receiver
reads is the id of the file. The last line is the file's id from a sender over MQTT, the seconds from the first byte on
from a receiver that downloads directly, and `done` from the others.
"""

from __future__ import annotations

import hashlib
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench.socket.pool import RunFailed
from terminal.files import DIRECTLY, DirectOptions, Download, JsonFileConnection, Upload
from wire.frames import GetFile, SendFile

from .mqtt import download, upload

Work = Callable[[str], str | None]
_CHUNK = 1 << 18


def send(port: int, name: str, token: str, to: str, path: str, rate: int = 0) -> Work:
    """Upload through the server, as `/send` does, at `rate` bytes a second unless that is 0."""
    connection = JsonFileConnection("127.0.0.1", port, name, token)
    began = 0.0

    def keep_rate() -> None:
        ahead = transfer.control.progress.done / rate - (time.perf_counter() - began) if rate else 0.0
        if ahead > 0:
            time.sleep(ahead)

    transfer = Upload(SendFile(to=to, path=path), keep_rate)

    def work(_: str) -> None:
        nonlocal began
        began = time.perf_counter()
        transfer.run(connection)

    return work


def get(port: int, name: str, token: str, folder: str) -> Work:
    """Download through the server, as `/get` does: hash, write and verify."""
    connection = JsonFileConnection("127.0.0.1", port, name, token)

    def work(file: str) -> None:
        Download(GetFile(file=file), Path(folder), 0, lambda _: True, lambda: None).run(connection)

    return work


def host(port: int, name: str, token: str, to: str, path: str) -> Work:
    """Offer a direct transfer, as `/send --direct` does."""
    connection = JsonFileConnection("127.0.0.1", port, name, token)
    transfer = Upload(SendFile(to=to, path=path, direct=True), lambda: None, DirectOptions())

    def work(_: str) -> None:
        transfer.run(connection)

    return work


def get_directly(port: int, name: str, token: str, folder: str) -> Work:
    """Download directly from the sender. Raises RunFailed if the server relays the file."""
    connection = JsonFileConnection("127.0.0.1", port, name, token)
    began: list[float] = []

    def work(file: str) -> str:
        def note_first_byte() -> None:
            if transfer.control.progress.way == DIRECTLY and not began:
                began.append(time.perf_counter())

        transfer = Download(GetFile(file=file), Path(folder), 0, lambda _: True, note_first_byte, direct=True)
        if not transfer.run(connection).endswith(f"({DIRECTLY})"):
            raise RunFailed("the file did not come directly")
        return str(time.perf_counter() - began[0])

    return work


def mqtt_send(port: int, name: str, to: str, path: str) -> Work:
    """Upload over MQTT at QoS 1."""
    return lambda _: upload(port, name, to, path)


def mqtt_get(port: int, name: str, path: str) -> Work:
    """Download over MQTT at QoS 1."""
    return lambda file: download(port, name, file, path)


def source(port: int, path: str) -> Work:
    """Send by a plain `socket.sendfile`."""
    sock = socket.create_connection(("127.0.0.1", port))
    file = Path(path).open("rb")  # noqa: SIM115  (until the process ends)

    def work(_: str) -> None:
        with sock, file:
            sock.sendfile(file)
            sock.shutdown(socket.SHUT_WR)
            sock.recv(1)

    return work


def sink(path: str) -> Work:
    """Receive on one connection; hash and write. Print the port first."""
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    sock = listener.accept()[0]

    def work(_: str) -> None:
        view, digest = memoryview(bytearray(_CHUNK)), hashlib.sha256()
        with sock, Path(path).open("wb") as file:
            while got := sock.recv_into(view):
                digest.update(view[:got])
                os.write(file.fileno(), view[:got])
        digest.hexdigest()

    return work


_KINDS: dict[str, Callable[..., Work]] = {
    each.__name__: each for each in (send, get, host, get_directly, mqtt_send, mqtt_get, source, sink)
}


def main(kind: str, *given: str) -> None:
    """Run the worker of this kind."""
    work = _KINDS[kind](*[int(each) if each.isdigit() else each for each in given])
    print("ready", flush=True)
    print(work(sys.stdin.readline().strip()) or "done", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
