"""For the tests that take the database away: who posts and reads all the while on one connection, and the checks."""

from __future__ import annotations

from collections.abc import Sequence

from tests.support.clients import Bulk
from tests.support.load import Scene
from tests.support.waiting import eventually
from wire.frames import Entry, Error, Gap, Join, Say, Stored

NOT_STORED = {  # what users are told: no word of the database's place
    "Not stored: The server cannot reach its database now. Try again later.",
    "Not stored: The server has lost its database, which may have stored this all the same.",
}
_WINDOW = 20  # posts that a poster has on their way


class Insistent:
    """Posts with ids, and posts again what was refused, all on one connection."""

    def __init__(self, scene: Scene, at: int) -> None:
        self.name = f"poster{at}"
        self.numbers: dict[str, int] = {}  # by id, as acknowledged
        self.refused = 0
        self.sentences: set[str] = set()
        self.scene = scene
        self._open: set[str] = set()
        self._count = 0

    def work(self) -> None:
        """Post until `drain`, and return when all is acknowledged. Raises Gone if the connection ends."""
        with Bulk(self.scene.address, self.name, since={"lab": 1 << 40}) as line:
            line.send(Join("lab"))
            while self._open or not self.scene.drain.is_set():
                while not self.scene.drain.is_set() and len(self._open) < _WINDOW:
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
        self.scene = scene

    def work(self) -> None:
        """Return when `wanted` entries have come. Raises Gone if the connection ends."""
        with Bulk(self.scene.address, self.name, since={"lab": 0}) as line:
            line.send(Join("lab"))
            while self.wanted is None or len(self.had) < self.wanted:
                for frame in line.take(0.2):
                    assert not isinstance(frame, Error | Gap), frame
                    if isinstance(frame, Entry):
                        assert frame.number == len(self.had) + 1, f"{frame} after {len(self.had)}"
                        self.had.append(frame)


def no_failures(scenes: Sequence[Scene]) -> None:
    """Assert that nothing has failed."""
    failures = [failure for scene in scenes for failure in scene.failures]
    assert not failures, failures


def progress(scenes: Sequence[Scene], posters: Sequence[Insistent], posts: int) -> None:
    """Wait until so many more posts are acknowledged, and one of each poster at least."""
    aim = sum(len(poster.numbers) for poster in posters) + posts
    eventually(
        lambda: (
            (sum(len(poster.numbers) for poster in posters) >= aim and all(poster.numbers for poster in posters))
            or any(scene.failures for scene in scenes)
        ),
        lambda: f"{[len(poster.numbers) for poster in posters]} posts of {aim}",
    )
    no_failures(scenes)


def refusals(scene: Scene, posters: Sequence[Insistent], count: int) -> None:
    """Wait until so many more posts are refused."""
    aim = sum(poster.refused for poster in posters) + count
    eventually(
        lambda: sum(poster.refused for poster in posters) >= aim or bool(scene.failures),
        lambda: f"{[poster.refused for poster in posters]} of {aim} refusals",
    )
    no_failures([scene])


def check(log: list[Entry], posters: Sequence[Insistent], readers: Sequence[Reader]) -> None:
    """Every acknowledged post is there once under its number, and nothing else; the readers have had the same."""
    assert [entry.number for entry in log] == list(range(1, len(log) + 1))
    wanted = {id: number for poster in posters for id, number in poster.numbers.items()}
    found = {entry.id: entry.number for entry in log}
    assert found == wanted, sorted(found.items() ^ wanted.items(), key=str)[:9]
    assert len(wanted) == len(log)
    for reader in readers:
        assert reader.had == log
