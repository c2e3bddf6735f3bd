"""The outbox tells in order, merges what may be merged, and loses nothing while the store is away."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import cast

import pytest

from channels.ring import CursorMoved, Joined, Live, LookAgain, Moved, Notice, Outbox, outbox
from channels.ring.notices import decode
from reporting.events import InternalError, StoreProblem
from store import Alone, Servers, StoreError
from tests.support.reported import Reported
from tests.support.waiting import eventually


class Wire(Alone):
    """Servers that note what they are told; they may be away, and may be held up."""

    alone = False

    def __init__(self) -> None:
        self.happened: list[object] = []
        self.away = False
        self.tries = 0
        self.free = threading.Event()
        self.free.set()

    def tell(self, message: str) -> None:
        self._reach()
        self.happened += decode(message)

    def pulse(self, message: str) -> None:
        self._reach()
        self.happened.append(message)

    def release(self, connections: object) -> None:
        self._reach()
        self.happened.append(("released", connections))

    def _reach(self) -> None:
        self.free.wait()
        self.tries += 1
        if self.away:
            raise StoreError("The database is away.")


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def box(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> Iterator[Outbox]:
    """An outbox that tries again at once."""
    monkeypatch.setattr(outbox, "_AGAIN", 0.0)
    made = Outbox(cast("Servers", wire))
    made.start()
    yield made
    wire.free.set()
    made.close()


def wait_for(wire: Wire, *wanted: object) -> None:
    """Return when these things have happened, and nothing else."""
    eventually(lambda: len(wire.happened) >= len(wanted), lambda: repr(wire.happened))
    assert wire.happened == list(wanted)


def test_what_is_told_goes_out_in_order(wire: Wire, box: Outbox) -> None:
    notices: list[Notice] = [Joined(number, "alice", "Alice") for number in range(500)]
    for notice in notices:
        box.tell(notice)
    wait_for(wire, *notices)


def test_what_waits_is_merged(wire: Wire, box: Outbox) -> None:
    """A log's tail and a cursor go out once, a release before what was told after it."""
    wire.free.clear()
    box.tell(LookAgain())
    eventually(lambda: not box._notices, lambda: "not taken")
    for tail in range(1, 1_000):
        box.moved(7, tail, "")
        box.moved(8, tail, "alice:bob")
        box.cursor_moved("bob", "alice", tail)
    box.release(3)
    box.release(4)
    box.tell(Joined(7, "alice", "Alice"))
    wire.free.set()
    wait_for(
        wire,
        LookAgain(),
        ("released", [3, 4]),
        Joined(7, "alice", "Alice"),
        CursorMoved("bob", "alice", 999),
        Moved([(7, 999, ""), (8, 999, "alice:bob")]),
    )


def test_nothing_is_lost_while_the_store_is_away(wire: Wire, box: Outbox, reported: Reported) -> None:
    wire.away = True
    box.release(3)
    box.tell(Joined(7, "alice", "Alice"))
    eventually(lambda: wire.tries > 3, lambda: f"tried {wire.tries} times")
    box.tell(Joined(8, "alice", "Alice"))
    box.release(4)
    wire.away = False
    eventually(lambda: len(wire.happened) >= 3, lambda: repr(wire.happened))
    told = [each for each in wire.happened if isinstance(each, Joined)]
    released = [number for each in wire.happened if isinstance(each, tuple) for number in each[1]]
    assert told == [Joined(7, "alice", "Alice"), Joined(8, "alice", "Alice")]
    assert released == [3, 4]
    assert len(reported.of(StoreProblem)) == 1


def test_names_are_released_after_a_mistake(
    wire: Wire, box: Outbox, reported: Reported, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody else would release them while this server lives."""

    def wrong(connections: object) -> None:
        monkeypatch.undo()
        raise KeyError(connections)

    monkeypatch.setattr(wire, "release", wrong)
    box.release(3)
    eventually(lambda: ("released", [3]) in wire.happened, lambda: repr(wire.happened))
    assert len(reported.of(InternalError)) == 1


def test_too_many_notices_become_one_that_says_to_look(
    wire: Wire, box: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "_MOST", 10)
    wire.away = True
    for number in range(50):
        box.tell(Joined(number, "alice", "Alice"))
    assert len(box._notices) <= 11
    wire.away = False
    eventually(lambda: LookAgain() in wire.happened, lambda: repr(wire.happened))


def test_live_messages_do_not_wait_for_the_store(wire: Wire, box: Outbox) -> None:
    """Those that are told while it is away are lost; all else is told afterwards, and live messages again."""
    live = [Live("bob", "alice", f"{number}".encode()) for number in range(4)]
    box.tell_live(live[0])
    wait_for(wire, live[0])
    wire.away = True
    box.tell(Joined(7, "alice", "Alice"))
    box.tell_live(live[1])
    eventually(lambda: box._failing, lambda: "the store is not away")
    box.tell_live(live[2])
    assert not box._live
    wire.away = False
    eventually(lambda: not box._failing, lambda: "the store is not back")
    box.tell_live(live[3])
    wait_for(wire, live[0], Joined(7, "alice", "Alice"), live[3])


def test_live_messages_that_wait_are_bounded_in_bytes(wire: Wire, box: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "_LIVE", 10_000)
    wire.free.clear()
    box.tell(LookAgain())
    eventually(lambda: not box._notices, lambda: "not taken")
    for _ in range(50):
        box.tell_live(Live("bob", "alice", b"x" * 1_000))
    assert len(box._live) == 7
    wire.free.set()
    eventually(lambda: len(wire.happened) == 8, lambda: repr(wire.happened))


def test_one_server_tells_nobody() -> None:
    box = Outbox(Alone())
    box.start()
    box.tell_live(Live("bob", "alice", b"hello"))
    assert not box._live
    box.tell(LookAgain())
    box.moved(7, 1, "")
    box.release(3)
    box.cursor_moved("bob", "alice", 3)
    assert not box._notices
    assert not box._tails
    box.close()


def test_a_pulse_comes_after_what_was_told_before(box: Outbox, wire: Wire) -> None:
    """While the store is away, only the last pulse waits."""
    wire.away = True
    box.pulse("{1}")
    eventually(lambda: wire.tries >= 1, lambda: str(wire.tries))
    wire.free.clear()
    box.tell(Joined(1, "ann", "ann"))
    box.pulse("{2}")
    box.pulse("{3}")
    wire.away = False
    wire.free.set()
    eventually(lambda: wire.happened[-1:] == ["{3}"], lambda: repr(wire.happened))
    assert wire.happened == [Joined(1, "ann", "ann"), "{3}"]
