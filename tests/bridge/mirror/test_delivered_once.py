"""A private message that the broker has acknowledged is not published again, whatever the order of the threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from server import Server
from store import LogRow
from tests.support.brokers.scripted import ScriptedBroker, Visit, broker, server, wait
from tests.support.brokers.site import quick
from tests.support.clients import Json
from tests.support.mqtt import body
from tests.support.stores.watched import WatchedStore
from tests.support.waiting import DEADLINE, eventually
from wire.frames import Msg

__all__ = ["broker", "quick", "server"]
pytestmark = pytest.mark.usefixtures("quick")
TOPIC = "chat/to/bob/msg/alice"


class HeldDelivery:
    """Stops the thread that delivers alice's first message after it has read bob's cursor from the store.

    bob enters between the commit and the delivery, so the delivering thread has his reader follow the log.
    """

    def __init__(self, server: Server, store: WatchedStore, monkeypatch: pytest.MonkeyPatch) -> None:
        self._cursor_read, self._committing = threading.Event(), threading.Event()
        self._entered, self._released = threading.Event(), threading.Event()
        self._alice = Json(server.address, "alice")
        real = server.chat.store.cursor

        def cursor(log: LogRow, user: str) -> int | None:
            found = real(log, user)
            if user == "bob" and not self._cursor_read.is_set():
                self._cursor_read.set()
                assert self._released.wait(DEADLINE)
            return found

        def before(method: str) -> None:
            if method == "append" and not self._committing.is_set():
                self._committing.set()
                assert self._entered.wait(DEADLINE)

        monkeypatch.setattr(server.chat.store, "cursor", cursor)
        store.before = before

    def send(self, text: str, enter: Callable[[], None]) -> None:
        """Have alice send a message, and call `enter` before it is delivered. Return when its thread is stopped."""
        self._alice.send(Msg("bob", text))
        assert self._committing.wait(DEADLINE)
        enter()
        self._entered.set()
        assert self._cursor_read.wait(DEADLINE)

    def release(self) -> None:
        """Let the stopped thread go on, and wait until it has delivered the message."""
        self._released.set()
        self._alice.request(Msg("carol", "after it"))

    def say(self, text: str) -> None:
        """Have alice send another message, and wait until it is stored."""
        self._alice.request(Msg("bob", text))

    def close(self) -> None:
        """Stop nothing any more, and close alice's connection."""
        self._entered.set()
        self._released.set()
        self._alice.close()


@pytest.fixture
def held(
    server: Server, broker: ScriptedBroker, stores: list[WatchedStore], monkeypatch: pytest.MonkeyPatch
) -> Iterator[HeldDelivery]:
    """alice, and the delivery of her first message."""
    made = HeldDelivery(server, stores[0], monkeypatch)
    yield made
    made.close()


def register(visit: Visit) -> None:
    """Have bob register at the broker."""
    visit.bring("chat/from/bob/register", "")
    visit.message("chat/to/bob/register")


def leave(visit: Visit) -> None:
    """Have bob leave the broker, and wait until the mirror's thread has done it."""
    visit.bring("chat/from/bob/gone", "")
    visit.bring("chat/from/dora/status", "")
    visit.message("chat/to/dora/status")


def published(visit: Visit) -> list[str]:
    """Return what was published for bob. The pump publishes entries in the order of their logs, so dora's come last."""
    visit.bring("chat/from/dora/msg/dora", "the end")
    visit.message("chat/to/dora/msg/dora")
    return [body(packet)["text"] for packet in visit.messages(TOPIC)]


def is_acknowledged(server: Server) -> bool:
    """Return True if the store has bob's cursor at the tail of his only private log."""
    return not [each for each in server.chat.store.memberships("bob") if not each.log.is_channel]


def test_a_delivery_that_is_late_does_not_start_at_an_old_cursor(
    server: Server, broker: ScriptedBroker, held: HeldDelivery
) -> None:
    """bob gets the message and leaves, before the delivering thread uses the cursor that it has read."""
    visit = broker.visit()
    visit.open()
    held.send("once", lambda: register(visit))
    register(visit)  # a second time: this publishes what was stored meanwhile
    visit.message(TOPIC)
    leave(visit)
    held.release()
    assert published(visit) == ["once"]
    held.say("kept")
    assert published(visit) == ["once"], "nothing is published for a user who has left"
    register(visit)
    visit.message(TOPIC, lambda packet: body(packet)["text"] == "kept")
    assert published(visit) == ["once", "kept"]


def test_a_delivery_that_is_late_does_not_start_at_an_old_cursor_on_the_next_connection(
    server: Server, broker: ScriptedBroker, held: HeldDelivery
) -> None:
    visit = broker.visit()
    visit.open()
    held.send("once", lambda: register(visit))
    register(visit)
    visit.message(TOPIC)
    eventually(lambda: is_acknowledged(server), lambda: "the cursor was not stored")
    visit.close()
    wait(server, lambda status: not status.connected)
    again = broker.newest()
    again.open(present=True)
    wait(server, lambda status: status.connected)
    held.release()
    assert published(again) == []


def test_an_acknowledgement_counts_before_it_is_stored(
    server: Server, broker: ScriptedBroker, stores: list[WatchedStore]
) -> None:
    """The connection is lost while another thread's commit holds the journal, so the store has an old cursor."""
    committing, released = threading.Event(), threading.Event()

    def before(method: str) -> None:
        if method == "append":
            committing.set()
            assert released.wait(DEADLINE)

    visit = broker.visit()
    visit.open()
    visit.acknowledge = False
    register(visit)
    with Json(server.address, "alice") as alice:
        alice.request(Msg("bob", "once"))
        packet_id = visit.message(TOPIC).packet_id
        stores[0].before = before
        alice.send(Msg("carol", "a commit that takes long"))
        assert committing.wait(DEADLINE)
        visit.ack(packet_id)
        wait(server, lambda status: status.sent == 1)
        visit.close()
        wait(server, lambda status: not status.connected)
        assert not is_acknowledged(server)
        again = broker.newest()
        again.open(present=True)
        wait(server, lambda status: status.connected)
        stores[0].before = None
        released.set()
        assert published(again) == []
        assert is_acknowledged(server)
