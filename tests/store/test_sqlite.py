"""The store on SQLite: migrations, files that are not what they should be, and what the contract says about crashes."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy

from store import Durability, StoreError, open_store
from store.sql import schema
from store.sqlite import SqliteStore
from store.sqlite import database as sqlite_store
from store.sqlite.migrations import STEPS
from tests.support.repository import ROOT
from tests.support.stores import part
from tests.support.waiting import DEADLINE
from wire.frames import Entry

NOW = 1_790_000_000_000

# A database as the first released version made it, with something in it. This never changes.
FIRST = """
CREATE TABLE version (number INTEGER NOT NULL);
INSERT INTO version VALUES (1);
CREATE TABLE accounts (key TEXT NOT NULL PRIMARY KEY, name TEXT NOT NULL, password TEXT, seen BIGINT NOT NULL);
INSERT INTO accounts VALUES ('ann', 'Ann', 'hash', 5), ('bob', 'bob', NULL, 0);
CREATE TABLE logs (id INTEGER NOT NULL PRIMARY KEY, kind TEXT NOT NULL, key TEXT NOT NULL, name TEXT NOT NULL,
    other TEXT NOT NULL, topic TEXT NOT NULL, tail BIGINT NOT NULL, CONSTRAINT logs_key UNIQUE (kind, key));
INSERT INTO logs VALUES (1, 'journal', '', '', '', '', 4), (2, 'channel', 'lab', 'Lab', '', 'Soldering', 3),
    (3, 'direct', 'ann:bob', 'Ann', 'bob', '', 1);
CREATE TABLE members (log BIGINT NOT NULL, "user" TEXT NOT NULL, cursor BIGINT NOT NULL, joined BIGINT NOT NULL,
    PRIMARY KEY (log, "user")) WITHOUT ROWID;
CREATE INDEX members_user ON members ("user");
INSERT INTO members VALUES (2, 'ann', 2, 1), (3, 'ann', 0, 2), (3, 'bob', 0, 1);
CREATE TABLE runs (seq INTEGER NOT NULL PRIMARY KEY, log BIGINT NOT NULL, last BIGINT NOT NULL,
    count INTEGER NOT NULL, body TEXT NOT NULL);
CREATE UNIQUE INDEX runs_log ON runs (log, last);
INSERT INTO runs VALUES (2, 2, 2, 2, '[[7,"Ann","a",null],[7,"bob","b","x"]]'), (3, 3, 1, 1, '[[8,"bob","hi",null]]'),
    (4, 2, 3, 1, '[[9,"Ann","c",null]]');
CREATE TABLE ids (sender TEXT NOT NULL, id TEXT NOT NULL, log BIGINT NOT NULL, number BIGINT NOT NULL,
    PRIMARY KEY (sender, id)) WITHOUT ROWID;
INSERT INTO ids VALUES ('bob', 'x', 2, 2);
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    """An empty store in the test's folder."""
    opened = SqliteStore(tmp_path)
    yield opened
    opened.close()


def shape(engine: sqlalchemy.Engine) -> dict[str, object]:
    """Every table's columns, keys and indexes, and whether its rows are numbered."""
    look = sqlalchemy.inspect(engine)
    with engine.connect() as db:
        listed = db.exec_driver_sql("PRAGMA table_list").all()
    numbered = {row[1]: not row[4] for row in listed}
    return {
        table: (
            [
                (column["name"], str(column["type"]), column["nullable"], column["default"])
                for column in look.get_columns(table)
            ],
            look.get_pk_constraint(table)["constrained_columns"],
            sorted((index["name"] or "", index["column_names"], index["unique"]) for index in look.get_indexes(table)),
            sorted((key["name"] or "", key["column_names"]) for key in look.get_unique_constraints(table)),
            look.get_foreign_keys(table),
            numbered[table],
        )
        for table in look.get_table_names()
    }


def todays_shape() -> dict[str, object]:
    """The shape of schema.py."""
    engine = sqlalchemy.create_engine("sqlite://", poolclass=sqlalchemy.pool.StaticPool)
    schema.metadata.create_all(engine)
    return shape(engine)


def test_a_new_database_is_as_the_schema_says(store: SqliteStore) -> None:
    """The steps of migrations.py lead to the tables of schema.py."""
    assert shape(store._engine) == todays_shape()


def test_the_first_versions_database_is_understood(tmp_path: Path) -> None:
    """It is brought up to date, keeps all that was in it, and goes on."""
    with sqlite3.connect(tmp_path / sqlite_store.FILE) as db:
        db.executescript(FIRST)
    db.close()
    store = SqliteStore(tmp_path)
    assert shape(store._engine) == todays_shape()
    assert store._writer.exec_driver_sql("SELECT number FROM version").scalar() == len(STEPS)
    (lab,) = store.channels()
    assert (lab.name, lab.topic, lab.tail) == ("Lab", "Soldering", 3)
    assert store.read(lab, 0, 9) == [
        Entry(1, 7, "Ann", "a", "Lab"),
        Entry(2, 7, "bob", "b", "Lab", id="x"),
        Entry(3, 9, "Ann", "c", "Lab"),
    ]
    talk = store.open_direct("bob", "ANN")
    assert store.read(talk, 0, 9) == [Entry(1, 8, "bob", "hi", None, "Ann")]
    assert [(mine.log.id, mine.cursor) for mine in store.memberships("ann")] == [(2, 2), (3, 0)]
    ann = store.account("ann")
    assert ann is not None
    assert (ann.name, ann.password, ann.seen) == ("Ann", "hash", 5)
    appended = store.append([part(lab, "bob", ("again", "x"), "new")], NOW)
    assert (list(appended.numbers[0]), appended.batches[0].seq) == ([2, 4], 5)
    elsewhere = store.append([part(talk, "bob", ("the id of another log", "x"))], NOW)
    assert list(elsewhere.numbers[0]) == [2], "the same id in another log is another post"
    store.close()


def test_a_newer_database_is_left_alone(tmp_path: Path) -> None:
    """With a sentence that says which version wrote it; and it can still be opened by that one."""
    SqliteStore(tmp_path).close()
    with sqlite3.connect(tmp_path / sqlite_store.FILE) as db:
        db.execute("UPDATE version SET number = ?", (len(STEPS) + 1,))
    db.close()
    before = (tmp_path / sqlite_store.FILE).read_bytes()
    known = len(STEPS)
    with pytest.raises(StoreError, match=rf"newer Partyline \(schema {known + 1}, this one knows up to {known}\)"):
        open_store(tmp_path)
    assert (tmp_path / sqlite_store.FILE).read_bytes() == before


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"Dear diary, today I chatted.\n" * 100, "is not a Partyline database, or it is damaged"),
        (os.urandom(8192), "is not a Partyline database, or it is damaged"),
        (b"SQLite format 3\0" + b"\xff" * 8176, "is"),
    ],
)
def test_a_file_that_is_no_database_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    """With a sentence, and it is left as it was."""
    (tmp_path / sqlite_store.FILE).write_bytes(content)
    with pytest.raises(StoreError, match=reason) as refused:
        open_store(tmp_path)
    assert str(tmp_path / sqlite_store.FILE) in str(refused.value)
    assert (tmp_path / sqlite_store.FILE).read_bytes() == content


@pytest.mark.parametrize(
    "script",
    [
        "CREATE TABLE version (text TEXT)",
        "CREATE TABLE version (number INTEGER)",
        "CREATE TABLE version (number INTEGER); INSERT INTO version VALUES (NULL)",
        "CREATE TABLE accounts (id INTEGER)",
    ],
)
def test_another_programs_database_is_refused(tmp_path: Path, script: str) -> None:
    """With a sentence, and without half of our tables in it."""
    with sqlite3.connect(tmp_path / sqlite_store.FILE) as db:
        db.executescript(script)
        before = list(db.execute("SELECT sql FROM sqlite_schema"))
    db.close()
    with pytest.raises(StoreError, match="failed: "):
        open_store(tmp_path)
    with sqlite3.connect(tmp_path / sqlite_store.FILE) as db:
        assert list(db.execute("SELECT sql FROM sqlite_schema")) == before
    db.close()


def test_a_damaged_database_says_so(tmp_path: Path) -> None:
    """Pages of rubbish in the middle: the calls that meet them raise StoreError."""
    store = SqliteStore(tmp_path)
    lab = store.open_channel("lab")
    for at in range(50):
        store.append([part(lab, "ann", *[f"{at} " + "x" * 400 for _ in range(20)])], NOW)
    store.close()
    file = tmp_path / sqlite_store.FILE
    with file.open("r+b") as damaged:
        damaged.seek(30 * 4096)
        damaged.write(b"\xee" * (file.stat().st_size - 40 * 4096))

    def use() -> None:
        again = SqliteStore(tmp_path)
        try:
            again.read(lab, 0, 10_000)
        finally:
            again.close()

    with pytest.raises(StoreError, match="it is damaged; restore it from a copy"):
        use()


def test_a_folder_that_cannot_be_one(tmp_path: Path) -> None:
    """A file where the data folder should be, or on the way to it."""
    file = tmp_path / "data"
    file.write_text("a file")
    with pytest.raises(StoreError, match=f"data folder {file} cannot be used: File exists"):
        open_store(file)
    with pytest.raises(StoreError, match="cannot be used: Not a directory"):
        open_store(file / "below")


def test_a_folder_is_one_servers(tmp_path: Path) -> None:
    """The second is told which process has it; when that one has gone, it is free again."""
    first = open_store(tmp_path / "data" / "deep")
    with pytest.raises(StoreError, match=rf"in use by another server \(process {os.getpid()}\)"):
        open_store(tmp_path / "data" / "deep")
    lab = first.open_channel("lab")
    first.append([part(lab, "ann", "still mine")], NOW)
    first.close()
    open_store(tmp_path / "data" / "deep").close()


READ_ONLY = """
import os, sys
from pathlib import Path
from store import StoreError, open_store
from store.sqlite import SqliteStore
if os.getuid() == 0:
    os.setuid(65534)
try:
    open_store(Path(sys.argv[1]))
except StoreError as error:
    print(error)
"""


def test_a_folder_that_may_not_be_written() -> None:
    """Nor is it anybody's but root's; so the test's process is nobody, if the tests run as root."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o555)
        for target in (folder, folder / "data"):
            result = subprocess.run(
                [sys.executable, "-c", READ_ONLY, str(target)], cwd=ROOT, capture_output=True, text=True, check=True
            )
            assert result.stdout == f"The data folder {target} cannot be used: Permission denied.\n"
        folder.chmod(0o755)


@pytest.mark.parametrize(("durability", "level"), [("process", 1), ("power", 2)])
def test_durability_is_synchronous(tmp_path: Path, durability: Durability, level: int) -> None:
    """NORMAL is whole after a crash of the process, FULL after a loss of power, too: sqlite.org/pragma.html."""
    store = SqliteStore(tmp_path, durability)
    assert store._writer.exec_driver_sql("PRAGMA synchronous").scalar() == level
    assert store._writer.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    store.close()


def test_the_checkpointer_bounds_the_write_ahead_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under writing without a pause it starts anew again and again; and its thread ends with the store."""
    monkeypatch.setattr(sqlite_store, "_CHECKPOINT_BYTES", 1 << 20)
    monkeypatch.setattr(sqlite_store, "_STARVED_PAGES", 512)  # 2 MiB
    store = SqliteStore(tmp_path)
    lab = store.open_channel("lab")
    posts = ["x" * 4096] * 64
    log = tmp_path / f"{sqlite_store.FILE}-wal"
    # How far it grows before the checkpointer has the disk's word depends on the disk, so what is asked for is that
    # it stops growing: at some time five times as much was written as it has ever been long.
    written = 0
    while written < 5 * max(log.stat().st_size, 4 << 20):
        assert written < 400 << 20, f"after {written} bytes the log has {log.stat().st_size}"
        store.append([part(lab, "ann", *posts)], NOW)
        written += 64 * 4096
    store.close()
    assert "store-checkpointer" not in {thread.name for thread in threading.enumerate()}
    assert not log.exists()


def test_any_number_of_sessions_can_end_at_once(store: SqliteStore) -> None:
    """More than a statement has room for: sqlite.org/limits.html, "Maximum Number Of Host Parameters"."""
    with store._transaction() as cursor:
        cursor.executemany("INSERT INTO clients VALUES (?, 1, 1, '')", [(f"ann/{at}",) for at in range(40_000)])
    lab = store.open_channel("lab")
    store.append([part(lab, "ann", ("a", "/7/1"), ("b", "/x/1"))], NOW)
    store.end_clients(NOW)
    assert store._writer.exec_driver_sql("SELECT count(*) FROM clients").scalar() == 0
    assert store._writer.exec_driver_sql("SELECT id FROM ids").scalars().all() == ["/x/1"]


FULL = """
import resource, signal, sys
from pathlib import Path
from store import StoreError, open_store
from tests.support.stores import part
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = open_store(Path(sys.argv[1]))
lab, den = store.open_channel("lab"), store.open_channel("den")
kept, failures = 0, 0
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
while failures < 3:
    posts = [(f"{kept + at}" + " " * 500, f"{kept + at}") for at in range(20)]
    try:
        numbers = store.append([part(lab, "ann", *posts), part(den, "ann", "noise")], 1).numbers[0]
    except StoreError as error:
        failures += 1
        print(error)
    else:
        assert list(numbers) == list(range(kept + 1, kept + 21)), numbers
        kept += 20
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
for call in (lambda: store.open_channel("new"), lambda: store.set_topic(lab, "t"), lambda: store.open_account("new")):
    try:
        call()
    except StoreError:
        failures += 1
assert failures == 6, failures
assert [int(entry.text) for entry in store.read(lab, 0, 10**6)] == list(range(kept)), "reading goes on"
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
after = store.append([part(lab, "ann", *posts)], 1)
assert list(after.numbers[0]) == list(range(kept + 1, kept + 21)), after.numbers
assert after.batches[0].seq == kept + kept // 20 + 20
store.close()
print(kept + 20)
"""


def test_a_full_disk_refuses_and_then_goes_on(tmp_path: Path) -> None:
    """What does not fit is refused and leaves nothing behind; when there is room again, the numbers go on.

    The limit on a file's size stands for the disk: past it a write fails, half done, as it would there.
    """
    result = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    *errors, kept = result.stdout.splitlines()
    assert all(str(tmp_path / sqlite_store.FILE) in error for error in errors)
    check_whole(tmp_path, "lab", int(kept))


KILLED = """
import os, sys, threading
from pathlib import Path
from store import open_store
from tests.support.stores import part
store = open_store(Path(sys.argv[1]))
lab, den = store.open_channel("lab"), store.open_channel("den")
def write(name):
    at = 0
    while True:
        posts = [(f"{name}-{at + i}", f"{at + i}") for i in range(1 + at % 5)]
        _, numbers = store.append([part(den, name, "noise"), part(lab, name, *posts)], 1).numbers
        os.write(1, "".join(f"{number} {text}\\n" for number, (text, _) in zip(numbers, posts)).encode())
        at += len(posts)
for at in range(4):
    threading.Thread(target=write, args=(f"w{at}",)).start()
"""


def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    """In the middle of appends of several threads, over and over on the same folder."""
    acknowledged: dict[int, str] = {}
    for round_ in range(3):
        child = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(tmp_path / "data")], cwd=ROOT, stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        seen = b""
        while seen.count(b"\n") < 300 * (round_ + 1):
            piece = os.read(child.stdout.fileno(), 1 << 16)
            assert piece, "it ended by itself"
            seen += piece
        child.send_signal(signal.SIGKILL)
        seen += child.stdout.read()
        child.stdout.close()
        assert child.wait(DEADLINE) == -signal.SIGKILL
        whole = seen[: seen.rfind(b"\n") + 1].decode()
        for number, text in (line.split() for line in whole.splitlines()):
            assert acknowledged.setdefault(int(number), text) == text, "a number stands for one message"
        texts = check_whole(tmp_path / "data", "lab")
        assert {number: texts[number - 1] for number in acknowledged} == acknowledged
        assert len(set(texts)) == len(texts), "exactly once, though each round sends the same ids again"


def check_whole(folder: Path, channel: str, count: int | None = None) -> list[str]:
    """The texts of a channel, after it was opened again: the database is sound, the log has no gap."""
    store = SqliteStore(folder)
    log = store.open_channel(channel)
    entries = store.read(log, 0, 10**6)
    assert [entry.number for entry in entries] == list(range(1, len(entries) + 1))
    assert log.tail == len(entries)
    assert count is None or len(entries) == count
    assert store._writer.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
    seqs = store._writer.exec_driver_sql("SELECT seq, count FROM runs ORDER BY seq").all()
    assert [seq for seq, _ in seqs] == [sum(count for _, count in seqs[: at + 1]) for at in range(len(seqs))]
    store.close()
    return [entry.text for entry in entries]
