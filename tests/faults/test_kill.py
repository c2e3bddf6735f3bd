"""`kill -9` of the server at random moments under load: what was acknowledged is there once, and all see the same."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tests.support.clients import Json, Text
from tests.support.fixtures import StartProcess
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
)
from tests.support.long_runs import times
from tests.support.postgres import shared_cluster
from tests.support.processes import Process
from tests.support.stores import PLACES
from tests.support.waiting import DEADLINE, ended, random_moment
from wire.frames import Delivered, Msg

KILLS = times("CAMPAIGN_KILLS", 10)
_POSTERS, _READERS = 3, 3


@pytest.mark.parametrize("kind", PLACES)
def test_kills_under_load(start_process: StartProcess, kind: str) -> None:
    """On each database."""
    if kind == "postgres":
        cluster = shared_cluster()
        process = start_process("--database", cluster.socket_url(cluster.new_database()))
    else:
        process = start_process()
    scene = Scene(process.address)
    posters = [Poster(scene, at) for at in range(_POSTERS)]
    readers = [Listener(scene, at) for at in range(_READERS)]
    join_lab(process.address, "founder", *[reader.name for reader in readers])
    threads = [scene.run(poster.work, poster.name) for poster in posters]
    threads += [scene.run(reader.work, reader.name) for reader in readers]
    try:
        for _ in range(KILLS):
            progress(scene, posters, random.randint(100, 1_500))
            random_moment()
            _kill_and_start(process, scene)
        progress(scene, posters, 300)
        scene.drain.set()
        ended(threads[:_POSTERS], lambda: acknowledged(posters))
        assert not scene.failures, scene.failures
        log = read_all(process.address)
        check_log(log, posters)
        check_readers(log, posters, readers, threads[_POSTERS:])
    finally:
        scene.stop.set()
        scene.drain.set()
        process.kill()
        for thread in threads:
            thread.join(DEADLINE)
    assert not scene.failures, scene.failures
    assert "Traceback" not in process.log, process.log


def _kill_and_start(process: Process, scene: Scene) -> None:
    scene.up.clear()
    process.restart()
    scene.up.set()


def test_who_only_reads_does_not_see_it_again(
    process: Process, connect: Callable[..., Json], dial: Callable[..., Text]
) -> None:
    """A person at nc who has not typed a word since: what came some seconds ago counts as read."""
    alice, bob = connect(process.address, "alice"), dial(process.address, "bob")
    for n in range(3):
        alice.request(Msg("bob", f"old {n}"))
    bob.expect("alice -> bob: old 2")
    alice.expect(Delivered, lambda frame: frame.number == 3)
    process.restart()
    alice, bob = connect(process.address, "alice"), dial(process.address, "bob")
    alice.request(Msg("bob", "new"))
    assert bob.expect("alice -> bob").endswith("new")
