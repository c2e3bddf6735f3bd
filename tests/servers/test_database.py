"""Servers whose PostgreSQL ends their connections, or is away for a while: nobody is disconnected, and all goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from server import Server
from store import Store, open_store
from tests.servers.alike import Connect, joined, numbers, wait_for, wait_until_alike
from tests.servers.conftest import StartServers
from tests.support.postgres import Cluster, new_cluster
from tests.support.waiting import eventually
from wire.frames import Error, Hello, Presence, Say, Stored


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A cluster of this test alone."""
    made = new_cluster()
    yield made
    made.remove()


@pytest.fixture
def open_shared(cluster: Cluster) -> Callable[[Path], Store]:
    """Open the store as one more server does."""
    url = cluster.socket_url(cluster.new_database())
    return lambda folder: open_store(url, folder=folder)


def backend(server: Server) -> int:
    """Return PostgreSQL's process at the other end of the connection on which a server lives."""
    listener = server.chat.store.servers()._listener  # type: ignore[attr-defined]
    return int(listener._backend) if listener.connected else 0


@pytest.mark.parametrize("whose", [0, 1])
def test_a_server_whose_connection_is_ended_comes_back(
    start_servers: StartServers, connect: Connect, cluster: Cluster, whose: int
) -> None:
    servers = start_servers(2)
    one, other = servers
    alice, bob = joined(connect, one, "alice"), joined(connect, other, "bob")
    wait_until_alike(one, other)
    before = backend(servers[whose])
    cluster.sql(f"SELECT pg_terminate_backend({before})")
    assert alice.request(Say("hello", "lab")).number == 1
    wait_for(bob, "hello")
    eventually(lambda: backend(servers[whose]) not in (0, before), lambda: "it does not come back")
    assert bob.request(Say("hello again", "lab")).number == 2
    for client in (alice, bob):
        wait_for(client, "hello again")
    eventually(lambda: len(one.chat.store.servers().holdings()) == 2, lambda: "not all names are held")
    wait_until_alike(one, other)
    assert connect(other.address).request(Hello(name="alice")).code == "name-taken"
    assert connect(one.address).request(Hello(name="bob")).code == "name-taken"
    assert numbers(alice) == numbers(bob) == [1, 2]


def test_a_restart_of_the_database_disconnects_nobody(
    start_servers: StartServers, connect: Connect, cluster: Cluster
) -> None:
    """Posts are refused meanwhile; no server takes the other for dead, since both have lost their connections."""
    one, other = start_servers(2)
    alice, bob = joined(connect, one, "alice"), joined(connect, other, "bob")
    wait_until_alike(one, other)
    backends = [backend(one), backend(other)]
    cluster.stop()
    refused = alice.request(Say("too early", "lab"))
    assert isinstance(refused, Error)
    assert refused.code == "not-stored"
    cluster.start()
    eventually(lambda: not {backend(one), backend(other)} & {0, *backends}, lambda: f"{backend(one)}, {backend(other)}")
    answers = (bob.request(Say("it is back", "lab")) for _ in iter(int, 1))
    assert next(answer for answer in answers if isinstance(answer, Stored)).number == 1
    wait_for(alice, "it is back")
    wait_until_alike(one, other)
    assert not [each for each in (*alice.of(Presence), *bob.of(Presence)) if each.what in ("offline", "online")]
    assert connect(other.address).request(Hello(name="alice")).code == "name-taken"
