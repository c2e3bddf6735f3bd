"""The network between one of two servers and the database hangs, under load.

That server refuses posts with a sentence, and its people go on at the other server, which notices nothing. When the
network is back, nothing is there twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from channels.chat import SEVERAL
from tests.support.clients import Bulk, Json
from tests.support.database_load import Insistent, Reader, check, no_failures, progress
from tests.support.database_proxy import DatabaseProxy
from tests.support.load import Scene, join_lab, read_all
from tests.support.long_runs import times
from tests.support.postgres import shared_cluster
from tests.support.processes import Process
from tests.support.waiting import DEADLINE, ended, eventually
from wire.frames import Error, Hello, Join, Say, Stored, Welcome

TIMES = times("CAMPAIGN_OUTAGES", 1)
_WINDOW = 10  # posts that a mover has on their way


class Mover:
    """Posts with ids at one server; when that refuses a post, it goes to the next one, with all that is not stored."""

    def __init__(self, scenes: list[Scene], at: int) -> None:
        self.name = f"mover{at}"
        self.numbers: dict[str, int] = {}  # by id, as acknowledged
        self.sentences: set[str] = set()
        self.moved = 0
        self._places = scenes
        self._open: set[str] = set()
        self._count = 0

    @property
    def place(self) -> Scene:
        """The scene of the server that it uses."""
        return self._places[self.moved % len(self._places)]

    def work(self) -> None:
        """Post until `drain`, and return when all is acknowledged."""
        while self._open or not self._places[0].drain.is_set():
            with Bulk(self.place.address, self.name, since={"lab": 1 << 40}) as line:
                line.send(Join("lab"), *map(self._post, sorted(self._open)))
                while (self._open or not self._places[0].drain.is_set()) and self._go_on(line):
                    pass

    def _go_on(self, line: Bulk) -> bool:
        """Return False if the server refuses posts."""
        while not self._places[0].drain.is_set() and len(self._open) < _WINDOW:
            self._count += 1
            line.send(self._post(f"{self.name}-{self._count}"))
        for frame in line.take():
            if isinstance(frame, Stored):
                assert frame.id is not None
                assert self.numbers.setdefault(frame.id, frame.number) == frame.number, f"{frame.id} has two numbers"
                self._open.discard(frame.id)
            elif isinstance(frame, Error):
                assert frame.code == "not-stored", frame
                self.sentences.add(frame.error)
                self.moved += 1
                return False
        return True

    def _post(self, id: str) -> Say:
        self._open.add(id)
        return Say(f"text of {id}", "lab", id, ref=id)


@pytest.fixture
def proxy() -> Iterator[DatabaseProxy]:
    """The network between one server and the database."""
    with DatabaseProxy(shared_cluster().port) as made:
        yield made


@pytest.fixture
def processes(proxy: DatabaseProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Process]]:
    """Two servers on one database, the first one by the proxy; killed afterwards."""
    monkeypatch.setenv(SEVERAL, "1")
    cluster = shared_cluster()
    name = cluster.new_database()
    made = [Process(tmp_path / "far", "--database", cluster.url(name, proxy.port))]
    made.append(Process(tmp_path / "near", "--database", cluster.socket_url(name)))
    yield made
    for process in made:
        process.kill()
    cluster.drop_database(name)


@pytest.mark.parametrize("late", [False, True], ids=["lost", "late"])
def test_people_go_elsewhere_when_the_network_of_their_server_hangs(
    processes: list[Process], proxy: DatabaseProxy, late: bool
) -> None:
    """`late`: what was on its way arrives in the end; else it is lost."""
    far, near = scenes = [Scene(process.address) for process in processes]
    movers = [Mover([far, near], at) for at in range(2)]
    posters = [Insistent(near, at) for at in range(2)]
    readers = [Reader(near, 0), Reader(far, 1)]
    join_lab(near.address, *[reader.name for reader in readers])
    threads = [far.run(mover.work, mover.name) for mover in movers]
    threads += [near.run(poster.work, poster.name) for poster in posters]
    reading = [reader.scene.run(reader.work, reader.name) for reader in readers]
    everyone: list[Any] = [*movers, *posters]
    try:
        for _ in range(TIMES):
            progress(scenes, everyone, 200)
            before = [mover.moved for mover in movers]
            there = [mover.place is far for mover in movers]
            proxy.stall()
            if any(there):
                eventually(
                    lambda: (
                        all(
                            mover.moved > count or not was_there
                            for mover, count, was_there in zip(movers, before, there, strict=True)  # noqa: B023
                        )
                        or any(scene.failures for scene in scenes)
                    ),
                    lambda: f"{[mover.moved for mover in movers]} moves",
                )
            progress(scenes, everyone, 200)
            proxy.resume() if late else proxy.go_on()
            no_failures(scenes)
            wait_until_back(far.address)
        for scene in scenes:
            scene.drain.set()
        ended(threads, lambda: [len(each.numbers) for each in everyone])
        no_failures(scenes)
        log = read_all(near.address, sum(len(each.numbers) for each in everyone))
        for reader in readers:
            reader.wanted = len(log)
        ended(reading, lambda: [len(reader.had) for reader in readers])
    finally:
        for scene in scenes:
            scene.stop.set()
            scene.drain.set()
        for reader in readers:
            reader.wanted = 0
        proxy.go_on()
        for thread in (*threads, *reading):
            thread.join(DEADLINE)
    no_failures(scenes)
    check(log, everyone, readers)
    assert not sum(poster.refused for poster in posters), "the other server notices nothing"
    for sentence in {sentence for mover in movers for sentence in mover.sentences}:
        assert re.fullmatch(r"Not stored: The database cannot be reached: .*\.", sentence), sentence
    for process in processes:
        assert "Traceback" not in process.log, process.log
    assert "database-lost" not in processes[1].log


def wait_until_back(address: str) -> None:
    """Return when a server reaches the database again."""

    def serves() -> bool:
        with Json(address) as prober:
            return isinstance(prober.request(Hello(name="prober")), Welcome)

    eventually(serves, lambda: "the server does not come back")
