"""A server loses its database: stopped, killed, cut off or stalled. Nobody is disconnected, and nothing is lost."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.support.clients import Bulk, Json, Text
from tests.support.database_proxy import DatabaseProxy
from tests.support.fixtures import StartProcess
from tests.support.load import Scene, join_lab, read_all
from tests.support.mqtt import MqttLine
from tests.support.postgres import Cluster, new_cluster, shared_cluster
from tests.support.processes import Process
from tests.support.waiting import DEADLINE, ended, eventually
from wire.frames import Entry, Error, Gap, Hello, Join, Msg, Ping, Pong, Say, Stored, Welcome
from wire.mqtt import V5

_WINDOW = 20  # posts that a poster has on their way
_TIMES = 2


class Insistent:
    """Posts with ids, and posts again what was refused, all on one connection."""

    def __init__(self, scene: Scene, at: int) -> None:
        self.name = f"poster{at}"
        self.numbers: dict[str, int] = {}  # by id, as acknowledged
        self.refused = 0
        self.sentences: set[str] = set()
        self._scene = scene
        self._open: set[str] = set()
        self._count = 0

    def work(self) -> None:
        """Post until `drain`, and return when all is acknowledged. Raises Gone if the connection ends."""
        with Bulk(self._scene.address, self.name, since={"lab": 1 << 40}) as line:
            line.send(Join("lab"))
            while self._open or not self._scene.drain.is_set():
                while not self._scene.drain.is_set() and len(self._open) < _WINDOW:
                    self._count += 1
                    self._post(line, f"{self.name}-{self._count}")
                for frame in line.take():
                    if isinstance(frame, Stored):
                        assert frame.id is not None
                        assert self.numbers.setdefault(frame.id, frame.number) == frame.number
                        self._open.discard(frame.id)
                    elif isinstance(frame, Error):
                        assert frame.code == "not-stored", frame
                        self.refused += 1
                        self.sentences.add(frame.error)
                        self._post(line, str(frame.ref))

    def _post(self, line: Bulk, id: str) -> None:
        self._open.add(id)
        line.send(Say(f"text of {id}", "lab", id, ref=id))


class Reader:
    """Reads everything on one connection: without a gap, and nothing twice."""

    def __init__(self, scene: Scene, at: int) -> None:
        self.name = f"reader{at}"
        self.had: list[Entry] = []
        self.wanted: int | None = None
        self._scene = scene

    def work(self) -> None:
        """Return when `wanted` entries have come. Raises Gone if the connection ends."""
        with Bulk(self._scene.address, self.name, since={"lab": 0}) as line:
            line.send(Join("lab"))
            while self.wanted is None or len(self.had) < self.wanted:
                for frame in line.take(0.2):
                    assert not isinstance(frame, Error | Gap), frame
                    if isinstance(frame, Entry):
                        assert frame.number == len(self.had) + 1, f"{frame} after {len(self.had)}"
                        self.had.append(frame)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A cluster that the test may stop and kill."""
    made = new_cluster()
    yield made
    made.remove()


@pytest.fixture
def proxy(cluster: Cluster) -> Iterator[DatabaseProxy]:
    """A proxy to that cluster."""
    with DatabaseProxy(cluster.port) as made:
        yield made


def stop(cluster: Cluster, _proxy: DatabaseProxy, refused: Callable[[], None]) -> None:
    """An administrator stops PostgreSQL for a while."""
    cluster.stop()
    refused()
    cluster.start()


def kill(cluster: Cluster, _proxy: DatabaseProxy, refused: Callable[[], None]) -> None:
    """PostgreSQL is killed, and recovers."""
    cluster.kill()
    refused()
    cluster.start()


def cut(_cluster: Cluster, proxy: DatabaseProxy, _refused: Callable[[], None]) -> None:
    """All connections to it end."""
    proxy.cut()


def stall(_cluster: Cluster, proxy: DatabaseProxy, refused: Callable[[], None]) -> None:
    """The network passes nothing any more, and ends no connection."""
    proxy.stall()
    refused()
    proxy.go_on()


@pytest.mark.parametrize("harm", [stop, kill, cut, stall])
def test_a_database_that_goes_away_under_load(
    start_process: StartProcess, tmp_path: Path, cluster: Cluster, proxy: DatabaseProxy, harm: Callable[..., None]
) -> None:
    """Posts are refused with a sentence meanwhile; afterwards it goes on by itself, on the same connections."""
    process = start_database(start_process, tmp_path, cluster.url(cluster.new_database(), proxy.port))
    scene = Scene(process.address)
    posters, readers = [Insistent(scene, at) for at in range(3)], [Reader(scene, at) for at in range(2)]
    join_lab(process.address, *[reader.name for reader in readers])
    threads = [scene.run(poster.work, poster.name) for poster in posters]
    threads += [scene.run(reader.work, reader.name) for reader in readers]
    try:
        for _ in range(_TIMES):
            progress(scene, posters, 200)
            before = sum(poster.refused for poster in posters)
            harm(cluster, proxy, lambda before=before: refusals(scene, posters, before + 3))
        progress(scene, posters, 200)
        scene.drain.set()
        ended(threads[: len(posters)], lambda: [len(poster.numbers) for poster in posters])
        assert not scene.failures, scene.failures
        log = read_all(process.address)
        for reader in readers:
            reader.wanted = len(log)
        ended(threads, lambda: [len(reader.had) for reader in readers])
    finally:
        scene.stop.set()
        scene.drain.set()
        for reader in readers:
            reader.wanted = 0
        for thread in threads:
            thread.join(DEADLINE)
    assert not scene.failures, scene.failures
    check(log, posters, readers)
    check_log(process, posters, harm)


def start_database(start_process: StartProcess, folder: Path, url: str) -> Process:
    """Start a server on a database, of which a crash loses nothing."""
    config = folder / "database.yaml"
    config.write_text(yaml.safe_dump({"database": url, "durability": "power"}))
    return start_process("--config", str(config))


def progress(scene: Scene, posters: list[Insistent], posts: int) -> None:
    """Wait until so many more posts are acknowledged."""
    aim = sum(len(poster.numbers) for poster in posters) + posts
    eventually(
        lambda: sum(len(poster.numbers) for poster in posters) >= aim or bool(scene.failures),
        lambda: f"{[len(poster.numbers) for poster in posters]} posts of {aim}",
    )
    assert not scene.failures, scene.failures


def refusals(scene: Scene, posters: list[Insistent], count: int) -> None:
    """Wait until so many posts were refused."""
    eventually(
        lambda: sum(poster.refused for poster in posters) >= count or bool(scene.failures),
        lambda: f"{[poster.refused for poster in posters]} of {count} refusals",
    )
    assert not scene.failures, scene.failures


def check(log: list[Entry], posters: list[Insistent], readers: list[Reader]) -> None:
    """Every acknowledged post is there once under its number, and nothing else; the readers have had the same."""
    assert [entry.number for entry in log] == list(range(1, len(log) + 1))
    wanted = {id: number for poster in posters for id, number in poster.numbers.items()}
    assert {entry.id: entry.number for entry in log} == wanted
    assert len(wanted) == len(log)
    for reader in readers:
        assert reader.had == log


def check_log(process: Process, posters: list[Insistent], harm: Callable[..., None]) -> None:
    """One line for each loss and each end of it; no traceback, no password, and a sentence in each refusal."""
    lost, back = process.log.count("database-lost"), process.log.count("database-reached")
    assert lost == back
    assert lost >= (0 if harm is cut else _TIMES)
    assert lost <= 2 * _TIMES
    for sentence in {sentence for poster in posters for sentence in poster.sentences}:
        assert re.fullmatch(r"Not stored: The database cannot be reached: .*\.", sentence), sentence
    assert "Traceback" not in process.log, process.log
    assert "secret" not in process.log
    assert "secret" not in process.ready


def test_people_stay_while_the_database_is_away(
    start_process: StartProcess, tmp_path: Path, cluster: Cluster, connect: Callable[..., Json],
    dial: Callable[..., Text], mqtt: Callable[..., MqttLine],
) -> None:  # fmt: skip
    """By text, JSON and MQTT 5: each is told what was not stored, and goes on where it was."""
    process = start_database(start_process, tmp_path, cluster.url(cluster.new_database()))
    alice, bob = connect(process.address, "alice"), dial(process.address, "bob")
    carol = mqtt(process.address, "carol", version=V5)
    alice.request(Join("lab"))
    bob.send("/join lab")
    bob.expect("You are in lab")
    carol.subscribe("chat/channels/lab/text")
    alice.request(Say("before", "lab"))
    bob.expect("alice: before")
    cluster.stop()
    refused = alice.request(Say("away", "lab"))
    assert isinstance(refused, Error)
    assert refused.error.startswith("Not stored: The database cannot be reached: ")
    bob.send("nobody hears me")
    bob.expect("The database cannot be reached: ")
    assert isinstance(alice.request(Ping()), Pong)
    late = connect(process.address)
    answer = late.request(Hello(name="dave"))
    assert isinstance(answer, Error)
    assert answer.code == "not-stored"
    cluster.start()
    assert isinstance(late.request(Hello(name="dave")), Welcome)
    assert isinstance(alice.request(Say("after", "lab")), Stored)
    bob.expect("alice: after")
    carol.message("chat/channels/lab/text", lambda packet: packet.payload == b"alice: after")
    assert isinstance(alice.request(Msg("bob", "still there?")), Stored)
    bob.expect("alice -> bob: still there?")
    assert process.stop() == 0
    assert "Traceback" not in process.log, process.log
    lines = [line for line in process.warnings.splitlines() if "database-" in line or "store-" in line]
    codes = [next(code for code in ("database-lost", "database-reached", "store-failing", "store-recovered",
                                    "store-problem") if code in line) for line in lines]  # fmt: skip
    assert codes.count("store-problem") <= 1, lines  # of what people have read meanwhile
    others = sorted(code for code in codes if code != "store-problem")
    assert others == ["database-lost", "database-reached", "store-failing", "store-recovered"], lines


def test_a_server_without_its_database_does_not_start(start_process: StartProcess, tmp_path: Path) -> None:
    """It says in one sentence what is wrong, without the password."""
    cluster = shared_cluster()
    with pytest.raises(AssertionError) as failed:
        start_database(start_process, tmp_path, cluster.url("nowhere"))
    assert "The database cannot be reached: " in str(failed.value)
    assert 'database "nowhere" does not exist' in str(failed.value)
    assert "secret" not in str(failed.value)
