"""A duty passes on when its server is cut off from PostgreSQL: the first server lets go before the next one begins."""

from __future__ import annotations

import os
import threading
import time

import pytest

from store import Servers, Store
from tests.support.database_proxy import DatabaseProxy
from tests.support.stores import PostgresPlace
from tests.support.waiting import DEADLINE, eventually

WITHIN = 5.0  # seconds from the cut until another server has the duty
Told = list[tuple[str, bool, float]]


def share(servers: Servers, name: str, told: Told) -> None:
    """Be one of the servers, and share a duty."""
    servers.start(lambda server, message: None, lambda server: None, lambda: None)
    servers.share("sweep", lambda ours: told.append((name, ours, time.monotonic())))


def wait_for(told: Told, *wanted: tuple[str, bool]) -> None:
    """Return when the servers were told that, in this order."""
    eventually(lambda: len(told) >= len(wanted), lambda: repr(told))
    assert [(name, ours) for name, ours, _ in told] == [*wanted]


def stand(until: threading.Event) -> None:
    """Stand still."""
    until.wait(DEADLINE)


@pytest.fixture
def told(far: Store, place: PostgresPlace) -> Told:
    """What two servers were told; the first one has the duty."""
    told: Told = []
    share(far.servers(), "far", told)
    share(place.open_another().servers(), "near", told)
    wait_for(told, ("far", True))
    return told


def test_a_network_that_hangs_takes_the_duty_away(told: Told, proxy: DatabaseProxy) -> None:
    proxy.stall()
    begun = time.monotonic()
    wait_for(told, ("far", True), ("far", False), ("near", True))
    assert told[2][2] - begun < WITHIN
    proxy.go_on()


def test_a_connection_that_ends_takes_the_duty_away(told: Told, proxy: DatabaseProxy) -> None:
    """The server that had it is back at once, and is one of the others from then on."""
    proxy.accepts.clear()
    proxy.cut()
    wait_for(told, ("far", True), ("far", False), ("near", True))
    proxy.accepts.set()


def test_a_connection_that_an_administrator_ends_takes_the_duty_away(told: Told, place: PostgresPlace) -> None:
    """Whoever gets it, the first one lets go before."""
    duty = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND classid = 1148548217"
    assert len(place.cluster.sql(duty, place.name)) == 1
    eventually(lambda: len(told) >= 3, lambda: repr(told))
    assert [told[1][:2], told[2][1]] == [("far", False), True]


def test_a_server_that_stood_still_lets_go_before_it_goes_on(
    told: Told, far: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cannot know that PostgreSQL has not taken it for dead."""
    listener = far.servers()._listener  # type: ignore[attr-defined]
    listener._answered -= 4
    listener._look_now()
    eventually(lambda: len(told) >= 3, lambda: repr(told))
    assert [told[1][:2], told[2][1]] == [("far", False), True]


def test_a_server_that_stands_still_is_taken_for_dead(far: Store, place: PostgresPlace) -> None:
    """PostgreSQL ends its connection, whoever answers for it on the network."""
    told: Told = []
    still = threading.Event()
    far.servers().start(lambda server, message: stand(still), lambda server: None, lambda: None)
    far.servers().share("sweep", lambda ours: told.append(("far", ours, time.monotonic())))
    share(place.open_another().servers(), "near", told)
    wait_for(told, ("far", True))
    begun = time.monotonic()
    near = place.open_another().servers()
    near.start(lambda server, message: None, lambda server: None, lambda: None)
    near.tell("stand still")
    wait_for(told, ("far", True), ("near", True))
    assert told[1][2] - begun < WITHIN + 0.5  # beside its last look
    still.set()
    eventually(lambda: len(told) >= 3, lambda: repr(told))
    assert told[2][:2] == ("far", False)


def test_the_connections_of_a_dead_server_are_ended(told: Told, far: Store, place: PostgresPlace) -> None:
    """One of them may be in the midst of a transaction, which would hold up the others."""
    far.open_channel("lab")
    held = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND classid = 1131376238 AND objid = %d"
    mine = {row[0] for row in place.cluster.sql(held % far.servers().here, place.name)}
    assert mine
    listener = far.servers()._listener  # type: ignore[attr-defined]
    listener._closed = True
    os.write(listener._wake_there, b".")
    listener._thread.join()
    listener._drop()
    eventually(
        lambda: not place.cluster.sql(held % far.servers().here, place.name), lambda: "the connections are still there"
    )
    assert far.open_channel("lab"), "a server that lives after all goes on"
