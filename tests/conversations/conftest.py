"""Fixtures of the conversations: people who enter by any door, on a server that mirrors to a broker if one does so."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import pytest

from server import Server
from tests.support.brokers.site import Site
from tests.support.clients import in_tls
from tests.support.fixtures import Enter, Meet, StartServer
from tests.support.stores import PostgresPlace
from tests.support.talkers import DOORS, Talker


@pytest.fixture
def broker_kind(request: pytest.FixtureRequest) -> str | None:
    """Return the broker of the test's `door` or `doors`, or None if all of them lead to the server."""
    parameters = request.node.callspec.params
    doors = parameters.get("doors") or (parameters["door"],)
    brokers = {DOORS[door].broker for door in doors} - {None}
    assert len(brokers) <= 1, "a server mirrors to one broker"
    return brokers.pop() if brokers else None


@pytest.fixture
def enter() -> Iterator[Enter]:
    """Have somebody enter a server: `enter(server.address, door, "alice")`; they are gone afterwards."""
    made: list[Talker] = []

    def make(address: str, door: str, name: str, password: str | None = None) -> Talker:
        address = in_tls(address) if DOORS[door].tls else address
        made.append(DOORS[door].talker(address, name, password))
        return made[-1]

    yield make
    for talker in made:
        talker.close()


@pytest.fixture
def three_servers(start_server: StartServer, tmp_path: Path) -> Iterator[list[Server]]:
    """Three servers on one database."""
    place = PostgresPlace()
    made = [start_server(database=place.url, data=str(tmp_path / f"data{at}")) for at in range(3)]
    yield made
    for server in made:
        server.close()
    place.clear()


@pytest.fixture
def meet(request: pytest.FixtureRequest, start_server: StartServer, enter: Enter) -> Meet:
    """Have somebody enter by a door: `meet(door, name)`, all of them the same chat.

    A test of doors that lead to a broker has a server that mirrors to it, one of doors with TLS a server with a
    certificate, one of doors to several servers has three of them; any other test has the fixture `server`.
    """
    parameters = getattr(request.node, "callspec", None)
    site: Site | None = None
    wanted = "server"
    if parameters is not None and (named := {"door", "doors"} & set(parameters.params)):
        if request.getfixturevalue("broker_kind"):
            site = request.getfixturevalue("site")
        given = parameters.params[named.pop()]
        doors = [DOORS[door] for door in ([given] if isinstance(given, str) else given)]
        if any(door.tls for door in doors):
            wanted = "tls_server"
        if any(door.several for door in doors):
            wanted = "three_servers"
    found = request.getfixturevalue(wanted) if site is None else site.server
    servers = cycle(found if isinstance(found, list) else [found])

    def make(door: str, name: str, password: str | None = None) -> Talker:
        if DOORS[door].broker is None:
            return enter(next(servers).address, door, name, password)
        assert site is not None, f"no parameter of the test is {door}"
        return enter(site.broker.address, door, name, password)

    return make
