"""The database file: damaged files, durability, and the size of the write-ahead log."""

from __future__ import annotations

import os
import sqlite3
import threading
from pathlib import Path

import pytest

from store import Client, Durability, StoreError, open_store
from store.sqlite import FILE, SqliteDatabase
from store.sqlite import database as sqlite_database
from tests.support.stores import NOW, posting
from tests.support.waiting import DEADLINE


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"Dear diary, today I chatted.\n" * 100, "is not a Partyline database, or it is damaged"),
        (os.urandom(8192), "is not a Partyline database, or it is damaged"),
        (b"SQLite format 3\0" + b"\xff" * 8176, "is"),
    ],
)
def test_a_file_that_is_no_database_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    """With a sentence that names it, and it is not changed."""
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(StoreError, match=reason) as refused:
        open_store(tmp_path)
    assert str(tmp_path / FILE) in str(refused.value)
    assert (tmp_path / FILE).read_bytes() == content
    (tmp_path / FILE).unlink()
    open_store(tmp_path).close()  # the folder is not claimed any more


def test_a_damaged_database_says_so(tmp_path: Path) -> None:
    """A call that meets a damaged page raises StoreError."""
    store = open_store(tmp_path)
    lab = store.open_channel("lab")
    for at in range(50):
        store.append([posting(lab, "ann", *[f"{at} " + "x" * 400 for _ in range(20)])], NOW)
    store.close()
    file = tmp_path / FILE
    with file.open("r+b") as damaged:
        damaged.seek(30 * 4096)
        damaged.write(b"\xee" * (file.stat().st_size - 40 * 4096))

    def use() -> None:
        again = open_store(tmp_path)
        try:
            again.read(lab, 0, 10_000)
        finally:
            again.close()

    with pytest.raises(StoreError, match="says whether it is damaged or the disk fails"):
        use()


@pytest.mark.parametrize(("durability", "level"), [("process", 1), ("power", 2)])
def test_durability_is_synchronous(tmp_path: Path, durability: Durability, level: int) -> None:
    """With NORMAL, commits survive a crash of the process; with FULL, a loss of power too: sqlite.org/pragma.html."""
    database = SqliteDatabase(tmp_path, durability)
    for opened in (database.transaction, database.reading):
        with opened() as db:
            assert db.exec_driver_sql("PRAGMA synchronous").scalar() == level
            assert db.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    database.close()


def test_the_checkpointer_bounds_the_write_ahead_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under writes without a pause, the log starts anew again and again; the thread ends with the store."""
    monkeypatch.setattr(sqlite_database, "_CHECKPOINT_BYTES", 1 << 20)
    monkeypatch.setattr(sqlite_database, "_STARVED_PAGES", 512)  # 2 MiB
    store = open_store(tmp_path)
    lab = store.open_channel("lab")
    posts = ["x" * 4096] * 64
    log = tmp_path / f"{FILE}-wal"
    # The disk decides how long the log is when a checkpoint ends, so the test has no limit in bytes. It asserts that
    # the log stops growing: at some time, the store has written five times the log's greatest length.
    written = 0
    while written < 5 * max(log.stat().st_size, 4 << 20):
        assert written < 400 << 20, f"after {written} bytes the log has {log.stat().st_size}"
        store.append([posting(lab, "ann", *posts)], NOW)
        written += 64 * 4096
    store.close()
    assert "store-checkpointer" not in {thread.name for thread in threading.enumerate()}
    assert not log.exists()


def test_cursors_that_move_are_counted_for_the_next_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crowd that only reads writes cursors; the write-ahead log must not grow with them."""
    store = open_store(tmp_path)
    lab = store.open_channel("lab")
    store.join(lab, "ann")
    checked = threading.Event()
    monkeypatch.setattr(SqliteDatabase, "_checkpoint", lambda _: checked.set())
    monkeypatch.setattr(sqlite_database, "_CHECKPOINT_BYTES", 0)
    store.move({(lab.id, "ann"): 0}, {})
    assert checked.wait(DEADLINE)
    store.close()


def test_sessions_are_counted_for_the_next_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that subscribed again and again made the write-ahead log grow without a bound."""
    store = open_store(tmp_path)
    checked = threading.Event()
    monkeypatch.setattr(SqliteDatabase, "_checkpoint", lambda _: checked.set())
    for _ in range(5):
        store.save_client(Client("ann/1", 1, None, "x" * (1 << 20)))
    assert checked.wait(DEADLINE)
    store.close()


def test_small_transactions_are_counted_for_the_next_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody writes a message, users who come and go made the write-ahead log grow without a bound."""
    store = open_store(tmp_path)
    lab = store.open_channel("lab")
    checked = threading.Event()
    monkeypatch.setattr(SqliteDatabase, "_checkpoint", lambda _: checked.set())
    for _ in range(1_000):
        store.join(lab, "ann")
        store.leave(lab, "ann")
    assert checked.wait(DEADLINE)
    store.close()


def test_any_number_of_sessions_can_end_at_once(tmp_path: Path) -> None:
    """More than one statement has parameters: sqlite.org/limits.html, "Maximum Number Of Host Parameters"."""
    store = open_store(tmp_path)
    with sqlite3.connect(tmp_path / FILE) as db:
        db.executemany(
            "INSERT INTO clients (key, expiry, until, state) VALUES (?, 1, 1, '')",
            [(f"ann/{at}",) for at in range(40_000)],
        )
    lab = store.open_channel("lab")
    store.append([posting(lab, "ann", ("a", "/7/1"), ("b", "/x/1"))], NOW)
    store.end_clients(NOW)
    assert store.clients("") == []
    assert db.execute("SELECT id FROM ids").fetchall() == [("/x/1",)]
    db.close()
    store.close()


def test_a_transaction_keeps_other_writers_out_from_its_start(tmp_path: Path) -> None:
    """A transaction that reads first would fail at its first write if another program had written in between."""
    database = SqliteDatabase(tmp_path)
    other = sqlite3.connect(tmp_path / FILE, timeout=0, isolation_level=None)
    with database.transaction(), pytest.raises(sqlite3.OperationalError, match="database is locked"):
        other.execute("BEGIN IMMEDIATE")
    other.execute("BEGIN IMMEDIATE")
    other.close()
    database.close()


def test_a_failed_transaction_is_rolled_back(tmp_path: Path) -> None:
    """Whatever the error; another thread's transaction comes after it."""
    database = SqliteDatabase(tmp_path)

    def fail() -> None:
        with database.transaction() as db:
            db.exec_driver_sql("INSERT INTO accounts VALUES ('ann', 'Ann', NULL, 0, 0)")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    with database.transaction() as db:
        assert db.exec_driver_sql("SELECT count(*) FROM accounts").scalar() == 0
    database.close()
