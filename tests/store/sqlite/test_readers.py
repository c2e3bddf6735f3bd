"""The connections that only read: threads use them in turn, nobody is refused, and each error has a sentence."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest
import sqlalchemy.exc

from store import StoreError, open_store
from store.sqlite import SqliteDatabase
from store.sqlite.database import _READERS
from tests.support.waiting import DEADLINE, ended, eventually

STORM = 400


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SqliteDatabase]:
    """A new database."""
    opened = SqliteDatabase(tmp_path)
    yield opened
    opened.close()


def test_threads_read_in_the_order_in_which_they_came(database: SqliteDatabase) -> None:
    """With every connection in use, a storm of threads waits, and nobody is overtaken or turned away."""
    served: list[int] = []
    readers = database._readers
    threads: list[threading.Thread] = []

    def read(number: int) -> None:
        with database.reading() as db:
            served.append(number)
            assert db.exec_driver_sql("SELECT 1").scalar() == 1

    with ExitStack() as others, ExitStack() as last:
        for _ in range(_READERS - 1):
            others.enter_context(database.reading())
        last.enter_context(database.reading())
        for number in range(STORM):
            threads.append(threading.Thread(target=read, args=(number,), daemon=True))
            threads[-1].start()
            eventually(lambda: len(readers._waiting) == len(threads), lambda: f"{len(readers._waiting)} wait")
        assert served == []
        last.close()  # this one connection serves all of them
        ended(threads, lambda: len(served))
    assert served == list(range(STORM))


def test_a_storm_of_readers_and_writers_loses_nobody(tmp_path: Path) -> None:
    """Each of many threads logs in as the server does it: account, memberships, a cursor."""
    store = open_store(tmp_path)
    lab = store.open_channel("lab")
    failures: list[BaseException] = []
    done: list[int] = []
    go = threading.Event()

    def log_in(number: int) -> None:
        try:
            assert go.wait(DEADLINE)
            key = f"user{number}"
            assert store.open_account(key).key == key
            assert store.join(lab, key) == (0, True)
            assert [each.log.id for each in store.memberships(key)] == [lab.id]
            assert store.cursor(lab, key) == 0
            done.append(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=log_in, args=(number,), daemon=True) for number in range(STORM)]
    for thread in threads:
        thread.start()
    go.set()
    ended(threads, lambda: len(done))
    assert not failures, failures[:3]
    assert sorted(done) == list(range(STORM))
    assert store.member_counts() == {lab.id: STORM}
    store.close()


def test_a_reader_that_fails_does_not_take_its_connection_with_it(database: SqliteDatabase) -> None:
    for _ in range(3 * _READERS):
        with pytest.raises(StoreError, match="it cannot be read"), database.reading() as db:
            db.exec_driver_sql("SELECT * FROM missing")
    assert len(database._readers._free) == _READERS


@pytest.mark.parametrize("block", ["reading", "transaction"])
@pytest.mark.parametrize(
    "error",
    [
        sqlalchemy.exc.TimeoutError("QueuePool limit of size 5 overflow 0 reached"),
        sqlalchemy.exc.NoResultFound("No row was found when one was required"),
        sqlalchemy.exc.InvalidRequestError(),
    ],
)
def test_whatever_sqlalchemy_raises_is_a_store_error(
    database: SqliteDatabase, block: str, error: sqlalchemy.exc.SQLAlchemyError
) -> None:
    """With a sentence that names the file."""
    run: Callable[[], AbstractContextManager[object]] = getattr(database, block)
    with pytest.raises(StoreError) as refused, run():
        raise error
    assert str(refused.value).startswith(f"The store {database.file} failed: ")
    assert str(refused.value).endswith(f"{error or type(error).__name__}.")
