"""The databases that the contract tests run on: one place for a store each."""

from __future__ import annotations

import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path

from store import LogRow, NewPosts, Store, open_store
from tests.support.postgres import shared_cluster
from wire.frames import Msg, Say
from wire.names import fold

NOW = 1_790_000_000_000  # milliseconds since 1970


class Place(ABC):
    """A place for one store: empty at first, opened as often as a test likes, and removed at its end."""

    _store: Store | None = None
    counts = False  # the journal counts the entries of all logs without a gap

    def open(self) -> Store:
        """Open the store in this place; close the one that was opened before."""
        self.close()
        self._store = self._open()
        return self._store

    def close(self) -> None:
        """Close the store, if it is open."""
        if self._store is not None:
            self._store.close()
            self._store = None

    @abstractmethod
    def _open(self) -> Store: ...

    @abstractmethod
    def clear(self) -> None:
        """Close the store and remove everything."""


class SqlitePlace(Place):
    """A folder."""

    counts = True

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="partyline-store-"))

    def _open(self) -> Store:
        return open_store(self.folder)

    def clear(self) -> None:
        """Close the store and remove the folder."""
        self.close()
        shutil.rmtree(self.folder)


class PostgresPlace(Place):
    """A database of the test run's cluster, and a folder for the bytes of files."""

    def __init__(self) -> None:
        self.cluster = shared_cluster()
        self.name = self.cluster.new_database()
        self.folder = Path(tempfile.mkdtemp(prefix="partyline-store-"))
        self._further: list[Store] = []

    @property
    def url(self) -> str:
        """The database's URL."""
        return self.cluster.socket_url(self.name)

    def _open(self) -> Store:
        return open_store(self.url, folder=self.folder)

    def open_another(self, folder: Path | None = None) -> Store:
        """Open the store once more, as another server does, beside the one that is open."""
        self._further.append(open_store(self.url, folder=folder or self.folder))
        return self._further[-1]

    def clear(self) -> None:
        """Close the stores and remove the database and the folder."""
        self.close()
        for store in self._further:
            store.close()
        self.cluster.drop_database(self.name)
        shutil.rmtree(self.folder)


PLACES: dict[str, Callable[[], Place]] = {"sqlite": SqlitePlace, "postgres": PostgresPlace}


def posting(log: LogRow, sender: str, *posts: str | tuple[str, str | None]) -> NewPosts:
    """Return posts of one sender to one log; a post is a text, or a text with an id."""
    pairs = [(post, None) if isinstance(post, str) else post for post in posts]
    made: Sequence[Say | Msg]
    if log.is_channel:
        made = [Say(text, log.name, id) for text, id in pairs]
    else:
        made = [Msg(log.other, text, id) for text, id in pairs]
    return NewPosts(log, fold(sender), sender, made)


def texts(store: Store, log: LogRow) -> list[str]:
    """Return the texts of all entries of a log, whose numbers must have no gap."""
    entries = store.read(log, 0, 1_000_000)
    assert [entry.number for entry in entries] == list(range(1, len(entries) + 1))
    return [entry.text for entry in entries]
