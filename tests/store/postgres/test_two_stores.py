"""Two stores on one database at the same time: what a transaction has read still holds when it writes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

from store import Client, FileRow, Store, StoreError
from store.sql import RunRow
from tests.support.stores import NOW, PostgresPlace, posting, texts
from tests.support.waiting import DEADLINE, ended, eventually
from wire.clock import now

LATER = now() + 10**9
_TIMES = 60


def both(*calls: Callable[[], object]) -> None:
    """Make the calls at the same time, each in a thread of its own; raise the first error."""
    failures: list[BaseException] = []
    start = threading.Barrier(len(calls))

    def guarded(call: Callable[[], object]) -> None:
        try:
            start.wait(DEADLINE)
            call()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(call,), daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    ended(threads, lambda: len(failures))
    if failures:
        raise failures[0]


def test_two_writers_number_the_same_logs_without_a_gap(one: Store, other: Store) -> None:
    """In either order of the logs, with ids that both of them post."""
    logs = [one.open_channel(f"c{at}") for at in range(3)]
    numbers: dict[str, list[tuple[int, ...]]] = {"one": [], "other": []}

    def write(name: str, store: Store) -> None:
        ordered = logs if name == "one" else logs[::-1]
        for at in range(_TIMES):
            batch = [posting(log, "ann", (f"{at}", f"id{at}"), f"{name} {at}") for log in ordered]
            appended = store.append(batch, NOW)
            found = [row[0] for row in appended.numbers]
            numbers[name].append(tuple(found if name == "one" else found[::-1]))

    both(lambda: write("one", one), lambda: write("other", other))
    assert numbers["one"] == numbers["other"], "a post with the same id is one post"
    for log in logs:
        found = texts(other, log)  # checks that the numbers have no gap
        assert sorted(found) == sorted(
            [f"{at}" for at in range(_TIMES)] + [f"{name} {at}" for name in numbers for at in range(_TIMES)]
        )
        batches = one.read_batches(log, 0, 10_000)
        seqs = [seq for batch in batches for seq in range(batch.seq - len(batch.entries) + 1, batch.seq + 1)]
        assert len(set(seqs)) == len(seqs) == 3 * _TIMES


def test_no_entry_of_two_stores_has_the_same_number_in_the_journal(one: Store, other: Store) -> None:
    """Also across logs, in large appends, and after a store was opened anew."""
    lab, den = one.open_channel("lab"), one.open_channel("den")
    seqs: list[int] = []

    def write(store: Store, log: object) -> None:
        for count in (1, 3_000, 2, 1_024, 1, 1_025):
            (batch,) = store.append([posting(log, "ann", *["x"] * count)], NOW).batches  # type: ignore[arg-type]
            seqs.extend(range(batch.seq - count + 1, batch.seq + 1))

    both(lambda: write(one, lab), lambda: write(other, den))
    assert len(set(seqs)) == len(seqs)


def test_a_channel_an_account_and_a_conversation_are_opened_once(one: Store, other: Store) -> None:
    opened: dict[str, list[object]] = {"one": [], "other": []}

    def open_all(name: str, store: Store) -> None:
        for at in range(_TIMES):
            opened[name] += [
                store.open_channel(f"lab{at}" if name == "one" else f"LAB{at}").id,
                store.open_account(f"ann{at}").key,
                store.open_private_log(f"bob{at}", f"cy{at}").id,
            ]

    both(lambda: open_all("one", one), lambda: open_all("other", other))
    assert opened["one"] == opened["other"]
    assert len(one.channels()) == _TIMES


def test_a_user_joins_once(one: Store, other: Store) -> None:
    logs = [one.open_channel(f"c{at}") for at in range(_TIMES)]
    one.open_account("ann")
    joined: list[bool] = []

    def join(store: Store) -> None:
        joined.extend([store.join(log, "ann")[1] for log in logs])

    both(lambda: join(one), lambda: join(other))
    assert sorted(joined) == [False] * _TIMES + [True] * _TIMES
    assert len(one.memberships("ann")) == _TIMES


def test_an_offer_is_stored_once_and_fetched_once(one: Store, other: Store) -> None:
    lab = one.open_channel("lab")
    found: dict[str, list[str]] = {"one": [], "other": []}
    new: list[bool] = []

    def offer(name: str, store: Store) -> None:
        for at in range(_TIMES):
            row = FileRow(f"{name}{at}", lab.id, "ann", "ann", f"own{at}", "x", 1, NOW, NOW)
            found[name].append(store.add_file(row).id)
            new.append(store.note_fetched(f"f{at}", "ann"))

    both(lambda: offer("one", one), lambda: offer("other", other))
    assert found["one"] == found["other"]
    assert sorted(new) == [False] * _TIMES + [True] * _TIMES


def test_an_empty_channel_leaves_or_is_used(one: Store, other: Store) -> None:
    """A post and a removal at the same time: whichever is first wins, and no entry is without its channel."""
    sentences: set[str] = set()
    for at in range(_TIMES):
        log = one.open_channel(f"c{at}")
        one.open_channel(f"newer{at}")
        removed: list[bool] = []
        stored: list[bool] = []

        def post(log: object = log, stored: list[bool] = stored) -> None:
            try:
                other.append([posting(log, "ann", "x")], NOW)  # type: ignore[arg-type]
                stored.append(True)
            except StoreError as error:
                stored.append(False)
                sentences.add(str(error))

        def remove(log: object = log, removed: list[bool] = removed) -> None:
            removed.append(one.remove_empty_log(log, LATER))  # type: ignore[arg-type]

        both(post, remove)
        assert removed[0] is not stored[0]
        assert (one.log(log.id) is None) is removed[0]
        assert len(one.read(log, 0, 9)) == stored[0]
    assert sentences <= {"A channel is not in the database any more: another server has removed it."}


def test_a_removal_waits_for_an_append_that_has_begun(one: Store, other: Store, place: PostgresPlace) -> None:
    """The append holds the channel's row: the removal sees what it has stored, however late it commits."""
    log = one.open_channel("lab")
    one.open_channel("newer")
    statements = one._statements  # type: ignore[attr-defined]
    insert = statements.insert
    removed: list[bool] = []
    remover = threading.Thread(target=lambda: removed.append(other.remove_empty_log(log, LATER)), daemon=True)

    def late(cursor: object, runs: list[RunRow], ids: object) -> None:
        remover.start()
        eventually(lambda: waiting(place) == 1, lambda: f"{waiting(place)} wait for a lock")
        insert(cursor, runs, ids)

    statements.insert = late
    one.append([posting(log, "ann", "x")], NOW)
    ended([remover], lambda: removed)
    assert removed == [False]
    assert texts(other, log) == ["x"]


def waiting(place: PostgresPlace) -> int:
    """Return how many connections to the database wait for a lock."""
    query = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{place.name}' AND wait_event_type = 'Lock'"
    return int(place.cluster.sql(query)[0][0])


def test_a_guest_who_comes_back_is_not_forgotten(one: Store, other: Store) -> None:
    """One server begins a conversation with a guest whom another one forgets: the conversation has both members."""
    for at in range(_TIMES):
        one.open_account(f"guest{at}")
        key = f"guest{at}"
        both(partial(one.forget_guest, key, LATER), partial(other.open_private_log, "bob", key))
        log = one.find_private_log("bob", key)
        assert log is not None
        assert [account.key for account in one.members(log)] == ["bob", key]


def test_a_session_that_is_taken_up_again_is_not_removed(one: Store, other: Store) -> None:
    """One server makes room by removing a session, which a client takes up at the other server: not both."""
    for at in range(_TIMES):
        one.save_client(Client(f"ann{at}/dev", 60, NOW, "away"))
        both(
            partial(one.make_room, f"ann{at}/new", 1, 0),
            partial(other.save_client, Client(f"ann{at}/dev", 60, None, "here")),
        )
        found = one.client(f"ann{at}/dev", NOW)
        assert found is not None
        assert found.state == "here"


def test_cursors_move_beside_each_other(one: Store, other: Store) -> None:
    """The same rows in either order: the highest number stays, and nobody fails."""
    logs = [one.open_channel(f"c{at}") for at in range(10)]
    for name in ("ann", "bob"):
        one.open_account(name)
        for log in logs:
            one.join(log, name)

    def move(store: Store, back: bool, most: int) -> None:
        for number in range(most):
            pairs = [(log.id, key) for log in logs for key in ("ann", "bob", "ann/dev")]
            store.move(dict.fromkeys(pairs[::-1] if back else pairs, number), {"ann": number, "bob": number})

    both(lambda: move(one, back=False, most=_TIMES), lambda: move(other, back=True, most=_TIMES + 5))
    assert {one.cursor(log, name) for log in logs for name in ("ann", "bob")} == {_TIMES + 4}
    assert set(one.client_cursors("ann/dev").values()) == {_TIMES + 4}


def test_a_deadlock_is_tried_again(one: Store, other: Store, place: PostgresPlace) -> None:
    """Another program holds one log and wants the other: PostgreSQL ends one of the two, and the append succeeds."""
    lab, den = one.open_channel("lab"), one.open_channel("den")
    database = other._database  # type: ignore[attr-defined]
    failed: list[BaseException] = []

    def cross() -> None:
        try:
            with database.cursor_transaction() as cursor:
                lock = "SELECT id FROM logs WHERE id = %s FOR UPDATE"
                cursor.execute(lock, (den.id,)).fetchall()
                held.set()
                eventually(lambda: waiting(place) == 1, lambda: "the append does not wait")
                cursor.execute(lock, (lab.id,)).fetchall()
        except StoreError as error:
            failed.append(error)

    held = threading.Event()
    thread = threading.Thread(target=cross, daemon=True)
    thread.start()
    assert held.wait(DEADLINE)
    assert [list(row) for row in one.append([posting(lab, "ann", "x"), posting(den, "ann", "y")], NOW).numbers] == [
        [1], [1],
    ]  # fmt: skip
    ended([thread], lambda: failed)
