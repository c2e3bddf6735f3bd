"""The journal under stress, without disk and sockets: no post is left behind, and every reader gets the whole log."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import pytest

from channels.journal import Posting
from channels.log import Log
from store import Appended, NewPosts, StoreError
from tests.support.journal import FakeOutlet, Poster, Stage
from tests.support.waiting import DEADLINE, eventually
from wire.frames import Entry, Gap, Say
from wire.limits import Limits

MakeStage = Callable[..., Stage]


@pytest.fixture
def stage() -> Iterator[MakeStage]:
    """Make a stage: `stage(limits, logs=3, failing=0.1)`; its pump ends with the test."""
    made: list[Stage] = []

    def make(limits: Limits | None = None, **fields: float) -> Stage:
        made.append(Stage(limits or Limits(), **fields))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for one in made:
        one.close()


def _run(*works: Callable[[], None]) -> None:
    """Run all at once, each in a thread. Fail if one fails or hangs."""
    failures: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
        assert not thread.is_alive(), "a thread hangs"
    assert not failures, failures[:3]


def _level(outlet: FakeOutlet, logs: list[Log]) -> bool:
    """Return True if the reader has sent everything, and the outlet has taken it."""
    reader = outlet.reader
    with reader._lock:
        return not reader._backlog and all(reader._cursors.get(log, log.tail) == log.tail for log in logs)


def _expect(outlet: FakeOutlet, log: Log, stage: Stage, after: int) -> None:
    """Check that the reader sent exactly the log's entries that follow `after`, in order."""
    eventually(lambda: _level(outlet, stage.logs), lambda: f"a reader of {log.row.name} does not come to the end")
    had = [frame for frame in outlet.frames() if isinstance(frame, Entry) and frame.channel == log.row.name]
    assert had == stage.store.kept.get(log.row.id, [])[after:]


def test_no_post_waits_for_the_next_one(stage: MakeStage) -> None:
    """A thread that finds the lead taken goes on, so the leader has to look again after releasing it."""
    one = stage(logs=2)
    posters = [Poster(one, f"poster{n}") for n in range(4)]

    def ping_pong(poster: Poster) -> None:
        for n in range(1_500):
            log = one.logs[n % 2]
            poster.post(log, [f"{poster.name}-{n}"])
            assert poster.settle(1, DEADLINE), "a post waits, and nobody carries it"
            one.journal.move(log, poster.name, log.tail)
            one.journal.carry()

    _run(*[partial(ping_pong, poster) for poster in posters])
    assert sum(len(kept) for kept in one.store.kept.values()) == 6_000


def test_no_cursor_waits_for_the_next_one(stage: MakeStage) -> None:
    one = stage()
    log = one.logs[0]
    poster = Poster(one, "poster")
    poster.post(log, ["x"] * 4_000)

    def move(user: str) -> None:
        for n in range(1, 1_000):
            one.journal.move(log, user, n)
            one.journal.carry()

    def post() -> None:
        for _ in range(500):
            poster.post(log, ["y"])

    _run(lambda: move("a"), lambda: move("b"), post)
    eventually(
        lambda: one.store.cursors.get((log.row.id, "a")) == one.store.cursors.get((log.row.id, "b")) == 999,
        lambda: f"the cursors are {one.store.cursors}",
    )
    assert {user for user, _ in one.moved} == {"a", "b"}


@pytest.mark.parametrize("method", ["append", "move"])
def test_a_post_while_the_lead_is_taken_is_carried(stage: MakeStage, method: str) -> None:
    """A post and a cursor come while the leader, which has looked at the queue, is in the store."""
    one = stage()
    log = one.logs[0]
    first, second = Poster(one, "first"), Poster(one, "second")

    def amid() -> None:
        one.store.amid = None
        one.journal.move(log, "another", 1)
        thread = threading.Thread(target=second.post, args=(log, ["amid"]))
        thread.start()
        thread.join(DEADLINE)
        assert not thread.is_alive(), "a follower waits for the leader"

    first.post(log, ["first"])
    one.store.amid = amid
    if method == "append":
        first.post(log, ["second"])
    else:
        one.journal.move(log, "somebody", 1)
        one.journal.carry()
    assert second.settle(1, 0), "it is left to nobody"
    assert one.store.cursors[log.row.id, "another"] == 1


@pytest.mark.parametrize(
    ("cache", "greed"), [(1 << 26, 1.0), (1 << 26, 0.7), (2_000, 0.7), (2_000, 0.1), (1, 0.5)],
    ids=["level", "memory", "some-from-store", "most-from-store", "all-from-store"],
)  # fmt: skip
def test_every_reader_ends_with_the_log(stage: MakeStage, cache: int, greed: float) -> None:
    one = stage(Limits(cache=cache, lag=1 << 30), logs=3)
    posters = [Poster(one, f"poster{n}") for n in range(4)]
    outlets = [one.outlet(greed if n % 2 else 1.0) for n in range(8)]
    late: list[tuple[FakeOutlet, Log, int]] = []
    for outlet in outlets:
        for log in one.logs:
            outlet.reader.follow(log, 0)

    def post(poster: Poster) -> None:
        for n in range(250):
            log = random.choice(one.logs)
            poster.post(log, [f"{poster.name}-{n}.{m}" for m in range(random.choice([1, 1, 5, 40]))])
        assert poster.settle(poster.posted, DEADLINE)

    def come_late() -> None:
        for _ in range(60):
            log = random.choice(one.logs)
            after = random.randint(0, log.tail)
            outlet = one.outlet(greed)
            outlet.reader.follow(log, after)
            late.append((outlet, log, after))

    def stop_and_go() -> None:
        for n in range(200):
            outlet = outlets[n % len(outlets)]
            outlet.stopped = True
            late_log = one.logs[n % 3]
            one.journal.move(late_log, "somebody", late_log.tail)
            outlet.go_on()

    _run(*[partial(post, poster) for poster in posters], come_late, stop_and_go)
    for log in one.logs:
        kept = one.store.kept[log.row.id]
        assert [entry.number for entry in kept] == list(range(1, log.tail + 1))
        numbers = {(name, text): n for poster in posters for (name, text), n in poster.numbers.items()}
        assert {entry.text: entry.number for entry in kept} == {
            text: number for (name, text), number in numbers.items() if name == log.row.name
        }
        for outlet in outlets:
            _expect(outlet, log, one, 0)
    for outlet, log, after in late:
        _expect(outlet, log, one, after)
    if cache == 1:
        assert one.store.reads


def test_posts_that_the_store_refuses_are_not_delivered(stage: MakeStage) -> None:
    one = stage(Limits(cache=5_000, lag=1 << 30), logs=2, failing=0.2, mistaken=0.05)
    posters = [Poster(one, f"poster{n}") for n in range(4)]
    outlets = [one.outlet(0.6) for _ in range(4)]
    for outlet in outlets:
        for log in one.logs:
            outlet.reader.follow(log, 0)

    def post(poster: Poster) -> None:
        for n in range(300):
            poster.post(random.choice(one.logs), [f"{poster.name}-{n}.{m}" for m in range(random.randint(1, 4))])
            if n % 3 == 0:
                assert poster.settle(3 if n else 1, DEADLINE), "a posting was neither stored nor refused"
        assert poster.settle(2, DEADLINE)

    _run(*[partial(post, poster) for poster in posters])
    refused = {text for poster in posters for _, text in poster.refused}
    assert {code for poster in posters for code in poster.refused.values()} == {"not-stored", "internal"}
    for log in one.logs:
        texts = [entry.text for entry in one.store.kept[log.row.id]]
        assert not refused & set(texts)
        assert [entry.number for entry in one.store.kept[log.row.id]] == list(range(1, log.tail + 1)), "no gap"
        stored = [text for poster in posters for name, text in poster.numbers if name == log.row.name]
        assert sorted(stored) == sorted(texts)
        for outlet in outlets:
            _expect(outlet, log, one, 0)


def _wait_for_more(outlet: FakeOutlet) -> None:
    goal = len(outlet.taken) + 500
    eventually(lambda: len(outlet.taken) > goal, lambda: "nothing comes")


def test_after_the_membership_has_ended_nothing_comes(stage: MakeStage) -> None:
    one = stage(Limits(cache=2_000, lag=1 << 30), logs=2)
    posters = [Poster(one, f"poster{n}") for n in range(3)]
    outlets = [one.outlet() for _ in range(2)]
    log, other = one.logs
    stop = threading.Event()

    def post(poster: Poster) -> None:
        while not stop.is_set():
            for each in one.logs:
                poster.post(each, ["x"])
            assert poster.settle(2, DEADLINE)

    def come_and_go(outlet: FakeOutlet) -> None:
        outlet.reader.follow(other, 0)
        for _ in range(40):
            outlet.reader.follow(log, max(0, log.tail - 3))
            _wait_for_more(outlet)
            outlet.reader.membership_ended(log)
            start = len(outlet.taken)
            _wait_for_more(outlet)
            assert b"log2" not in outlet.taken[start:], "an entry of a log that is not followed any more"

    def come_and_go_all() -> None:
        try:
            _run(*[partial(come_and_go, outlet) for outlet in outlets])
        finally:
            stop.set()

    _run(*[partial(post, poster) for poster in posters], come_and_go_all)
    for outlet in outlets:
        _expect(outlet, other, one, 0)


@pytest.mark.parametrize("limits", [Limits(lag=50, missed=20), Limits(lag=50), Limits(lag=0, missed=0), Limits(lag=1)])
def test_a_reader_too_far_behind_gets_a_gap_and_the_rest(stage: MakeStage, limits: Limits) -> None:
    """Each number once and in order, as an entry or in a gap, whichever of the two limits is the larger."""
    one = stage(limits)
    log = one.logs[0]
    outlet, steady = one.outlet(), one.outlet()
    for each in (outlet, steady):
        each.reader.follow(log, 0)
    poster = Poster(one, "poster")
    for n in range(30):
        outlet.stopped = n % 3 != 0
        poster.post(log, [f"{n}.{m}" for m in range(40)])
        if not outlet.stopped:
            outlet.go_on()
            eventually(lambda: _level(outlet, one.logs), lambda: "it does not come to the end")
    outlet.go_on()
    eventually(lambda: _level(outlet, one.logs), lambda: "it does not come to the end")
    numbers: list[int] = []
    for frame in outlet.frames():
        if isinstance(frame, Gap):
            assert frame.first <= frame.last, frame
            numbers += range(frame.first, frame.last + 1)
        elif isinstance(frame, Entry):
            numbers.append(frame.number)
    assert numbers == list(range(1, log.tail + 1))
    _expect(steady, log, one, 0)


def test_a_closed_reader_takes_nothing_and_holds_up_nobody(stage: MakeStage) -> None:
    one = stage()
    log = one.logs[0]
    closing, steady = [one.outlet(0.5) for _ in range(30)], one.outlet(0.5)
    for outlet in (*closing, steady):
        outlet.reader.follow(log, 0)
    poster = Poster(one, "poster")

    def post() -> None:
        for n in range(600):
            poster.post(log, [f"{n}"])

    def close() -> None:
        for outlet in closing:
            outlet.reader.close()
            size = len(outlet.taken)
            outlet.reader.reply_bytes(b"late")
            assert len(outlet.taken) == size
            outlet.reader.follow(log, 0)

    _run(post, close)
    assert log.followers == (steady.reader,)
    _expect(steady, log, one, 0)


def test_too_much_in_the_queue_makes_the_poster_wait(stage: MakeStage) -> None:
    """The thread that fills the queue waits for the lead, so the queue stays near its limit."""
    one = stage(Limits(queue=1_000))
    posters = [Poster(one, f"poster{n}") for n in range(4)]
    most = 0

    def post(poster: Poster) -> None:
        nonlocal most
        for n in range(300):
            poster.post(one.logs[0], [f"{n}" + "x" * 200])
            most = max(most, one.journal._queued)

    _run(*[partial(post, poster) for poster in posters])
    assert all(poster.settle(300, DEADLINE) for poster in posters)
    assert most < 1_000 + 4 * 400


def test_readers_are_told_in_the_order_of_commits_across_leaders(stage: MakeStage) -> None:
    """A leader that is held up while it delivers is not overtaken."""
    one = stage()
    log = one.logs[0]
    held, go = threading.Event(), threading.Event()

    class Slow(FakeOutlet):
        def transmit(self, data: bytes | memoryview, *, answered: bool = False) -> int:
            if not held.is_set():
                held.set()
                assert go.wait(DEADLINE)
            return super().transmit(data)

    slow = Slow(one.pump, 1.0)
    slow.reader.follow(log, 0)
    first, second = Poster(one, "first"), Poster(one, "second")
    thread = threading.Thread(target=lambda: first.post(log, ["1"]))
    thread.start()
    assert held.wait(DEADLINE)
    second.post(log, ["2"])  # is stored at once, and left to the one who delivers
    assert second.settle(1, DEADLINE)
    assert one.store.kept[log.row.id][-1].text == "2"
    go.set()
    thread.join(DEADLINE)
    _expect(slow, log, one, 0)


def test_a_cursor_only_moves_forwards(stage: MakeStage) -> None:
    """Also before its commit: the higher number counts, whichever of two connections comes first."""
    one = stage()
    log = one.logs[0]
    for number in (3, 5, 4):
        one.journal.move(log, "ann", number)
    one.journal.carry()
    assert one.store.cursors == {(log.row.id, "ann"): 5}
    assert one.moved == [("ann", 5)]


def test_a_cursor_that_is_not_stored_is_not_told_as_delivered(
    stage: MakeStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = stage()

    def fail(*_: object) -> None:
        raise StoreError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(one.store, "move", fail)
        one.journal.move(one.logs[0], "ann", 1)
        one.journal.carry()
        assert one.moved == []
    one.journal.move(one.logs[0], "ann", 2)
    one.journal.carry()
    assert one.moved == [("ann", 2)]


def test_a_transaction_has_a_limit(stage: MakeStage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Posts above the limit go into the next transaction, so a post after a flood waits for one transaction at most."""
    monkeypatch.setattr("channels.journal._COMMIT", 10_000)
    one = stage(Limits(queue=1 << 30))
    log, sizes = one.logs[0], list[int]()
    append = one.store.append

    def counted(postings: Sequence[NewPosts], now: int) -> Appended:
        sizes.append(sum(len(post.text) for posting in postings for post in posting.posts))
        return append(postings, now)

    monkeypatch.setattr(one.store, "append", counted)

    def ignore(*_: object) -> None:
        """No-op: this test looks at the store."""

    for _ in range(50):
        one.journal.post(Posting(log, "ann", "ann", [Say("x" * 1_000)], ignore, ignore), carry=False)
    one.journal.carry()
    assert sum(sizes) == 50_000
    assert max(sizes) <= 10_000
    assert log.tail == 50
