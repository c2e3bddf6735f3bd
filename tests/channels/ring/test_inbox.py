"""The inbox merges what it hears, keeps the order, and looks at everything when it cannot keep up or has failed."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from channels.ring import Heard, Inbox, Joined, Live, Moved, Notice, inbox
from channels.ring.notices import encode
from store import StoreError
from tests.support.reported import Reported
from tests.support.waiting import DEADLINE, eventually


class Doer:
    """Notes what it is to do; it may be held up, and may fail."""

    def __init__(self) -> None:
        self.done: list[Heard] = []
        self.looks = 0
        self.free = threading.Event()
        self.free.set()
        self.inside = threading.Event()
        self.error: Exception | None = None

    def do(self, heard: Heard) -> None:
        """Note it, unless it is empty."""
        self.inside.set()
        assert self.free.wait(DEADLINE)
        if heard != Heard():
            self.done.append(heard)
        if self.error is not None:
            raise self.error

    def look(self) -> None:
        """Count."""
        self.looks += 1


@pytest.fixture
def doer() -> Doer:
    return Doer()


@pytest.fixture
def box(doer: Doer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Inbox]:
    """An inbox that looks often."""
    monkeypatch.setattr(inbox, "PERIOD", 0.01)
    made = Inbox(doer.do, doer.look)
    made.start()
    yield made
    doer.free.set()
    doer.error = None
    made.close()


def hear(box: Inbox, server: int, *notices: Notice) -> None:
    """Have the inbox hear notices of a server."""
    for message, _ in encode(notices):
        box.hear(server, message)


def test_what_is_heard_meanwhile_comes_at_once(doer: Doer, box: Inbox) -> None:
    """Notices in their order, between them servers that are gone; of each log the highest tail."""
    doer.free.clear()
    doer.inside.clear()
    assert doer.inside.wait(DEADLINE)
    hear(box, 2, Joined(7, "ann", "Ann"), Moved([(7, 1, ""), (8, 5, "ann:bob")]))
    hear(box, 3, Moved([(7, 9, "")]), Joined(8, "bob", "Bob"))
    hear(box, 2, Moved([(7, 3, "")]))
    box.gone(2)
    box.changed(7)
    box.changed(7)
    doer.free.set()
    eventually(lambda: bool(doer.done), lambda: "nothing is done")
    (heard,) = doer.done
    assert heard == Heard(
        [(2, Joined(7, "ann", "Ann")), (3, Joined(8, "bob", "Bob")), (2, None)],
        {7: (9, ""), 8: (5, "ann:bob")},
        {7},
    )


def test_too_much_to_do_becomes_a_look(doer: Doer, box: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "_MOST", 10)
    doer.free.clear()
    doer.inside.clear()
    assert doer.inside.wait(DEADLINE)
    for number in range(100):
        hear(box, 2, Joined(number, "ann", "Ann"))
        assert len(box._heard.notices) <= 10
    doer.free.set()
    eventually(lambda: bool(doer.done), lambda: "nothing is done")
    assert doer.done[0].overflowed
    assert not doer.done[0].missed


@pytest.mark.parametrize("error", [StoreError("The database is away."), ZeroDivisionError("a mistake")])
def test_after_a_failure_everything_is_looked_at_until_that_works(
    doer: Doer, box: Inbox, error: Exception, reported: Reported
) -> None:
    doer.error = error
    hear(box, 2, Joined(7, "ann", "Ann"))
    eventually(lambda: len(doer.done) > 3, lambda: repr(doer.done))
    assert all(heard.overflowed for heard in doer.done[1:])
    doer.error = None
    eventually(lambda: not box._heard.overflowed, lambda: "it looks for ever")
    looks = doer.looks
    eventually(lambda: doer.looks > looks + 2, lambda: f"{doer.looks} looks")
    assert reported.events


def test_a_message_of_a_newer_server_leads_to_a_look(doer: Doer, box: Inbox) -> None:
    box.hear(2, '[["teleported",1]]')
    eventually(lambda: bool(doer.done), lambda: "nothing is done")
    assert doer.done[0].overflowed


def test_a_server_that_may_have_missed_something_says_so(doer: Doer, box: Inbox) -> None:
    box.missed()
    eventually(lambda: bool(doer.done), lambda: "nothing is done")
    assert doer.done[0].missed


def test_live_messages_that_wait_are_bounded_in_bytes(box: Inbox, doer: Doer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Further ones are lost, and nothing else is."""
    monkeypatch.setattr(inbox, "_LIVE", 10_000)
    doer.free.clear()
    hear(box, 2, Joined(1, "alice", "Alice"))
    assert doer.inside.wait(DEADLINE)
    for _ in range(50):
        hear(box, 3, Live("bob", "alice", b"x" * 1_000))
    hear(box, 2, Joined(2, "alice", "Alice"))
    doer.free.set()
    eventually(lambda: len(doer.done) == 2, lambda: repr(doer.done))
    assert [server for server, _ in doer.done[1].live] == [3] * 7
    assert doer.done[1].notices == [(2, Joined(2, "alice", "Alice"))]
    assert not doer.done[1].overflowed
