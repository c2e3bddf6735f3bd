"""Files under kill -9 of sender, receiver and server: it goes on from where it was, and the file is right."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.clients import Json
from tests.support.files.proxy import FileProxy, Gate, Tap
from tests.support.fixtures import StartProcess
from tests.support.long_runs import times
from tests.support.processes import Process
from tests.support.processes.clients import command, environment
from tests.support.waiting import DEADLINE
from wire.frames import Entry
from wire.ranges import EMPTY, missing, union

KILLS = times("CAMPAIGN_KILLS", 12)
SIZE = 48 << 20
_MOST = 3 << 20  # bytes of the file between two kills: up to three chunks on the way up, and twelve on the way down
Connect = Callable[..., Json]


class Client:
    """`client.py` as a filter that does one thing, through the proxy; it can be killed and started again."""

    def __init__(self, proxy: FileProxy, name: str, order: str, downloads: Path) -> None:
        self.name = name
        self.kills = 0
        self._proxy = proxy
        self._order = order
        self.downloads = downloads
        self.start()

    def start(self) -> None:
        """Start it."""
        options = [self._proxy.address, "--name", self.name, "--wait", "600", "--downloads", str(self.downloads)]
        self.process = subprocess.Popen(
            command(*options), env=environment(), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert self.process.stdin is not None
        self.process.stdin.write(f"{self._order}\n")
        self.process.stdin.close()
        self.process.stdin = None

    def kill(self) -> None:
        """`kill -9`; what is still under way is lost."""
        self.process.kill()
        self.process.communicate()
        self._proxy.cut(self.name)
        self.kills += 1

    def end(self) -> str:
        """Wait until it has done it; what it said."""
        _, err = self.process.communicate(timeout=10 * DEADLINE)
        assert self.process.returncode == 0, err
        return err


@contextmanager
def running(proxy: FileProxy, name: str, order: str, downloads: Path) -> Iterator[Client]:
    """A client, killed in the end if it goes on."""
    client = Client(proxy, name, order, downloads)
    try:
        yield client
    finally:
        client.process.kill()
        client.process.communicate()


def parts(folder: Path) -> int:
    """Return how many bytes have arrived."""
    return sum(part.stat().st_size for part in folder.glob("*.part"))


def test_kills(start_process: StartProcess, connect: Connect, tmp_path: Path) -> None:
    """Ten of each, at random bytes of the file: half of the server's on the way up, half on the way down."""
    chance = random.Random(seed := random.randrange(1 << 30))
    print(f"seed {seed}")
    data = chance.randbytes(SIZE)
    (tmp_path / "big").write_bytes(data)
    process = start_process()
    up, down = (chance.sample([who] * 10 + ["server"] * 5, 15) for who in ("sender", "receiver"))
    with FileProxy(process.address, gate=Gate(up=True)) as proxy:
        bob = connect(process.address, "bob")
        with running(proxy, "alice", f"/send bob {tmp_path / 'big'}", tmp_path) as sender:
            file = bob.expect(Entry).file
            bob.close()
            with running(proxy, "bob", f"/get {file}", tmp_path / "early") as follower:
                kill(up, process, proxy, sender, chance)
                assert "Sent " in sender.end()
                assert "Received " in follower.end()
        check_sent(proxy.of("alice"))
        early = len(proxy.of("bob"))
        proxy.gate = Gate(up=False)
        with running(proxy, "bob", f"/get {file}", tmp_path / "late") as receiver:
            had = kill(down, process, proxy, receiver, chance)
            assert "Received " in receiver.end()
        check_fetched(proxy.of("bob")[early:], had)
    for folder in ("early", "late"):
        assert [(path.name, path.read_bytes() == data) for path in (tmp_path / folder).iterdir()] == [("big", True)]
    assert "Traceback" not in process.log, process.log


def kill(victims: list[str], process: Process, proxy: FileProxy, client: Client, chance: random.Random) -> list[int]:
    """One after the other, each when some more of the file has gone by; how much was downloaded at each."""
    gate = proxy.gate
    assert gate is not None
    had: list[int] = []
    for victim in victims:
        gate.allow(chance.randint(1, _MOST))
        gate.wait_until_shut()
        if victim == "server":
            proxy.server_up.clear()
            process.kill()
            had.append(parts(client.downloads))
            proxy.cut()
            process.start()
            proxy.server_up.set()
        else:
            client.kill()
            had.append(parts(client.downloads))
            client.start()
    gate.allow(1 << 40)
    return had


def check_sent(taps: list[Tap]) -> None:
    """After each kill it goes on from what was acknowledged before it, and nothing that was there is sent again."""
    assert len(taps) > KILLS // 2
    kept = EMPTY
    for tap in taps:
        assert tap.had is not None
        for first, end in kept:
            assert not missing(tap.had, first, end), "what was acknowledged has gone"
        for first, end in tap.puts:
            assert missing(tap.had, first, end) == ((first, end),), "what was there is sent again"
        kept = union([*kept, *tap.had, *tap.kept])
    assert kept == ((0, SIZE),)


def check_fetched(taps: list[Tap], had: list[int]) -> None:
    """After each kill it asks for what follows the bytes that it had; so hardly more than the file goes by."""
    assert len(taps) == len(had) + 1
    for tap, there in zip(taps, [0, *had], strict=True):
        assert tap.first_get is not None
        assert tap.first_get >= there
    assert sum(tap.down for tap in taps) < SIZE + sum(had) / 4
