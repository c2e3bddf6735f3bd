"""The network between one of two servers and the database hangs, under load.

That server refuses posts with a sentence, and its people go on at the other server, which notices nothing. When the
network is back, nothing is there twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from tests.support.clients import Bulk, Json
from tests.support.database_load import NOT_STORED, Insistent, Reader, check, no_failures, progress
from tests.support.database_proxy import DatabaseProxy
from tests.support.load import Scene, join_lab, read_all
from tests.support.long_runs import times
from tests.support.postgres import shared_cluster
from tests.support.processes import Process
from tests.support.waiting import DEADLINE, ended, eventually
from wire.frames import Entry, Error, Hello, Join, Say, Stored, Welcome

TIMES = times("CAMPAIGN_OUTAGES", 1)
_WINDOW = 10  # posts that a mover has on their way


class Mover:
    """Posts with ids at one server; when that refuses a post, it goes to the next one, with all that is not stored."""

    def __init__(self, scenes: list[Scene], at: int) -> None:
        self.name = f"mover{at}"
        self.numbers: dict[str, int] = {}  # by id, as acknowledged
        self.sentences: set[str] = set()
        self.moved = 0
        self.leave = False  # go to the next server without a reason
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
        """Return False if the server refuses posts, or if the mover is to leave."""
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
                self.leave = True
        if self.leave:
            self.leave = False
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
def processes(proxy: DatabaseProxy, tmp_path: Path) -> Iterator[list[Process]]:
    """Two servers on one database, the first one by the proxy; killed afterwards."""
    cluster = shared_cluster()
    name = cluster.new_database()
    config = tmp_path / "lag.yaml"
    config.write_text(f"limits: {{lag: {1 << 30}}}")  # a reader of the first server gets all of it afterwards
    made = [Process(tmp_path / "far", "--database", cluster.url(name, proxy.port), "--config", str(config))]
    made.append(Process(tmp_path / "near", "--database", cluster.socket_url(name)))
    yield made
    for process in made:
        process.kill()
    cluster.drop_database(name)


class Everyone:
    """The people of both servers, and their threads; a context manager that ends them."""

    def __init__(self, far: Scene, near: Scene) -> None:
        self.scenes = [far, near]
        self.movers = [Mover(self.scenes, at) for at in range(2)]
        self.posters = [Insistent(near, at) for at in range(2)]
        self.readers = [Reader(near, 0), Reader(far, 1)]
        self.writers: list[Any] = [*self.movers, *self.posters]
        join_lab(near.address, *[reader.name for reader in self.readers])
        self._writing = [far.run(mover.work, mover.name) for mover in self.movers]
        self._writing += [near.run(poster.work, poster.name) for poster in self.posters]
        self._reading = [reader.scene.run(reader.work, reader.name) for reader in self.readers]

    def progress(self) -> None:
        """Wait until everybody goes on."""
        progress(self.scenes, self.writers, 200)

    def wait_until_at(self, scene: Scene, *, recalled: bool = False) -> None:
        """Wait until each mover is at that server: by itself, or because it is `recalled`."""

        def there() -> bool:
            for mover in self.movers:
                mover.leave |= recalled and mover.place is not scene
            return all(mover.place is scene for mover in self.movers) or any(each.failures for each in self.scenes)

        eventually(there, lambda: f"{[mover.moved for mover in self.movers]} moves")
        no_failures(self.scenes)

    def drain(self) -> list[Entry]:
        """Wait until all is stored and read. Return the channel."""
        for scene in self.scenes:
            scene.drain.set()
        ended(self._writing, lambda: [len(each.numbers) for each in self.writers])
        no_failures(self.scenes)
        log = read_all(self.scenes[1].address, sum(len(each.numbers) for each in self.writers))
        for reader in self.readers:
            reader.wanted = len(log)
        ended(self._reading, lambda: [len(reader.had) for reader in self.readers])
        return log

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for scene in self.scenes:
            scene.stop.set()
            scene.drain.set()
        for reader in self.readers:
            reader.wanted = 0
        for thread in (*self._writing, *self._reading):
            thread.join(DEADLINE)


@pytest.mark.parametrize("late", [False, True], ids=["lost", "late"])
def test_people_go_elsewhere_when_the_network_of_their_server_hangs(
    processes: list[Process], proxy: DatabaseProxy, late: bool
) -> None:
    """`late`: what was on its way arrives in the end; else it is lost."""
    far, near = processes
    with Everyone(Scene(far.address), Scene(near.address)) as people:
        for _ in range(TIMES):
            people.progress()
            proxy.stall()
            people.wait_until_at(people.scenes[1])
            people.progress()
            proxy.resume() if late else proxy.go_on()
            wait_until_back(far.address)
            people.wait_until_at(people.scenes[0], recalled=True)
        log = people.drain()
    no_failures(people.scenes)
    check(log, people.writers, people.readers)
    assert not sum(poster.refused for poster in people.posters), "the other server notices nothing"
    for sentence in {sentence for mover in people.movers for sentence in mover.sentences}:
        assert sentence in NOT_STORED, sentence
    for process in processes:
        assert "Traceback" not in process.log, process.log
    assert "database-lost" not in near.log


def wait_until_back(address: str) -> None:
    """Return when a server reaches the database again."""

    def serves() -> bool:
        with Json(address) as prober:
            return isinstance(prober.request(Hello(name="prober")), Welcome)

    eventually(serves, lambda: "the server does not come back")
