"""`kill -9` of the server that runs the mirror, one of three on a database, under load.

Another one takes over each time. What the broker acknowledged is in the log, and all that is in the log was on the
broker, in order.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.brokers import Broker, StartBroker
from tests.support.clients import Json
from tests.support.load import Poster, Scene
from tests.support.long_runs import times
from tests.support.mirror_load import Publisher, Subscriber, audit, check, wait_for_entries
from tests.support.postgres import shared_cluster
from tests.support.processes import Process
from tests.support.waiting import DEADLINE, eventually, random_moment
from wire.frames import Status

KILLS = times("CAMPAIGN_MIRROR_KILLS", 3)
WITHIN = 5.0  # seconds until another server runs the mirror


@pytest.fixture
def broker(start_broker: StartBroker) -> Broker:
    """A broker."""
    return start_broker("mosquitto")


@pytest.fixture
def processes(broker: Broker, tmp_path: Path) -> Iterator[list[Process]]:
    """Three servers on one database, all with that broker; killed afterwards."""
    cluster = shared_cluster()
    name = cluster.new_database()
    with ExitStack() as started:
        made: list[Process] = []
        for at in range(3):
            made.append(
                Process(tmp_path / f"server{at}", "--database", cluster.socket_url(name), "--broker", broker.url)
            )
            started.callback(made[-1].kill)
        yield made
    cluster.drop_database(name)


class Watch:
    """Asks the servers which of them runs the mirror."""

    def __init__(self, processes: list[Process]) -> None:
        self._processes = processes
        self._lines: dict[int, Json] = {}

    def runs(self) -> Process | None:
        """Return the server that runs the mirror and is connected to the broker, as far as those say that live."""
        for at, process in enumerate(self._processes):
            try:
                if at not in self._lines:
                    self._lines[at] = Json(process.address, f"watch{at}")
                if self._lines[at].request(Status()).bridge.connected:
                    return process
            except (AssertionError, OSError):
                self._lines.pop(at, None)
        return None

    def wait(self) -> Process:
        """Return that server once there is one."""
        eventually(lambda: self.runs() is not None, lambda: "no server runs the mirror")
        found = self.runs()
        assert found is not None
        return found

    def close(self) -> None:
        """Ask no more."""
        for line in self._lines.values():
            line.close()


def test_kills_of_the_server_that_runs_the_mirror(processes: list[Process], broker: Broker) -> None:
    outside = Scene(broker.address)
    inside = [Scene(process.address) for process in processes]
    subscriber = Subscriber(outside, 0)
    listening = outside.run(subscriber.work, subscriber.name)
    assert subscriber.ready.wait(DEADLINE)
    publishers = [Publisher(outside, at) for at in range(4)]
    posters = [Poster(scene, at) for at, scene in enumerate(inside)]
    threads = [outside.run(each.work, each.name) for each in publishers]
    threads += [scene.run(each.work, each.name) for scene, each in zip(inside, posters, strict=True)]
    watch = Watch(processes)
    gaps: list[float] = []
    try:
        for _ in range(KILLS):
            victim = watch.wait()
            wait_for_entries(victim.address, random.randint(100, 400))
            random_moment()
            gaps.append(_kill(victim, processes, inside, watch))
        for scene in (outside, *inside):
            scene.drain.set()
        logs = audit(watch.wait().address, publishers, posters, subscriber, threads, listening)
    finally:
        for scene in (outside, *inside):
            scene.stop.set()
            scene.drain.set()
        watch.close()
        for process in processes:
            process.kill()
        for thread in (*threads, listening):
            thread.join(DEADLINE)
    failures = [failure for scene in (outside, *inside) for failure in scene.failures]
    assert not failures, failures
    check(logs, publishers, subscriber)
    print(f"taken over after {sorted(round(gap, 2) for gap in gaps)} seconds")
    assert max(gaps) < WITHIN
    for process in processes:
        assert "Traceback" not in process.log, process.log
        assert "mirror-user-dropped" not in process.log, process.log


def _kill(victim: Process, processes: list[Process], scenes: list[Scene], watch: Watch) -> float:
    """Kill a server, whose people go on at another one. Return the seconds until another one runs the mirror."""
    other = random.choice([process for process in processes if process is not victim])
    for scene in scenes:
        if scene.address == victim.address:
            scene.address = other.address
    victim.kill()
    begun = time.monotonic()
    watch.wait()
    taken = time.monotonic() - begun
    victim.start()
    return taken
