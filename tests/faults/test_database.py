"""A server loses its database: stopped, killed, cut off or stalled. Nobody is disconnected, and nothing is lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle, islice
from pathlib import Path

import pytest
import yaml

from tests.support.clients import Json, Text
from tests.support.database_load import NOT_STORED, Insistent, Reader, check, no_failures, progress, refusals
from tests.support.database_proxy import DatabaseProxy
from tests.support.fixtures import StartProcess
from tests.support.load import Scene, join_lab, read_all
from tests.support.long_runs import times
from tests.support.mqtt import MqttLine
from tests.support.postgres import Cluster, new_cluster, shared_cluster
from tests.support.processes import Process
from tests.support.waiting import DEADLINE, ended
from wire.frames import Error, Hello, Join, Msg, Ping, Pong, Say, Stored, Welcome
from wire.mqtt import V5

_TIMES = times("CAMPAIGN_OUTAGES", 2)
_AWAY = times("CAMPAIGN_AWAY", 0)  # seconds that an outage takes at least


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


_SOME = [(stop, 1), (kill, 2), (cut, 1), (stall, 2)]
_EVERY = [(harm, servers) for harm in (stop, kill, cut, stall) for servers in (1, 2)]


@pytest.mark.parametrize(("harm", "servers"), _EVERY if _AWAY else _SOME)
def test_a_database_that_goes_away_under_load(
    start_process: StartProcess, tmp_path: Path, cluster: Cluster, proxy: DatabaseProxy, harm: Callable[..., None],
    servers: int,
) -> None:  # fmt: skip
    """Posts are refused with a sentence meanwhile; afterwards it goes on by itself, on the same connections."""
    url = cluster.url(cluster.new_database(), proxy.port)
    processes = [start_database(start_process, tmp_path, url, f"server{at}") for at in range(servers)]
    scenes = [Scene(process.address) for process in processes]
    places = list(islice(cycle(scenes), max(3, servers)))
    posters = [Insistent(scene, at) for at, scene in enumerate(places)]
    readers = [Reader(scene, at) for at, scene in enumerate(places[:2])]
    join_lab(processes[0].address, *[reader.name for reader in readers])
    threads = [scene.run(poster.work, poster.name) for scene, poster in zip(places, posters, strict=True)]
    threads += [scene.run(reader.work, reader.name) for scene, reader in zip(places, readers, strict=False)]
    try:
        for _ in range(_TIMES):
            progress(scenes, posters, 200)
            harm(cluster, proxy, partial(keep_away, scenes, posters))
        progress(scenes, posters, 200)
        for scene in scenes:
            scene.drain.set()
        ended(threads[: len(posters)], lambda: [len(poster.numbers) for poster in posters])
        no_failures(scenes)
        log = read_all(processes[0].address, sum(len(poster.numbers) for poster in posters))
        for reader in readers:
            reader.wanted = len(log)
        ended(threads, lambda: [len(reader.had) for reader in readers])
    finally:
        for scene in scenes:
            scene.stop.set()
            scene.drain.set()
        for reader in readers:
            reader.wanted = 0
        for thread in threads:
            thread.join(DEADLINE)
    no_failures(scenes)
    check(log, posters, readers)
    for process in processes:
        check_log(process, posters, 0 if harm is cut else 1 if servers > 1 else _TIMES)


def keep_away(scenes: list[Scene], posters: list[Insistent]) -> None:
    """Return when each server has refused some posts, and when the database was away for long enough."""
    begun = time.monotonic()
    while True:
        for scene in scenes:
            refusals(scene, [poster for poster in posters if poster.scene is scene], 3)
        if time.monotonic() - begun >= _AWAY:
            return


def start_database(start_process: StartProcess, folder: Path, url: str, name: str = "data") -> Process:
    """Start a server on a database, of which a crash loses nothing. `name` is that of its data folder."""
    config = folder / "database.yaml"
    config.write_text(yaml.safe_dump({"database": url, "durability": "power"}))
    return start_process("--config", str(config), folder=folder / name)


def check_log(process: Process, posters: list[Insistent], least: int) -> None:
    """One line for each loss, `least` or more, and each end of it; no traceback or password; a sentence each time."""
    lost, back = process.log.count("database-lost"), process.log.count("database-reached")
    assert lost == back
    assert lost >= least
    assert lost <= 2 * _TIMES
    for sentence in {sentence for poster in posters for sentence in poster.sentences}:
        assert sentence in NOT_STORED, sentence
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
    assert refused.error == "Not stored: The server cannot reach its database now. Try again later."
    bob.send("nobody hears me")
    bob.expect("Not stored: The server cannot reach its database now. Try again later.")
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
