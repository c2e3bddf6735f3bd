"""The logs in memory: one object for each log, as long as somebody uses it, and never two for the same one."""

from __future__ import annotations

import gc
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from channels import Chat
from channels.log import Log
from channels.open_logs import OpenLogs
from server import Server
from store import LogRow, Store, open_store
from store.sqlite import FILE
from tests.support.clients import Json
from tests.support.fixtures import StartServer
from tests.support.stores import NOW, posting
from tests.support.waiting import DEADLINE, ended, eventually
from wire.frames import Entry, Hello, Msg, Stored
from wire.limits import Limits

TALKS = 100_000
Connect = Callable[..., Json]


def in_memory(chat: Chat) -> int:
    """Return how many logs are in memory."""
    gc.collect()
    return len(chat.logs)


def test_private_logs_leave_memory(tmp_path: Path) -> None:
    """After a hundred thousand talks, memory has as many logs as before."""
    store = open_store(tmp_path)
    chat = Chat(store, Limits())
    first = store.open_private_log("ann", "user").id + 1
    with sqlite3.connect(tmp_path / FILE) as db:
        rows = [(first + at, f"ann:user{at}", f"user{at}") for at in range(TALKS)]
        db.executemany(
            "INSERT INTO logs (id, kind, key, name, other, topic) VALUES (?, 'direct', ?, 'ann', ?, '')", rows
        )
    db.close()
    used: deque[Log] = deque(maxlen=10)
    for id, key, _ in rows:
        log = chat.log_of(id)
        assert log is not None
        assert chat.log(log.row) is log
        assert log.row.key == key
        used.append(log)
        assert len(chat.logs) <= 10 + 1
    del log
    used.clear()
    assert in_memory(chat) == 0
    chat.close()
    store.close()


def test_the_logs_of_a_connection_leave_with_it(start_server: StartServer, connect: Connect) -> None:
    """Also those whose messages the journal keeps for readers that are a little behind."""
    server: Server = start_server(limits=Limits(new_talks_per_hour=0, posts_per_second=0, new_names_per_hour=0))
    alice = connect(server.address, "alice")
    for at in range(100):
        assert isinstance(alice.request(Msg(f"user{at}", "hello")), Stored)
    assert in_memory(server.chat) == 100
    alice.close()
    eventually(lambda: in_memory(server.chat) == 0, lambda: f"{in_memory(server.chat)} logs are in memory")
    for at in (0, 99):
        user = connect(server.address, f"user{at}")
        assert user.expect(Entry).text == "hello"
    again = connect(server.address, "alice")
    assert again.request(Msg("user0", "again")).number == 2
    assert connect(server.address, "user50").expect(Entry).number == 1


def test_channels_stay(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    chat = Chat(store, Limits())
    lab = id(chat.log(store.open_channel("lab")))
    assert in_memory(chat) == 1
    found = chat.channel("LAB")
    assert id(found) == lab
    chat.close()
    store.close()


def _is_number(number: int, entry: Entry) -> bool:
    return entry.number == number


class Rows:
    """A store whose `log` can be held up."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.amid: Callable[[], None] = lambda: None
        self.reads = 0

    def log(self, id: int) -> LogRow | None:
        self.reads += 1
        row = self.store.log(id)
        self.amid()
        return row


@pytest.fixture
def rows(tmp_path: Path) -> Any:
    """Rows with one private log, whose id is `row.id`."""
    store = open_store(tmp_path)
    made = Rows(store)
    made.row = store.open_private_log("ann", "bob")  # type: ignore[attr-defined]
    yield made
    store.close()


def test_two_threads_that_open_a_log_get_one_object(rows: Any) -> None:
    """The second one comes while the first one has read the row."""
    logs = OpenLogs(rows, lambda log: None)
    found: list[Log | None] = []
    second = threading.Thread(target=lambda: found.append(logs.open(rows.row.id)))

    def amid() -> None:
        rows.amid = lambda: None
        second.start()

    rows.amid = amid
    found.append(logs.open(rows.row.id))
    second.join(DEADLINE)
    assert found[0] is found[1] is not None
    assert rows.reads == 1


def test_an_object_is_made_from_what_the_store_has_now(rows: Any) -> None:
    """A row that was read before another object of the log came and left has an old tail."""
    logs = OpenLogs(rows, lambda log: None)
    stale = rows.row
    assert logs.open(stale.id) is not None  # it leaves at once
    rows.store.append([posting(stale, "ann", "1", "2")], NOW)
    log = logs.open(stale.id)
    assert log is not None
    assert (stale.tail, log.tail) == (0, 2)
    assert logs.private(stale.key) is log
    assert logs.open(10**9) is None


def test_a_log_that_somebody_uses_is_not_idle(rows: Any) -> None:
    """And nobody can open it while it is taken for idle."""
    logs = OpenLogs(rows, lambda log: None)
    order: list[str] = []
    log = logs.open(rows.row.id)
    assert not logs.while_idle(rows.row.id, lambda: True)
    del log
    other = threading.Thread(target=lambda: order.append(f"opened {logs.open(rows.row.id) is not None}"))

    def remove() -> bool:
        other.start()
        order.append("removed")
        return True

    assert logs.while_idle(rows.row.id, remove)
    other.join(DEADLINE)
    assert order == ["removed", "opened True"]


def test_talks_that_come_and_go_lose_no_message(start_server: StartServer, connect: Connect) -> None:
    """Users connect and leave all the time, so each log enters and leaves memory between the messages to it."""
    server = start_server(limits=Limits(posts_per_second=0, logins_per_minute=0))
    users, turns = 6, 25
    had: dict[tuple[str, str], list[int]] = {}
    failures: list[BaseException] = []

    def talk(name: str, partner: str) -> None:
        try:
            for turn in range(turns):
                client = Json(server.address, name, since={f"@{partner}": len(had.get((name, partner), []))})
                number = client.request(Msg(partner, f"{name} {turn}")).number
                client.expect(Entry, partial(_is_number, number))
                had.setdefault((name, partner), []).extend(entry.number for entry in client.of(Entry))
                client.close()
        except BaseException as error:
            failures.append(error)

    pairs = [(f"a{at}", f"b{at}") for at in range(users // 2)]
    threads = [
        threading.Thread(target=talk, args=pair, daemon=True)
        for one, other in pairs
        for pair in ((one, other), (other, one))
    ]
    for thread in threads:
        thread.start()
    ended(threads, lambda: sum(map(len, had.values())))
    assert not failures, failures[:2]
    for one, other in pairs:
        for name, partner in ((one, other), (other, one)):
            client = connect(server.address)
            client.request(Hello(name=name, since={f"@{partner}": len(had[name, partner])}))
            rest = 2 * turns - len(had[name, partner])
            numbers = had[name, partner] + [client.expect(Entry).number for _ in range(rest)]
            assert numbers == list(range(1, 2 * turns + 1))
            client.close()
