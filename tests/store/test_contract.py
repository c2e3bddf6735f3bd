"""What a store promises (store/contract.py), the same for every database behind it; each promise by itself.

tests/store/test_model.py puts them together at random.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from store import Client, LogRow, Store, direct_key
from store.contract import RUN
from tests.support.stores import PLACES, Place, part
from wire.frames import Entry

NOW = 1_790_000_000_000


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """An empty place for a store of each kind."""
    made = PLACES[request.param]()
    yield made
    made.clear()


@pytest.fixture
def store(place: Place) -> Store:
    """An open, empty store of each kind."""
    return place.open()


def texts(store: Store, log: LogRow) -> list[str]:
    """All that is in a log."""
    entries = store.read(log, 0, 1_000_000)
    assert [entry.number for entry in entries] == list(range(1, len(entries) + 1))
    return [entry.text for entry in entries]


def test_entries_are_numbered_from_one_without_a_gap(store: Store) -> None:
    """In each log by itself, over batches of several logs; and they come back as they were given."""
    lab, bench = store.open_channel("lab"), store.open_channel("bench")
    first = store.append([part(lab, "Ann", "a", "b"), part(bench, "Bob", "c"), part(lab, "Bob", "d")], NOW)
    assert [list(row) for row in first.numbers] == [[1, 2], [1], [3]]
    second = store.append([part(lab, "Ann", "e")], NOW + 1)
    assert [list(row) for row in second.numbers] == [[4]]
    assert store.read(lab, 0, 9) == [
        Entry(1, NOW, "Ann", "a", "lab"),
        Entry(2, NOW, "Ann", "b", "lab"),
        Entry(3, NOW, "Bob", "d", "lab"),
        Entry(4, NOW + 1, "Ann", "e", "lab"),
    ]
    assert store.read(bench, 0, 9) == [Entry(1, NOW, "Bob", "c", "bench")]


def test_the_batches_of_an_append_are_what_a_read_shows(store: Store) -> None:
    """Delivery and history agree; the journal counts the entries of all logs in the order of commit."""
    lab, bench = store.open_channel("lab"), store.open_channel("bench")
    appended = [
        store.append([part(lab, "ann", "a", ("b", "1")), part(bench, "bob", "c"), part(lab, "bob", "d")], NOW),
        store.append([part(lab, "ann", ("b", "1"))], NOW),
        store.append([part(bench, "ann", "e")], NOW),
    ]
    batches = [batch for one in appended for batch in one.batches]
    seqs = [seq for batch in batches for seq in range(batch.seq - len(batch.entries) + 1, batch.seq + 1)]
    assert seqs == [1, 2, 3, 4, 5]
    assert appended[1].batches == []
    for log in (lab, bench):
        mine = [batch for batch in batches if batch.log.id == log.id]
        assert all((batch.first, batch.last) == (batch.entries[0].number, batch.entries[-1].number) for batch in mine)
        assert [entry for batch in mine for entry in batch.entries] == store.read(log, 0, 9)
        assert [(run.seq, run.entries) for run in store.read_runs(log, 0, 9)] == [
            (one.seq, one.entries) for one in mine
        ]


def test_an_id_is_kept_once(store: Store, place: Place) -> None:
    """Twice in one part, in one batch, in a later one, after a restart: it has its first number."""
    lab, bench = store.open_channel("lab"), store.open_channel("bench")
    batch = [part(lab, "Ann", "a", ("b", "x"), ("b again", "x")), part(lab, "ANN", ("b once more", "x"), "c")]
    assert [list(row) for row in store.append(batch, NOW).numbers] == [[1, 2, 2], [2, 3]]
    assert [list(row) for row in store.append([part(lab, "ann", ("b", "x"), "d")], NOW).numbers] == [[2, 4]]
    assert list(store.append([part(bench, "ann", ("elsewhere", "x"))], NOW).numbers[0]) == [1], "an id is one log's"
    assert list(store.append([part(lab, "bob", ("b of bob", "x"))], NOW).numbers[0]) == [5]
    expected = ["a", "b", "c", "d", "b of bob"]
    assert texts(store, lab) == expected
    again = place.open()
    assert [list(row) for row in again.append([part(lab, "ann", ("b", "x"), "e")], NOW).numbers] == [[2, 6]]
    assert texts(again, lab) == [*expected, "e"]
    assert texts(again, bench) == ["elsewhere"]


def test_an_append_is_whole_or_not_at_all(store: Store) -> None:
    """A post that cannot be kept takes its batch with it, and leaves no gap and no half of anything."""
    lab, bench = store.open_channel("lab"), store.open_channel("bench")
    store.append([part(lab, "ann", "a")], NOW)
    with pytest.raises(UnicodeEncodeError):
        store.append([part(lab, "ann", ("b", "1")), part(bench, "ann", "c"), part(bench, "ann", "\ud800")], NOW)
    assert (texts(store, lab), texts(store, bench)) == (["a"], [])
    after = store.append([part(bench, "ann", "d"), part(lab, "ann", ("b", "1"))], NOW)
    assert [list(row) for row in after.numbers] == [[1], [2]]
    assert sorted(batch.seq for batch in after.batches) == [2, 3]


def test_texts_come_back_as_they_were(store: Store) -> None:
    """Every character, quotes, ends of lines and of strings, and long ones; ids, too."""
    lab = store.open_channel("lab")
    odd = ["", " ", "\0", "a\0b", "'\"\\", "\n\r\t", "é\u2028\U0001f600", "null", "[]", "%s ? :x", "x" * 100_000]
    store.append([part(lab, "ann", *((text, text[:60] or None) for text in odd))], NOW)
    assert texts(store, lab) == odd
    assert [entry.id for entry in store.read(lab, 0, 99)] == [text[:60] or None for text in odd]


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (RUN,), (RUN + 1, 2), (3 * RUN - 1, 1, 5)])
def test_pages_are_right_wherever_they_begin(store: Store, sizes: tuple[int, ...]) -> None:
    """However the entries were committed, a page is a slice of the list."""
    lab, other = store.open_channel("lab"), store.open_channel("other")
    everything: list[str] = []
    for size in sizes:
        posts = [f"{len(everything) + at}" for at in range(size)]
        everything += posts
        store.append([part(other, "bob", "noise"), part(lab, "ann", *posts)], NOW)
    total = len(everything)
    for after in {0, 1, RUN - 1, RUN, RUN + 1, total - 1, total, total + 1, 10**15}:
        for limit in {0, 1, 2, RUN - 1, RUN, RUN + 1, total, total + 1}:
            page = store.read(lab, after, limit)
            assert [entry.text for entry in page] == everything[after : after + limit]
            assert [entry.number for entry in page] == [int(entry.text) + 1 for entry in page]
            runs = store.read_runs(lab, after, limit)
            assert [entry for run in runs for entry in run.entries] == page
            assert all(run.last - run.first + 1 == len(run.entries) for run in runs)


def test_channels_are_the_same_under_case_folding(store: Store) -> None:
    """And keep the name that was written first."""
    lab = store.open_channel("Lab")
    assert store.open_channel("LAB") == store.open_channel("lab") == lab
    assert (lab.kind, lab.key, lab.name, lab.tail, lab.topic) == ("channel", "lab", "Lab", 0, "")
    store.append([part(lab, "ann", "a")], NOW)
    store.set_topic(lab, "Soldering\0tonight")
    (found,) = store.channels()
    assert (found.id, found.name, found.tail, found.topic) == (lab.id, "Lab", 1, "Soldering\0tonight")


def test_a_direct_log_has_two_members_from_the_start(store: Store) -> None:
    """Whoever opens it, it is one; the other need not have been named before, and finds what waited."""
    assert store.find_direct("Bob", "ann") is None
    log = store.open_direct("Bob", "ann")
    assert store.open_direct("ANN", "bob") == store.find_direct("BOB", "Ann") == log
    assert (log.kind, log.key, log.name, log.other) == ("direct", direct_key("ann", "bob"), "ann", "Bob")
    store.append([part(log, "Bob", "hi"), part(log, "ann", "ho")], NOW)
    assert store.read(log, 0, 9) == [
        Entry(1, NOW, "Bob", "hi", None, "ann"),
        Entry(2, NOW, "ann", "ho", None, "Bob"),
    ]
    assert [account.name for account in store.members(log)] == ["ann", "Bob"]
    assert store.channels() == []
    ((mine),) = store.memberships("ANN")
    assert (mine.log.id, mine.log.tail, mine.cursor) == (log.id, 2, 0)
    store.move({(log.id, "ann"): 2}, {})
    assert store.memberships("ann") == []
    assert len(store.memberships("bob")) == 1


def test_a_talk_with_oneself_has_one_member(store: Store) -> None:
    """A note to oneself is a conversation, too."""
    log = store.open_direct("ann", "Ann")
    assert store.open_direct("ANN", "ann") == log
    store.append([part(log, "ann", "milk")], NOW)
    assert store.read(log, 0, 9) == [Entry(1, NOW, "ann", "milk", None, "ann")]
    assert store.member_count(log) == 1


def test_a_cursor_goes_forwards_only(store: Store) -> None:
    """And only a member has one; it begins at the tail, and a second join changes nothing."""
    store.open_account("Ann")
    lab = store.open_channel("lab")
    store.append([part(lab, "bob", "a", "b", "c")], NOW)
    assert store.cursor(lab, "ann") is None
    store.move({(lab.id, "ann"): 2}, {})
    assert store.cursor(lab, "ann") is None
    assert store.join(lab, "ANN") == 3
    store.append([part(lab, "bob", "d", "e")], NOW)
    assert store.join(lab, "ann") == 3
    for number, expected in ((4, 4), (2, 4), (4, 4), (5, 5), (0, 5)):
        store.move({(lab.id, "ann"): number}, {})
        assert store.cursor(lab, "Ann") == expected
    store.leave(lab, "aNN")
    store.leave(lab, "ann")
    assert store.cursor(lab, "ann") is None
    assert store.join(lab, "ann") == 5


def test_memberships_come_in_the_order_of_joining(store: Store) -> None:
    """So that the one joined last is the current channel after a return."""
    logs = {name: store.open_channel(name) for name in ("c", "a", "b")}
    for name in ("Ann", "bob"):
        store.open_account(name)
    for name in ("b", "c", "a"):
        store.join(logs[name], "ann")
    store.join(logs["a"], "bob")
    assert [mine.log.name for mine in store.memberships("ann")] == ["b", "c", "a"]
    store.leave(logs["b"], "ann")
    store.join(logs["b"], "Ann")
    assert [mine.log.name for mine in store.memberships("ANN")] == ["c", "a", "b"]
    assert [account.name for account in store.members(logs["a"])] == ["Ann", "bob"]
    assert store.member_counts() == {logs["a"].id: 2, logs["b"].id: 1, logs["c"].id: 1}
    assert [store.member_count(logs[name]) for name in "abc"] == [2, 1, 1]


def test_accounts(store: Store) -> None:
    """Made once, as a guest's, under the name that was written first; then password and when last seen."""
    assert store.account("ann") is None
    ann = store.open_account("Ann")
    assert (ann.key, ann.name, ann.password, ann.seen) == ("ann", "Ann", None, 0)
    assert store.open_account("ANN") == store.account("aNN") == ann
    store.set_password("ANN", "hash")
    store.move({}, {"ann": NOW, "nobody": NOW})
    found = store.account("ann")
    assert found is not None
    assert (found.name, found.password, found.seen) == ("Ann", "hash", NOW)
    assert store.account("nobody") is None


def test_everything_is_there_after_reopening(store: Store, place: Place) -> None:
    """Entries, members, cursors, topics, accounts, direct logs; and the numbers go on."""
    lab, talk = store.open_channel("Lab"), store.open_direct("Ann", "bob")
    store.set_topic(lab, "Soldering")
    store.set_password("ann", "hash")
    store.join(lab, "ann")
    store.append([part(lab, "Ann", "a", ("b", "1")), part(talk, "Ann", "hi")], NOW)
    store.move({(lab.id, "ann"): 1}, {"bob": NOW})

    def everything(of: Store) -> object:
        logs = (of.open_channel("lab"), of.open_direct("ann", "bob"))
        return (
            logs, [of.read(log, 0, 9) for log in logs], [of.members(log) for log in logs], of.channels(),
            [of.memberships(user) for user in ("ann", "bob")], of.member_counts(),
        )  # fmt: skip

    before = everything(store)
    again = place.open()
    assert everything(again) == before
    after = again.append([part(lab, "Ann", "c")], NOW)
    assert (list(after.numbers[0]), after.batches[0].seq) == ([3], 4)


def test_a_doors_own_id_is_kept_once_and_not_shown(store: Store) -> None:
    """It begins with a slash; forgotten, it is new again."""
    lab = store.open_channel("lab")
    sent = part(lab, "ann", ("a", "/dev/1"), ("b", "shown"))
    assert list(store.append([sent], NOW).numbers[0]) == [1, 2]
    again = store.append([sent], NOW)
    assert (list(again.numbers[0]), again.batches) == ([1, 2], [])
    assert [entry.id for entry in store.read(lab, 0, 9)] == [None, "shown"]
    store.forget_id("ann", "/dev/1")
    store.forget_id("bob", "shown")
    store.forget_id("ann", "never was")
    third = store.append([sent], NOW)
    assert list(third.numbers[0]) == [3, 2]
    assert [(entry.text, entry.id) for entry in third.batches[0].entries] == [("a", None)]


def test_a_clients_session_is_kept_for_its_time(store: Store, place: Place) -> None:
    """While it is connected, for ever, or until it ends; and what has changed of it replaces what was."""
    assert store.client("ann/dev", NOW) is None
    connected, for_ever = Client("ann/dev", 60, None, "one"), Client("ann/phone", None, None, "two")
    for client in (connected, for_ever):
        store.save_client(client)
        assert store.client(client.key, 10**15) == client
    away = Client("ann/dev", 60, NOW, "three")
    store.save_client(away)
    again = place.open()
    assert again.client("ann/dev", NOW - 1) == away
    assert again.client("ann/dev", NOW) is None
    assert again.client("ann/phone", 10**15) == for_ever


def test_nobody_is_connected_after_a_start(store: Store) -> None:
    """The time of those who were runs from now, those whose time is over are dropped, with all that was theirs."""
    lab = store.open_channel("lab")
    for key, expiry, until in (
        ("a/1", 60, None),
        ("b/1", None, None),
        ("c/1", 60, NOW),
        ("d/1", 60, NOW + 1),
        ("e/1", 0, None),
    ):
        store.save_client(Client(key, expiry, until, ""))
        store.move({(lab.id, key): 1}, {})
    store.part_clients(NOW)
    store.end_clients(NOW)
    kept = {key: store.client(key, NOW) for key in ("a/1", "b/1", "c/1", "d/1", "e/1")}
    assert {key: client.until for key, client in kept.items() if client} == {
        "a/1": NOW + 60_000, "b/1": None, "d/1": NOW + 1,
    }  # fmt: skip
    assert {key: store.client_cursors(key) for key in kept if not kept[key]} == {"c/1": {}, "e/1": {}}
    assert store.client_cursors("d/1") == {lab.id: 1}


def test_a_dropped_client_takes_along_what_was_its_own(store: Store) -> None:
    """Its cursors and its door's ids, and nobody else's."""
    lab = store.open_channel("lab")
    store.open_account("ann")
    store.join(lab, "ann")
    mine, others = "/dev/1", ("/dev2/1", "/de/1", "/dev0/1", "/dev", "dev/1")
    posts = [(id, id) for id in (mine, *others)]
    store.append([part(lab, "ann", *posts), part(lab, "bob", (mine, mine))], NOW)
    for key in ("ann/dev", "ann/dev2", "bob/dev"):
        store.save_client(Client(key, None, None, ""))
        store.move({(lab.id, key): 5}, {})
    store.drop_client("ann/dev")
    store.drop_client("ann/dev")
    assert (store.client("ann/dev", NOW), store.client_cursors("ann/dev")) == (None, {})
    assert store.client_cursors("ann/dev2") == store.client_cursors("bob/dev") == {lab.id: 5}
    fresh = store.append([part(lab, "ann", *posts), part(lab, "bob", (mine, mine))], NOW).batches
    assert [entry.text for batch in fresh for entry in batch.entries] == [mine]
    assert store.cursor(lab, "ann") == 0


def test_a_clients_cursors_are_its_own(store: Store) -> None:
    """They go forwards only, and have nothing to do with those of its user, in the same call or not."""
    lab, den = store.open_channel("lab"), store.open_channel("den")
    store.open_account("ann")
    store.join(lab, "ann")
    store.append([part(lab, "bob", "a", "b", "c")], NOW)
    assert store.client_cursors("ann/dev") == {}
    store.move({(lab.id, "ann/dev"): 2, (lab.id, "ann"): 1, (den.id, "ann/dev"): 0}, {"ann": NOW})
    assert store.client_cursors("ann/dev") == {lab.id: 2, den.id: 0}
    store.move({(lab.id, "ann/dev"): 1, (lab.id, "ann"): 3}, {})
    assert (store.client_cursors("ann/dev")[lab.id], store.cursor(lab, "ann")) == (2, 3)


def test_any_thread_may_call(store: Store) -> None:
    """While several append, others read: each sees a beginning of the log, and nothing is missing in the end."""
    lab = store.open_channel("lab")
    store.open_account("ann")
    writers, posts = 4, 40
    failures: list[BaseException] = []
    done = threading.Event()

    def run(work: Callable[[], None]) -> threading.Thread:
        def guarded() -> None:
            try:
                work()
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=guarded)
        thread.start()
        return thread

    def write(name: str) -> None:
        for at in range(posts):
            (numbers,) = store.append([part(lab, name, (f"{name}-{at}", str(at)))], NOW).numbers
            assert store.read(lab, numbers[0] - 1, 1)[0].text == f"{name}-{at}"
            store.move({(lab.id, name): numbers[0]}, {})

    def look() -> None:
        seen = 0
        while not done.is_set():
            number = len(texts(store, lab))
            assert number >= seen
            seen = number
            store.memberships("ann")

    readers = [run(look) for _ in range(2)]
    threads = [run(lambda name=f"w{at}": write(name)) for at in range(writers)]  # type: ignore[misc]
    for thread in threads:
        thread.join()
    done.set()
    for thread in readers:
        thread.join()
    assert not failures
    assert sorted(texts(store, lab)) == sorted(f"w{writer}-{at}" for writer in range(writers) for at in range(posts))
