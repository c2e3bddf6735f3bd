"""Several `server.py` on one PostgreSQL are one chat, also when one of them is killed under load."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.clients import Json
from tests.support.load import (
    Listener,
    Poster,
    Scene,
    acknowledged,
    check_log,
    check_readers,
    join_lab,
    progress,
    read_all,
    said,
)
from tests.support.long_runs import times
from tests.support.postgres import shared_cluster
from tests.support.processes import Process
from tests.support.waiting import DEADLINE, ended, eventually, random_moment
from wire.frames import Closing, Entry, Hello, Join, Msg, Presence, Say, Welcome

Connect = Callable[..., Json]
KILLS = times("CAMPAIGN_KILLS", 5)
DEATHS = times("CAMPAIGN_KILLS", 1)


@pytest.fixture
def url() -> Iterator[str]:
    """The URL of an empty database."""
    cluster = shared_cluster()
    name = cluster.new_database()
    yield cluster.socket_url(name)
    cluster.drop_database(name)


@pytest.fixture
def start(url: str, tmp_path: Path) -> Iterator[Callable[[int], list[Process]]]:
    """Start so many servers on one database; killed afterwards."""
    started: list[Process] = []

    def make(count: int) -> list[Process]:
        started.extend(Process(tmp_path / f"server{at}", "--database", url) for at in range(count))
        return started

    yield make
    for process in started:
        process.kill()


def test_three_servers_are_one_chat(start: Callable[[int], list[Process]], connect: Connect) -> None:
    one, other, third = start(3)
    alice, bob, carol = [
        connect(process.address, name)
        for process, name in zip((one, other, third), ("alice", "bob", "carol"), strict=True)
    ]
    for client in (alice, bob, carol):
        client.request(Join("lab"))
    for number, client in enumerate((alice, bob, carol), 1):
        assert client.request(Say(f"number {number}", "lab")).number == number
        for each in (alice, bob, carol):
            each.expect(Entry, lambda entry: entry.number == number)  # noqa: B023
    assert not alice.request(Msg("carol", "hello")).away
    assert carol.expect(Entry, lambda entry: entry.to == "carol").text == "hello"
    again = connect(other.address)
    assert again.request(Hello(name="alice")).code == "name-taken"
    assert isinstance(again.request(Hello(name="alice", token=alice.welcome.token)), Welcome)
    assert alice.expect(Closing).code == "replaced"
    again.close()
    assert bob.expect(Presence, lambda each: each.what == "offline").user == "alice"
    assert carol.expect(Presence, lambda each: each.what == "offline").user == "alice"


def test_the_names_of_a_killed_server_are_free_within_two_seconds(
    start: Callable[[int], list[Process]], connect: Connect
) -> None:
    one, other = start(2)
    bob = connect(other.address, "bob")
    bob.request(Join("lab"))
    up = "SELECT now() - pg_postmaster_start_time() > interval '5 seconds'"  # before, nobody is taken for dead
    eventually(lambda: bool(shared_cluster().sql(up)[0][0]), lambda: "PostgreSQL has just started")
    taken: list[float] = []
    for _ in range(DEATHS):
        alice = connect(one.address, "alice")
        alice.request(Join("lab"))
        bob.expect(Presence, lambda each: each.what in ("online", "join"))
        one.kill()
        begun = time.monotonic()
        assert bob.expect(Presence, lambda each: each.what == "offline").user == "alice"
        again = connect(other.address, "alice")
        assert again.welcome
        taken.append(time.monotonic() - begun)
        bob.expect(Presence, lambda each: each.what == "online")
        again.close()
        assert bob.expect(Presence, lambda each: each.what == "offline").user == "alice"
        one.start()
    print(f"the name is free after {sorted(round(each, 2) for each in taken)} seconds")
    assert max(taken) < 2.0
    assert connect(one.address, "carol").welcome
    assert "Traceback" not in one.log + other.log


def test_kills_of_one_of_three_servers_under_load(start: Callable[[int], list[Process]]) -> None:
    """Each client goes on at another server; what was acknowledged is there once, and all see the same."""
    processes = start(3)
    scenes = [Scene(process.address) for process in processes]
    posters = [Poster(scene, at) for at, scene in enumerate(scenes)]
    readers = [Listener(scene, at) for at, scene in enumerate(scenes)]
    join_lab(processes[0].address, "founder", *[reader.name for reader in readers])
    threads = [scene.run(poster.work, poster.name) for scene, poster in zip(scenes, posters, strict=True)]
    threads += [scene.run(reader.work, reader.name) for scene, reader in zip(scenes, readers, strict=True)]
    try:
        for _ in range(KILLS):
            progress(scenes[0], posters, random.randint(100, 800))
            random_moment()
            _kill_one(processes, scenes)
        progress(scenes[0], posters, 300)
        for scene in scenes:
            scene.drain.set()
        ended(threads[: len(posters)], lambda: acknowledged(posters))
        log = read_all(processes[0].address, said(posters))
        check_log(log, posters)
        check_readers(log, posters, readers, threads[len(posters) :])
    finally:
        for scene in scenes:
            scene.stop.set()
            scene.drain.set()
        for process in processes:
            process.kill()
        for thread in threads:
            thread.join(DEADLINE)
    assert not [failure for scene in scenes for failure in scene.failures]
    assert not [process.log for process in processes if "Traceback" in process.log]


def _kill_one(processes: list[Process], scenes: list[Scene]) -> None:
    """Kill one of the servers; its clients go on at another one, before it is started again."""
    victim, other = random.sample(processes, 2)
    for scene in scenes:
        if scene.address == victim.address:
            scene.address = other.address
    victim.restart()
