"""Something fails on the way of a post, at each step in turn: every posting is settled, and everything else goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import pytest

from channels import Session
from channels.journal import Posting
from channels.log import Block, Log
from channels.receipts import receipts as real_receipts
from server import Server
from store import Appended, Batch, NewPosts, StoreError
from tests.support.clients import Json
from tests.support.fixtures import StartServer
from tests.support.journal import FakeOutlet, Poster, Stage
from tests.support.reported import Reported
from tests.support.stores import WatchedStore
from tests.support.waiting import eventually
from wire.errors import Refused
from wire.frames import Entry, Join, Ping, Pong, Say, Stored
from wire.jsonlines import JsonLines
from wire.limits import Limits


class Mistake(Exception):
    """The mistake that the tests inject."""


class Fault:
    """Raises once, when it is armed."""

    def __init__(self) -> None:
        self.armed = False
        self.hit = 0

    def __call__(self) -> None:
        if self.armed:
            self.armed = False
            self.hit += 1
            raise Mistake


@pytest.fixture
def stage() -> Iterator[Stage]:
    """Two logs on a store in memory."""
    made = Stage(Limits(lag=1 << 30), logs=2)
    yield made
    made.close()


def _wrap(fault: Fault, method: Callable[..., Any], *, after: bool = False) -> Callable[..., Any]:
    """Return the method with the fault before it, or after it."""

    def wrapped(*arguments: Any, **named: Any) -> Any:
        if not after:
            fault()
        result = method(*arguments, **named)
        fault()
        return result

    return wrapped


class FaultyDialect(JsonLines):
    """An encoder of its own key, which fails once."""

    key = "faulty"

    def __init__(self, fault: Fault) -> None:
        super().__init__()
        self.encode_entries = _wrap(fault, super().encode_entries)  # type: ignore[method-assign]


def _break(step: str, stage: Stage, fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the fault into one step of a commit."""
    journal, store = stage.journal, stage.store
    match step:
        case "before the append":
            monkeypatch.setattr(store, "append", _wrap(fault, store.append))
        case "after the append":
            monkeypatch.setattr(store, "append", _wrap(fault, store.append, after=True))
        case "numbers are missing":
            _forget_a_number(stage, fault, monkeypatch)
        case "publish":
            monkeypatch.setattr(Log, "publish", _wrap(fault, Log.publish))
        case "after publish":
            monkeypatch.setattr(Log, "publish", _wrap(fault, Log.publish, after=True))
        case "cursors":
            monkeypatch.setattr(store, "move", _wrap(fault, store.move))
        case "deliver":
            monkeypatch.setattr(journal, "_deliver", _wrap(fault, journal._deliver))
        case "delivered":
            monkeypatch.setattr(journal, "_delivered", _wrap(fault, journal._delivered))
        case "moved":
            monkeypatch.setattr(journal, "_moved", _wrap(fault, journal._moved))
        case _:
            assert step in ("encoder", "outlet", "receipt", "refusal"), step


def _forget_a_number(stage: Stage, fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    append = stage.store.append

    def cut(postings: Sequence[NewPosts], now: int) -> Appended:
        appended = append(postings, now)
        try:
            fault()
        except Mistake:
            appended.numbers.pop()
        return appended

    monkeypatch.setattr(stage.store, "append", cut)


STEPS = [
    "before the append", "after the append", "numbers are missing", "publish", "after publish", "receipt", "refusal",
    "cursors", "deliver", "delivered", "moved", "encoder", "outlet",
]  # fmt: skip


class FaultyPoster(Poster):
    """Its callbacks fail once, after they were called."""

    def __init__(self, stage: Stage, name: str, fault: Fault) -> None:
        super().__init__(stage, name)
        self._fault = fault

    def _stored(self, posting: Posting, numbers: Sequence[int]) -> None:
        super()._stored(posting, numbers)
        self._fault()

    def _refused(self, posting: Posting, refused: Refused) -> None:
        super()._refused(posting, refused)
        self._fault()


def _entries(outlet: FakeOutlet, log: Log) -> list[Entry]:
    return [frame for frame in outlet.frames() if isinstance(frame, Entry) and frame.channel == log.row.name]


def _has(outlet: FakeOutlet, log: Log, count: int) -> bool:
    return len(_entries(outlet, log)) >= count


def _expect_whole(outlet: FakeOutlet, stage: Stage) -> None:
    """The outlet gets every entry that the store has, each once and in order."""
    for log in stage.logs:
        kept = stage.store.kept[log.row.id]

        eventually(partial(_has, outlet, log, len(kept)), lambda: f"{len(outlet.taken)} bytes came")
        assert _entries(outlet, log) == kept
        assert log.tail == len(kept)


@pytest.mark.parametrize("step", STEPS)
def test_every_posting_is_settled_whatever_fails(stage: Stage, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the turn of the fault and after it; the readers end with the whole logs, as the store has them."""
    fault = Fault()
    _break(step, stage, fault, monkeypatch)
    if step == "refusal":
        _refuse_once(stage, monkeypatch)
    steady = stage.outlet()
    faulty = FakeOutlet(stage.pump, 1.0, FaultyDialect(fault) if step == "encoder" else None)
    if step == "outlet":
        monkeypatch.setattr(faulty, "transmit", _wrap(fault, faulty.transmit))
    for log in stage.logs:
        faulty.reader.follow(log, 0)  # is offered each block before the steady one
        steady.reader.follow(log, 0)
    faulty_poster = FaultyPoster(stage, "faulty", fault if step in ("receipt", "refusal") else Fault())
    posters = [faulty_poster, Poster(stage, "first"), Poster(stage, "second")]
    for turn in range(4):
        fault.armed = turn == 1
        for at, poster in enumerate(posters):
            log = stage.logs[at % 2]
            posts = [Say(f"{turn} of {poster.name}", log.row.name)]
            posting = Posting(log, poster.name, poster.name, posts, poster._stored, poster._refused)
            stage.journal.post(posting, carry=False)
            stage.journal.move(log, poster.name, turn + 1)
        stage.journal.carry()
        assert all(poster.settle(1, 0) for poster in posters), f"turn {turn}: a posting is neither stored nor refused"
    assert fault.hit == 1
    settled = {text for poster in posters for _, text in [*poster.numbers, *poster.refused]}
    assert settled == {f"{turn} of {poster.name}" for turn in range(4) for poster in posters}
    _expect_whole(steady, stage)


def _refuse_once(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second append of the stage fails as a full disk does."""
    append, calls = stage.store.append, iter(range(1_000))

    def full(postings: Sequence[NewPosts], now: int) -> Appended:
        if next(calls) == 1:
            raise StoreError("The disk is full.")
        return append(postings, now)

    monkeypatch.setattr(stage.store, "append", full)


def test_a_follower_that_fails_ends_its_own_connection_only(stage: Stage) -> None:
    """It is hung up, and has not lost its place."""
    log, fault = stage.logs[0], Fault()
    faulty = FakeOutlet(stage.pump, 1.0, FaultyDialect(fault))
    ended: list[bool] = []
    faulty.hang_up = lambda: ended.append(True)  # type: ignore[method-assign]
    steady = stage.outlet()
    for outlet in (faulty, steady):
        outlet.reader.follow(log, 0)
    fault.armed = True
    poster = Poster(stage, "ann")
    poster.post(log, ["a"])
    assert ended == [True]
    assert faulty.reader._cursors[log] == 0
    assert [frame.text for frame in steady.frames() if isinstance(frame, Entry)] == ["a"]


@pytest.mark.parametrize("readable", [True, False])
def test_a_commit_that_was_taken_for_failed_is_read_from_the_store(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, readable: bool, reported: Reported
) -> None:
    """Its numbers are not given again. The leader reads it first; if that fails, the readers read it."""
    log, outlet = stage.logs[0], stage.outlet()
    outlet.reader.follow(log, 0)
    poster = Poster(stage, "ann")
    poster.post(log, ["1"])
    stage.store.append([NewPosts(log.row, "ann", "ann", [Say("2", log.row.name)])], 1)  # the log does not know it
    if not readable:
        monkeypatch.setattr(stage.store, "read_batches", _fail)
    poster.post(log, ["3"])
    assert poster.numbers[log.row.name, "3"] == 3
    eventually(lambda: len(outlet.frames()) == 3, lambda: f"{outlet.frames()}")
    assert [frame.text for frame in outlet.frames() if isinstance(frame, Entry)] == ["1", "2", "3"]
    log.forget(Block(*log._recent[0].batches))
    assert log.oldest_recent() == (1 if readable else 3), "a block that has gone already takes no other with it"
    assert [event.code for event in reported.events] == ([] if readable else ["store-problem"])


def _fail(*_: object) -> list[Batch]:
    raise StoreError("The disk is broken.")


@pytest.mark.parametrize("step", ["receipt", "refusal"])
def test_a_connection_whose_answer_fails_ends_and_does_not_spin(
    start_server: StartServer, stores: list[WatchedStore], connect: Callable[..., Json],
    monkeypatch: pytest.MonkeyPatch, step: str,
) -> None:  # fmt: skip
    """The journal and all other connections go on, and the thread of this one ends."""
    server: Server = start_server()
    alice, bob = connect(server.address, "alice"), connect(server.address, "bob")
    for each in (alice, bob):
        each.request(Join("lab"))

    def receipts(posting: Posting, *arguments: Any) -> bytes:
        if posting.sender == "alice":
            raise Mistake
        return real_receipts(posting, *arguments)

    def refuse(session: Any, post: Say, refused: Refused) -> None:
        raise Mistake

    if step == "receipt":
        monkeypatch.setattr("channels.session.receipts", receipts)
    else:
        monkeypatch.setattr(Session, "_refuse", refuse)
        stores[0].before = lambda name: _fail_append(name, stores[0])
    alice.send(Say("one", "lab", ref=7), Ping(ref=8))
    alice.until_closed()
    assert isinstance(bob.request(Say("two", "lab")), Stored)
    assert isinstance(bob.request(Ping()), Pong)
    eventually(
        lambda: not server.chat.directory.is_there("alice"),
        lambda: f"{[thread.name for thread in threading.enumerate()]}",
    )


def _fail_append(name: str, store: WatchedStore) -> None:
    if name == "append":
        store.before = None
        raise StoreError("The disk is full.")
