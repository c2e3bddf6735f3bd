"""Fixtures of the tests of several servers: servers inside this process that share one store.

A test runs on SQLite, with the contract of servers as function calls, and on PostgreSQL. One that breaks something
between the servers has the fixture `site`, and runs on the first only.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from server import Config, Server
from store import Durability, Store, open_store
from tests.conftest import THREADS
from tests.support.limits import without_rates
from tests.support.servers import LocalSite, SharedStore
from tests.support.stores import PostgresPlace, WatchedStore
from wire.limits import Limits

StartServers = Callable[..., list[Server]]
OpenStore = Callable[[Path], Store]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Choose the databases of a test."""
    if "database_kind" in metafunc.fixturenames:
        local = "site" in inspect.signature(metafunc.function).parameters
        metafunc.parametrize("database_kind", ["local"] if local else ["local", "postgres"])


@pytest.fixture
def site(tmp_path: Path) -> Iterator[LocalSite]:
    """The store and the ring that the servers of a test share."""
    base = open_store(tmp_path / "data")
    yield LocalSite(base)
    base.close()


@pytest.fixture
def open_shared(request: pytest.FixtureRequest, database_kind: str) -> Iterator[OpenStore]:
    """Open the store as one more server does."""
    if database_kind == "local":
        site: LocalSite = request.getfixturevalue("site")

        def open_local(folder: Path) -> Store:
            servers = site.server()
            return cast("Store", SharedStore(site.store, servers, servers.close, folder))

        yield open_local
        return
    place = PostgresPlace()
    place.open()
    yield place.open_another
    place.clear()


@pytest.fixture
def start_servers(open_shared: OpenStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StartServers]:
    """Start servers that share one store: `start_servers(3, limits=Limits(…), address="…")`; closed afterwards."""
    started: list[Server] = []

    def watched(
        url: str | Path, durability: Durability = "process", *, folder: Path | None = None, alone: bool = False
    ) -> Store:
        assert folder is not None
        return cast("Store", WatchedStore(open_shared(folder)))

    monkeypatch.setattr("server.open_store", watched)

    def start(count: int, limits: Limits = Limits(), **settings: Any) -> list[Server]:  # noqa: B008 - it is frozen
        settings = {"data": str(tmp_path / "data"), **settings}
        config = Config(port=0, mqtt_port=0, limits=without_rates(limits), **settings)
        started.extend(Server(config) for _ in range(count))
        return started[-count:]

    yield start
    for server in started:
        server.close()
    threads = [name for name in THREADS if name != "store-checkpointer"]
    left = [each.name for each in threading.enumerate() if each.name.startswith(tuple(threads))]
    assert not left, f"threads that outlived their server: {left}"
