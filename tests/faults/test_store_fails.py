"""The store fails while a reader needs it: the reader stays connected, and gets its messages when the store is back."""

from __future__ import annotations

from collections.abc import Callable

from reporting import events
from store import StoreError
from tests.support.clients import Json
from tests.support.fixtures import StartServer
from tests.support.reported import Reported
from tests.support.stores import WatchedStore
from tests.support.stores.filled import fill
from tests.support.waiting import eventually
from wire.frames import Entry, Join, Ping, Pong
from wire.limits import Limits

COUNT = 300


def test_a_reader_waits_while_the_store_fails(
    start_server: StartServer, stores: list[WatchedStore], connect: Callable[..., Json], reported: Reported
) -> None:
    """It was disconnected, with a traceback in the log. Now the log has one line, however often it is tried again."""
    server = start_server(limits=Limits(cache=1))  # older blocks are in the store only
    bob = connect(server.address, "bob")
    bob.request(Join("lab"))
    bob.close()
    fill(server, COUNT, "x", "lab")
    tried: list[str] = []

    def fail(name: str) -> None:
        if name in ("read", "read_batches"):
            tried.append(name)
            raise StoreError("The database cannot be reached: this is a test.")

    stores[0].before = fail
    bob = connect(server.address, "bob", since={"lab": 0})
    eventually(lambda: len(tried) >= 3, lambda: f"tried {len(tried)} times")
    assert isinstance(bob.request(Ping()), Pong)
    stores[0].before = None
    numbers = [bob.expect(Entry).number for _ in range(COUNT)]
    assert numbers == list(range(1, COUNT + 1))
    problems = reported.of(events.StoreProblem)
    assert [problem.error for problem in problems] == ["The database cannot be reached: this is a test."]
    assert reported.of(events.InternalError) == []
