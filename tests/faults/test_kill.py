"""`kill -9` of the server at random moments under load: what was acknowledged is there once, and all see the same."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

import pytest

from tests.support.clients import Bulk, Json, Text
from tests.support.fixtures import StartProcess
from tests.support.load import Poster, Scene
from tests.support.postgres import shared_cluster
from tests.support.processes import Process
from tests.support.stores import PLACES
from tests.support.waiting import DEADLINE, ended, eventually, random_moment
from wire.frames import Delivered, Entry, Error, Gap, History, Join, Msg, Page, Ping, Pong, Say

KILLS = 20
_POSTERS, _READERS = 3, 3


class Listener:
    """Reads everything, and goes on after the last number that it has had."""

    def __init__(self, scene: Scene, at: int) -> None:
        self.name = f"reader{at}"
        self.had: dict[str, list[Entry]] = {}  # by channel or @sender
        self.wanted: dict[str, int] | None = None  # the last numbers, once they are known
        self._scene = scene

    def work(self) -> None:
        """One connection; returns when the last numbers have come."""
        since = {place: entries[-1].number for place, entries in self.had.items()}
        with Bulk(self._scene.address, self.name, since=since) as line:
            line.send(Join("lab"))
            while not self._complete():
                for frame in line.take(0.2):
                    assert not isinstance(frame, Error | Gap), frame
                    if isinstance(frame, Entry):
                        self._heard(frame)

    def _heard(self, entry: Entry) -> None:
        entries = self.had.setdefault(entry.channel or f"@{entry.sender}", [])
        if entries:
            assert entry.number == entries[-1].number + 1, f"{self.name}: {entry} after {entries[-1]}"
        entries.append(entry)

    def _complete(self) -> bool:
        wanted = self.wanted
        if wanted is None:
            return False
        return all(place in self.had and self.had[place][-1].number >= number for place, number in wanted.items())


@pytest.mark.parametrize("kind", PLACES)
def test_twenty_kills_under_load(start_process: StartProcess, kind: str) -> None:
    """On each database."""
    if kind == "postgres":
        cluster = shared_cluster()
        process = start_process("--database", cluster.socket_url(cluster.new_database()))
    else:
        process = start_process()
    scene = Scene(process.address)
    posters = [Poster(scene, at) for at in range(_POSTERS)]
    readers = [Listener(scene, at) for at in range(_READERS)]
    with Bulk(process.address, "founder") as founder:
        founder.send(Join("lab"))
        for reader in readers:
            with Bulk(process.address, reader.name) as line:
                line.send(Join("lab"), Ping(ref="joined"))
                while not any(isinstance(frame, Pong) for frame in line.take()):
                    pass
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


def progress(scene: Scene, posters: list[Poster], posts: int) -> None:
    """Wait until so many more posts are acknowledged."""
    aim = acknowledged(posters) + posts
    eventually(
        lambda: acknowledged(posters) >= aim or bool(scene.failures),
        lambda: f"{acknowledged(posters)} of {aim} posts are acknowledged",
    )
    assert not scene.failures, scene.failures


def acknowledged(posters: list[Poster]) -> int:
    return sum(len(poster.numbers) for poster in posters)


def _kill_and_start(process: Process, scene: Scene) -> None:
    scene.up.clear()
    process.restart()
    scene.up.set()


def read_all(address: str) -> list[Entry]:
    """The whole channel, page by page."""
    entries: list[Entry] = []
    with Bulk(address, "auditor") as line:
        while True:
            line.send(History(channel="lab", after=len(entries), limit=1_000, ref="page"))
            page = next(frame for frames in iter(line.take, None) for frame in frames if isinstance(frame, Page))
            if not page.entries:
                assert page.tail == len(entries)
                return entries
            entries += page.entries


def check_log(log: list[Entry], posters: list[Poster]) -> None:
    assert [entry.number for entry in log] == list(range(1, len(log) + 1)), "numbers without a gap"
    by_id = {entry.id: entry for entry in log}
    assert len(by_id) == len(log), "no post is there twice"
    said = 0
    for poster in posters:
        assert poster.numbers.keys() == poster.posts.keys()
        for id, post in poster.posts.items():
            if isinstance(post, Say):
                said += 1
                entry = by_id[id]
                assert (entry.number, entry.text, entry.sender) == (poster.numbers[id], post.text, poster.name)
    assert said == len(log), "nothing is there that nobody said"


def check_readers(
    log: list[Entry], posters: list[Poster], readers: list[Listener], threads: list[threading.Thread]
) -> None:
    private = {
        f"@{poster.name}": sorted(poster.numbers[id] for id, post in poster.posts.items() if isinstance(post, Msg))
        for poster in posters
    }
    for reader in readers:
        wanted = {"lab": len(log)}
        if reader.name == "reader0":
            wanted |= {place: numbers[-1] for place, numbers in private.items()}
        reader.wanted = wanted
    ended(threads, lambda: [sum(map(len, reader.had.values())) for reader in readers])
    for reader in readers:
        assert reader.had["lab"] == log, f"{reader.name} has another list"
    for place, numbers in private.items():
        assert numbers == list(range(1, len(numbers) + 1))
        assert [entry.number for entry in readers[0].had[place]] == numbers


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
