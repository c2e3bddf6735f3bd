"""Fixtures of the conversations: people who enter by any door, on a server that mirrors to a broker if one does so."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from server import Server
from tests.support.brokers.site import Site
from tests.support.clients import in_tls
from tests.support.fixtures import Enter, Meet, StartServer
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
def meet(request: pytest.FixtureRequest, start_server: StartServer, enter: Enter) -> Meet:
    """Have somebody enter by a door: `meet(door, name)`, all of them the same chat.

    A test of doors that lead to a broker has a server that mirrors to it, one of doors with TLS a server with a
    certificate, any other test the fixture `server`.
    """
    parameters = getattr(request.node, "callspec", None)
    site: Site | None = None
    wanted = "server"
    if parameters is not None and (named := {"door", "doors"} & set(parameters.params)):
        if request.getfixturevalue("broker_kind"):
            site = request.getfixturevalue("site")
        doors = parameters.params[named.pop()]
        if any(DOORS[door].tls for door in ([doors] if isinstance(doors, str) else doors)):
            wanted = "tls_server"
    server: Server = request.getfixturevalue(wanted) if site is None else site.server

    def make(door: str, name: str, password: str | None = None) -> Talker:
        if DOORS[door].broker is None:
            return enter(server.address, door, name, password)
        assert site is not None, f"no parameter of the test is {door}"
        return enter(site.broker.address, door, name, password)

    return make
