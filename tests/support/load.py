"""For the tests that kill something under load: their threads, who post and read, and the checks of what was kept."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from itertools import count

from tests.support.clients import Bulk, Gone
from tests.support.waiting import DEADLINE, ended, eventually
from wire.frames import Entry, Error, Gap, History, Join, Msg, Page, Ping, Pong, Say, Stored

_WINDOW = 30  # posts that one poster has on their way


class Scene:
    """State that all threads of a test share: is the server up, when to stop, which errors occurred."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.up = threading.Event()
        self.up.set()
        self.drain = threading.Event()  # post nothing new
        self.stop = threading.Event()
        self.failures: list[BaseException] = []

    def run(self, work: Callable[[], None], name: str) -> threading.Thread:
        """Start a thread that does `work` on one connection after another, until that returns."""

        def keep_on() -> None:
            while not self.stop.is_set():
                self.up.wait(DEADLINE)
                try:
                    work()
                    return
                except Gone:
                    continue
                except BaseException as error:
                    self.failures.append(error)
                    return

        thread = threading.Thread(target=keep_on, name=name)
        thread.start()
        return thread


class Poster:
    """Posts with ids to the channel and to a reader; sends what was not acknowledged again on the next connection."""

    def __init__(self, scene: Scene, at: int) -> None:
        self.name = f"poster{at}"
        self.numbers: dict[str, int] = {}  # by id, as acknowledged
        self.posts: dict[str, Say | Msg] = {}
        self._scene = scene
        self._open: dict[str, Say | Msg] = {}
        self._fresh = count()

    def work(self) -> None:
        """One connection; returns when all is acknowledged after `drain`."""
        scene = self._scene
        with Bulk(scene.address, self.name, since={"lab": 1 << 40}) as line:
            line.send(Join("lab"), *self._open.values())
            while self._open or not scene.drain.is_set():
                if not scene.drain.is_set() and len(self._open) < _WINDOW:
                    line.send(*[self._make() for _ in range(_WINDOW // 2)])
                for frame in line.take():
                    if isinstance(frame, Stored):
                        self._acknowledged(frame)
                    assert not isinstance(frame, Error), frame

    def _make(self) -> Say | Msg:
        id = f"{self.name}-{next(self._fresh)}"
        text = f"text of {id}"
        post = Msg("reader0", text, id, ref=id) if random.random() < 0.2 else Say(text, "lab", id, ref=id)
        self.posts[id] = self._open[id] = post
        return post

    def _acknowledged(self, frame: Stored) -> None:
        assert frame.id is not None
        assert self.numbers.setdefault(frame.id, frame.number) == frame.number, f"{frame.id} has two numbers"
        self._open.pop(frame.id, None)


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


def join_lab(address: str, *names: str) -> None:
    """Have each of these users join the channel."""
    for name in names:
        with Bulk(address, name) as line:
            line.send(Join("lab"), Ping(ref="joined"))
            while not any(isinstance(frame, Pong) for frame in line.take()):
                pass


def progress(scene: Scene, posters: list[Poster], posts: int) -> None:
    """Wait until so many more posts are acknowledged."""
    aim = acknowledged(posters) + posts
    eventually(
        lambda: acknowledged(posters) >= aim or bool(scene.failures),
        lambda: f"{acknowledged(posters)} of {aim} posts are acknowledged",
    )
    assert not scene.failures, scene.failures


def acknowledged(posters: list[Poster]) -> int:
    """Return how many posts are acknowledged."""
    return sum(len(poster.numbers) for poster in posters)


def said(posters: list[Poster]) -> int:
    """Return how many posts to the channel are acknowledged."""
    return sum(isinstance(poster.posts[id], Say) for poster in posters for id in poster.numbers)


def read_all(address: str, least: int = 0) -> list[Entry]:
    """Return the whole channel, page by page, once it has so many entries: another server hears of them later."""
    entries: list[Entry] = []
    with Bulk(address, "auditor") as line:
        eventually(lambda: _page(line, 0, 1).tail >= least, lambda: f"{_page(line, 0, 1).tail} of {least} entries")
        while (page := _page(line, len(entries), 1_000)).entries:
            entries += page.entries
    assert page.tail == len(entries)
    return entries


def _page(line: Bulk, after: int, limit: int) -> Page:
    line.send(History(channel="lab", after=after, limit=limit, ref="page"))
    return next(frame for frames in iter(line.take, None) for frame in frames if isinstance(frame, Page))


def check_log(log: list[Entry], posters: list[Poster]) -> None:
    """Assert that the channel has every acknowledged post once, under its number, and nothing else."""
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
    """Assert that all readers have the whole channel, and the first one its private messages."""
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
