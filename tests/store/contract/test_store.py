"""The whole contract: everything is stored after a restart, and any thread may call."""

from __future__ import annotations

import threading
from collections.abc import Callable

from store import Store
from tests.support.stores import NOW, Place, posting, texts


def test_everything_is_there_after_reopening(store: Store, place: Place) -> None:
    """Entries, members, cursors, topics, accounts and private logs; the next numbers follow the old ones."""
    lab, talk = store.open_channel("Lab"), store.open_private_log("Ann", "bob")
    store.set_topic(lab, "Soldering")
    store.set_password("ann", "hash")
    store.join(lab, "ann")
    store.append([posting(lab, "Ann", "a", ("b", "1")), posting(talk, "Ann", "hi")], NOW)
    store.move({(lab.id, "ann"): 1}, {"bob": NOW})

    def everything(of: Store) -> object:
        logs = (of.open_channel("lab"), of.open_private_log("ann", "bob"))
        return (
            logs, [of.read(log, 0, 9) for log in logs], [of.members(log) for log in logs], of.channels(),
            [of.memberships(user) for user in ("ann", "bob")], of.member_counts(),
        )  # fmt: skip

    before = everything(store)
    again = place.open()
    assert everything(again) == before
    after = again.append([posting(lab, "Ann", "c")], NOW)
    assert list(after.numbers[0]) == [3]
    assert after.batches[0].seq == 4 if place.counts else after.batches[0].seq > 3


def test_any_thread_may_call(store: Store) -> None:
    """Some threads append while others read: a read returns a beginning of the log, and no entry is lost."""
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
            (numbers,) = store.append([posting(lab, name, (f"{name}-{at}", str(at)))], NOW).numbers
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
