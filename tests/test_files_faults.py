"""Files under faults: each of the three killed with -9 at random moments, and a proxy that damages what passes it."""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from server import Server
from terminal.carrier import JsonCarrier, LineLostError
from terminal.transfer import Fetching, Sending, Transfer
from tests.conftest import StartProcess
from tests.helpers import Json, Process, endpoint
from tests.test_client_files import Client, entry_file, everything
from wire.errors import CODES, Refused
from wire.file_frames import GetFile, Have, Ranges, SendFile
from wire.frames import Ping
from wire.ranges import total, union

Connect = Callable[..., Json]
SIZE = 96 << 20
KILLS = 10  # of each of the three


class Scene:
    """A server, one who sends and one who fetches, each in a process of its own; and somebody who looks on."""

    def __init__(self, process: Process, connect: Connect, folder: Path) -> None:
        self.process = process
        self.folder = folder
        watcher = connect(process.address, "bob")
        self.sender = self.send()
        self.file = entry_file(watcher)
        watcher.close()
        self.receiver = self.fetch()

    def send(self) -> Client:
        """`/send`, as it was typed first."""
        return Client(self.process.address, "alice", f"/send bob {self.folder / 'big'}")

    def fetch(self) -> Client:
        """`/get`, likewise."""
        return Client(self.process.address, "bob", f"/get {self.file}", folder=self.folder / "in")

    def there(self) -> int:
        """Bytes that the server has, by its own store: nobody else may ask, so it is read there."""
        with contextlib.closing(sqlite3.connect(f"file:{self.process.folder}/partyline.db?mode=ro", uri=True)) as db:
            state, ranges = db.execute("SELECT state, ranges FROM files").fetchone()
        return SIZE if state == "done" else total(union(json.loads(ranges)))

    def fetched(self) -> int:
        """Bytes that the receiver has."""
        if (self.folder / "in" / "big").exists():
            return SIZE
        return sum(part.stat().st_size for part in (self.folder / "in").glob("*.part"))

    def until(self, progress: Callable[[], int], least: int, over: Callable[[], bool]) -> int:
        """Wait for some progress, or for the end: a look takes a moment, and so does the question between two."""
        while (now := progress()) < least and not over():
            self.breathe()
        return now

    def breathe(self) -> None:
        """Ask the server for something, so that looking is not all that is done."""
        with contextlib.suppress(AssertionError, OSError), Json(self.process.address) as line:
            line.request(Ping())


@pytest.mark.parametrize("victim", ["sender", "receiver", "server"])
def test_killed_at_random_moments_it_goes_on(
    start_process: StartProcess, connect: Connect, tmp_path: Path, victim: str
) -> None:
    """It never begins anew, and in the end the file is right."""
    data = os.urandom(1 << 20) * (SIZE >> 20)
    data = data[:-8] + os.urandom(8)
    (tmp_path / "big").write_bytes(data)
    scene = Scene(start_process(), connect, tmp_path)
    chance = random.Random(victim)
    progress = scene.fetched if victim == "receiver" else scene.there
    kills = 0
    for number in range(KILLS):
        ending = scene.sender if victim == "sender" else scene.receiver

        def over(client: Client = ending) -> bool:
            return client.process.poll() is not None

        before = scene.until(progress, int(SIZE * (number + chance.random()) / (KILLS + 1)), over)
        if over():
            break
        kills += 1
        if victim == "sender":
            scene.sender.kill()
            scene.sender = scene.send()
        elif victim == "receiver":
            scene.receiver.kill()
            scene.receiver = scene.fetch()
        else:
            scene.process.restart()
        assert progress() >= before, "it has begun anew"
    for client in (scene.sender, scene.receiver):
        code, _, err = client.end()
        assert code == 0, err
    assert kills >= 2
    (kept,) = everything(tmp_path / "in").values()
    assert kept == data


# The proxy


class Proxy:
    """Passes on what comes, now and then with a bit turned, a piece lost or doubled, or an end in the middle."""

    def __init__(self, address: str, seed: int) -> None:
        self._target = endpoint(address)
        self._chance = random.Random(seed)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._listener.getsockname()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._sockets: list[socket.socket] = [self._listener]
        self._threads[0].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                one, _ = self._listener.accept()
                other = socket.create_connection(self._target)
                self._sockets += [one, other]
                for source, sink in ((one, other), (other, one)):
                    thread = threading.Thread(target=self._pass, args=(source, sink), daemon=True)
                    self._threads.append(thread)
                    thread.start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                sink.sendall(self._damaged(data))
        for sock in (source, sink):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _damaged(self, data: bytes) -> bytes:
        what = self._chance.random()
        at = self._chance.randrange(len(data))
        if what < 0.015:
            return data[:at] + bytes([data[at] ^ 1 << self._chance.randrange(8)]) + data[at + 1 :]
        if what < 0.02:
            return data[:at]
        if what < 0.025:
            return data + data[at:]
        if what < 0.035:
            raise ConnectionError
        return data

    def close(self) -> None:
        """End everything."""
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        for thread in self._threads:
            thread.join(5)


def carried(transfer: Transfer, proxy: Proxy, client: Json) -> str:
    """Carry it as the porter does, over as many lines as it takes; "" if it is right, else the code."""
    for _ in range(60):
        try:
            carrier = JsonCarrier(*proxy.address, client.welcome.name, client.welcome.token)
        except (Refused, LineLostError):
            continue
        try:
            transfer.run(carrier)
            return ""
        except LineLostError:
            pass
        except Refused as refused:
            return refused.code
        finally:
            carrier.close()
    return "lost"


@pytest.fixture
def proxies(server: Server) -> Iterator[Callable[[int], Proxy]]:
    """`proxies(seed)`."""
    made: list[Proxy] = []

    def make(seed: int) -> Proxy:
        made.append(Proxy(server.address, seed))
        return made[-1]

    yield make
    for proxy in made:
        proxy.close()


@pytest.mark.parametrize("seed", range(12))
def test_what_is_damaged_on_the_way_never_becomes_a_file(
    server: Server, connect: Connect, proxies: Callable[[int], Proxy], tmp_path: Path, seed: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Bits turned, pieces lost and doubled, lines cut: right, or a named error, and then a part at most."""
    monkeypatch.setattr("terminal.carrier._SILENCE", 0.5)
    monkeypatch.setattr("terminal.carrier._FOLLOWING", 0.5)
    data = random.Random(seed).randbytes(2_500_000)
    (tmp_path / "x.bin").write_bytes(data)
    alice, bob, proxy = connect(server.address, "alice"), connect(server.address, "bob"), proxies(seed)
    sending = Sending(SendFile(to="bob", path=str(tmp_path / "x.bin")), lambda: None)
    outcome = carried(sending, proxy, alice)
    state = bob.request(Have(file=sending.file)) if sending.file else None
    if outcome:
        assert outcome in CODES or outcome == "lost"
    else:
        assert isinstance(state, Ranges)
        assert state.done
    if not isinstance(state, Ranges) or not state.done:
        return
    fetching = Fetching(GetFile(file=sending.file), tmp_path / "in", 0, lambda _: True, lambda: None)
    outcome = carried(fetching, proxy, bob)
    fetching.close()
    for name, kept in everything(tmp_path / "in").items():
        assert name.endswith(".part") or kept == data, outcome
    assert outcome == "" or outcome in CODES or outcome == "lost"
