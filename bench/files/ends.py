"""The two ends of a file on its way, each a process of its own: `python -m bench.files.ends KIND …`.

Each prints a line when it is ready, begins when a line comes, and prints one when it is done. The line that the
receiver waits for names the file; a sender over MQTT prints the file's id in the end, a receiver that fetches directly
how many seconds that took from its first byte on.
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
from terminal.files.channel import JsonFileChannel
from terminal.files.direct_offer import DIRECTLY, DirectOptions
from terminal.files.download import Download
from terminal.files.upload import Upload
from wire.frames import GetFile, SendFile

from .mqtt import download, upload

Work = Callable[[str], str | None]
_PIECE = 1 << 18


def send(port: int, name: str, token: str, to: str, path: str, rate: int = 0) -> Work:
    """Through the relay, as `/send` does; if there is a rate, at so many bytes a second."""
    channel = JsonFileChannel("127.0.0.1", port, name, token)
    began = 0.0

    def changed() -> None:
        ahead = transfer.control.progress.done / rate - (time.perf_counter() - began) if rate else 0.0
        if ahead > 0:
            time.sleep(ahead)

    transfer = Upload(SendFile(to=to, path=path), changed)

    def work(_: str) -> None:
        nonlocal began
        began = time.perf_counter()
        transfer.run(channel)

    return work


def get(port: int, name: str, token: str, folder: str) -> Work:
    """Through the relay, as `/get` does: it hashes and writes."""
    channel = JsonFileChannel("127.0.0.1", port, name, token)

    def work(file: str) -> None:
        Download(GetFile(file=file), Path(folder), 0, lambda _: True, lambda: None).run(channel)

    return work


def host(port: int, name: str, token: str, to: str, path: str) -> Work:
    """Have it fetched from here, as `/send --direct` does."""
    channel = JsonFileChannel("127.0.0.1", port, name, token)
    transfer = Upload(SendFile(to=to, path=path, direct=True), lambda: None, DirectOptions())

    def work(_: str) -> None:
        transfer.run(channel)

    return work


def get_directly(port: int, name: str, token: str, folder: str) -> Work:
    """Straight from its sender."""
    channel = JsonFileChannel("127.0.0.1", port, name, token)
    began: list[float] = []

    def work(file: str) -> str:
        def changed() -> None:
            if transfer.control.progress.way == DIRECTLY and not began:
                began.append(time.perf_counter())

        transfer = Download(GetFile(file=file), Path(folder), 0, lambda _: True, changed, direct=True)
        if not transfer.run(channel).endswith(f"({DIRECTLY})"):
            raise RunFailed("it did not come directly")
        return str(time.perf_counter() - began[0])

    return work


def mqtt_send(port: int, name: str, to: str, path: str) -> Work:
    """Over MQTT, at QoS 1."""
    return lambda _: upload(port, name, to, path)


def mqtt_get(port: int, name: str, path: str) -> Work:
    """The same."""
    return lambda file: download(port, name, file, path)


def source(port: int, path: str) -> Work:
    """A plain socket.sendfile."""
    sock = socket.create_connection(("127.0.0.1", port))
    file = Path(path).open("rb")  # noqa: SIM115  (until the process ends)

    def work(_: str) -> None:
        with sock, file:
            sock.sendfile(file)
            sock.shutdown(socket.SHUT_WR)
            sock.recv(1)

    return work


def sink(path: str) -> Work:
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


_KINDS: dict[str, Callable[..., Work]] = {
    each.__name__: each for each in (send, get, host, get_directly, mqtt_send, mqtt_get, source, sink)
}


def main(kind: str, *given: str) -> None:
    """Be one end."""
    work = _KINDS[kind](*[int(each) if each.isdigit() else each for each in given])
    print("ready", flush=True)
    print(work(sys.stdin.readline().strip()) or "done", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
