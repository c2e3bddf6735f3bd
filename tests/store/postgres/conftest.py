"""The fixtures of the tests of PostgreSQL: an empty database, which two stores may have open."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from store import Store, StoreError, open_store
from store.contract import Durability
from tests.support.database_proxy import DatabaseProxy
from tests.support.postgres import Cluster, shared_cluster
from tests.support.stores import PostgresPlace

OpenStore = Callable[..., Store]


@pytest.fixture
def cluster() -> Cluster:
    """The cluster of this test run."""
    return shared_cluster()


@pytest.fixture
def place(cluster: Cluster) -> Iterator[PostgresPlace]:
    """An empty database."""
    made = PostgresPlace()
    yield made
    made.clear()


@pytest.fixture
def one(place: PostgresPlace) -> Store:
    """A store on an empty database."""
    return place.open()


@pytest.fixture
def other(one: Store, place: PostgresPlace) -> Store:
    """A second store on the same database, as another server has it."""
    return place.open_another()


@pytest.fixture
def proxy(cluster: Cluster) -> Iterator[DatabaseProxy]:
    """A proxy to the cluster."""
    with DatabaseProxy(cluster.port) as made:
        yield made


@pytest.fixture
def far(place: PostgresPlace, proxy: DatabaseProxy) -> Iterator[Store]:
    """A store whose connections go through the proxy, with a password."""
    durability: Durability = "process"
    store = open_store(place.cluster.url(place.name, proxy.port), durability, folder=place.folder)
    yield store
    store.close()


def refused(call: Callable[[], object]) -> str:
    """Return the sentence of the StoreError that a call raises."""
    with pytest.raises(StoreError) as raised:
        call()
    return str(raised.value)
