"""A database that cannot be reached: each call has its sentence in time, no commit is doubled, and the next goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from store import Store, StoreError, open_store
from store.postgres import connection
from store.postgres.connection import LimitedConnection
from tests.store.postgres.conftest import refused
from tests.support.database_proxy import DatabaseProxy
from tests.support.postgres import PASSWORD, QUOTED_PASSWORD, Cluster
from tests.support.reported import Reported
from tests.support.stores import NOW, PostgresPlace, posting, texts
from tests.support.waiting import ended, eventually

_LIMIT = 0.6  # seconds without an answer
_SLACK = 4.0  # seconds beside the limit, on a busy machine: less than the limit of a server
CALLS: dict[str, Callable[[Store], object]] = {
    "a read": lambda store: store.account("ann"),
    "a transaction": lambda store: store.open_channel("den"),
    "an append": lambda store: store.append([posting(store.channels()[0], "ann", "x")], NOW),
    "a move": lambda store: store.move({(1, "ann"): 1}, {}),
}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections that are made from now on have a short limit, and their statements a shorter one."""
    monkeypatch.setattr(LimitedConnection, "limit", _LIMIT)
    monkeypatch.setattr(connection, "_STATEMENT", int(_LIMIT * 500))
    monkeypatch.setitem(connection._PARAMETERS, "connect_timeout", 2)  # libpq takes no less


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_connection_that_was_cut_is_made_anew(
    far: Store, proxy: DatabaseProxy, call: Callable[[Store], object]
) -> None:
    """One that nobody used meanwhile costs no call: it is looked at before its use."""
    far.open_channel("lab")
    call(far)
    proxy.cut()
    call(far)


def test_a_call_under_way_fails_with_one_sentence(
    far: Store, proxy: DatabaseProxy, reported: Reported, place: PostgresPlace
) -> None:
    """And the next call connects. The log has one line for the loss and one for the end of it."""
    lab = far.open_channel("lab")
    for _ in range(3):
        proxy.stop_before(b"COMMIT")
        sentence = refused(lambda: far.append([posting(lab, "ann", "x")], NOW))
        assert sentence.startswith("The database cannot be reached: ")
        assert sentence.count(". ") == 0
        assert list(far.append([posting(lab, "ann", "y")], NOW).numbers[0])
    assert texts(far, lab) == ["y"] * 3
    assert [event.code for event in reported.events] == ["database-lost", "database-reached"] * 3
    assert place.name in str(reported.events[0])


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_network_that_passes_nothing_is_noticed(
    far: Store, proxy: DatabaseProxy, call: Callable[[Store], object]
) -> None:
    """Within the limit, by a read and a write; and it goes on afterwards."""
    far.open_channel("lab")
    call(far)
    proxy.stall()
    began = time.monotonic()
    sentence = refused(lambda: call(far))
    assert _LIMIT * 0.9 < time.monotonic() - began < _LIMIT + _SLACK
    assert sentence.startswith(f"The database cannot be reached: it gave no answer for {_LIMIT:g} seconds")
    proxy.go_on()
    succeeds(lambda: call(far))


def succeeds(call: Callable[[], object]) -> None:
    """Make a call until it succeeds: after a wait without an answer, calls fail at once for a moment."""
    errors: list[str] = []

    def tried() -> bool:
        try:
            call()
        except StoreError as error:
            errors.append(str(error))
            return False
        return True

    eventually(tried, lambda: f"it fails {len(errors)} times: {errors[-1:]}")


def test_calls_one_after_the_other_do_not_wait_as_many_times(far: Store, proxy: DatabaseProxy) -> None:
    """As logins do, which take turns."""
    far.account("ann")
    proxy.stall()
    began = time.monotonic()
    for _ in range(50):
        assert "it gave no answer" in refused(lambda: far.account("ann"))
    assert time.monotonic() - began < _LIMIT + _SLACK
    proxy.go_on()
    succeeds(lambda: far.account("ann"))


def test_each_call_raises_an_error_of_its_own(far: Store, proxy: DatabaseProxy) -> None:
    """Threads that raised the same object would add to its traceback, which keeps what their frames refer to."""
    far.account("ann")
    proxy.stall()
    errors: list[StoreError] = []
    for _ in range(3):
        with pytest.raises(StoreError) as raised:
            far.account("ann")
        errors.append(raised.value)
    assert len({id(error) for error in errors}) == len(errors)
    proxy.go_on()
    succeeds(lambda: far.account("ann"))


def test_whoever_waits_for_a_turn_fails_with_the_others(far: Store, proxy: DatabaseProxy) -> None:
    """Many readers do not wait for one limit after the other."""
    far.account("ann")
    proxy.stall()
    sentences: list[str] = []
    threads = [
        threading.Thread(target=lambda: sentences.append(refused(lambda: far.account("ann"))), daemon=True)
        for _ in range(40)
    ]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    ended(threads, lambda: len(sentences))
    assert time.monotonic() - began < 2 * _LIMIT + 2 + _SLACK
    assert len(sentences) == 40
    proxy.go_on()
    succeeds(lambda: far.account("ann"))


@pytest.mark.parametrize("call", ["append", "transaction"])
def test_a_commit_whose_answer_was_lost_counts(far: Store, proxy: DatabaseProxy, call: str, one: Store) -> None:
    """The store looks whether it has happened."""
    lab = far.open_channel("lab")
    proxy.lose_answer()
    if call == "append":
        assert list(far.append([posting(lab, "ann", "x", ("y", "id"))], NOW).numbers[0]) == [1, 2]
    else:
        assert far.open_channel("den").name == "den"
    assert proxy.done.is_set()
    assert list(far.append([posting(lab, "ann", ("y", "id"), "z")], NOW).numbers[0])
    assert texts(one, lab) == (["x", "y", "z"] if call == "append" else ["y", "z"])


def test_a_commit_that_nobody_can_ask_about_says_so(cluster: Cluster, place: PostgresPlace) -> None:
    """And the same post with its id is stored once."""
    with DatabaseProxy(cluster.port) as proxy:
        far = open_store(cluster.url(place.name, proxy.port), folder=place.folder)
        lab = far.open_channel("lab")
        proxy.lose_answer()
        proxy.refuse_after_loss = True
        sentence = refused(lambda: far.append([posting(lab, "ann", ("x", "id"))], NOW))
        assert sentence.endswith(", and it may have stored the last change.")
        proxy.refuse_after_loss = False
        proxy.accepts.set()
        assert list(far.append([posting(lab, "ann", ("x", "id"))], NOW).numbers[0]) == [1]
        assert texts(far, lab) == ["x"]
        far.close()


def test_a_statement_that_hangs_ends(far: Store, place: PostgresPlace) -> None:
    """PostgreSQL ends it, before the connection counts as lost."""
    lab = far.open_channel("lab")
    other = place.open()
    database = other._database  # type: ignore[attr-defined]
    with database.cursor_transaction() as cursor:
        cursor.execute("SELECT id FROM logs FOR UPDATE").fetchall()
        began = time.monotonic()
        assert refused(lambda: far.append([posting(lab, "ann", "x")], NOW)) == (
            "The database failed: it took too long to answer."
        )
        assert time.monotonic() - began < _LIMIT + _SLACK
    assert list(far.append([posting(lab, "ann", "x")], NOW).numbers[0]) == [1]


def test_an_administrator_ends_the_connections(far: Store, cluster: Cluster, place: PostgresPlace) -> None:
    for call in CALLS.values():
        far.open_channel("lab")
        call(far)
        cluster.sql(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{place.name}'")
        call(far)


def test_no_sentence_has_the_password(cluster: Cluster, place: PostgresPlace) -> None:
    """Neither of a URL that is wrong nor of a server that refuses us."""
    wrong = {
        cluster.url(place.name).replace(QUOTED_PASSWORD, PASSWORD): "URL is wrong",
        cluster.url(place.name).replace(QUOTED_PASSWORD, "secret/of"): "URL is wrong",
        cluster.url(place.name).replace(QUOTED_PASSWORD, "the@secret"): "URL is wrong",
        cluster.url(place.name).replace(QUOTED_PASSWORD, "secret%ZZ"): "URL is wrong",
        cluster.url(place.name).replace(QUOTED_PASSWORD, "not-the-secret"): "password authentication failed",
        cluster.url("nowhere"): 'database "nowhere" does not exist',
        cluster.url(place.name, 1): "Connection refused",
        f"postgresql://partyline:the-secret@127.0.0.1/{place.name}?nothing=secret": "URL is wrong",
    }
    for url, sentence in wrong.items():
        with pytest.raises(StoreError) as raised:
            open_store(url, folder=place.folder)
        assert sentence in str(raised.value)
        assert "secret" not in str(raised.value)
        assert raised.value.__cause__ is None
        assert "secret" not in repr(raised.value.__context__)
