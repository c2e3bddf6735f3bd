"""The migrations: they lead to the tables of schema.py, from nothing and from the first released version."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
import sqlalchemy
from sqlalchemy import Integer, MetaData

from store import Client, StoreError, open_store
from store.sql import schema
from store.sqlite import FILE, SqliteDatabase
from store.sqlite.migrations import STEPS
from tests.support.stores import NOW, posting
from wire.frames import Entry

# A database as the first released version wrote it. This never changes.
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


# What SQLite alone has: tables that are kept in the order of their key, and columns that number the rows.
WITHOUT_ROWID = {"members", "client_cursors", "ids", "fetches"}
ROW_NUMBERS = {("logs", "id"), ("runs", "seq")}


def shape(engine: sqlalchemy.Engine) -> dict[str, object]:
    """Return every table's columns, keys and indexes, and whether its rows are numbered."""
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


def shape_of_file(folder: Path) -> dict[str, object]:
    """Return the shape of the database in a folder, which must be closed."""
    engine = sqlalchemy.create_engine(f"sqlite:///{folder / FILE}")
    found = shape(engine)
    engine.dispose()
    return found


def shape_of_schema() -> dict[str, object]:
    """Return the shape of the tables in schema.py, with what SQLite alone has."""
    tables = MetaData()
    for table in schema.metadata.tables.values():
        copy = table.to_metadata(tables)
        copy.dialect_options["sqlite"]["with_rowid"] = table.name not in WITHOUT_ROWID
        for column in copy.columns:
            if (table.name, column.name) in ROW_NUMBERS:
                column.type = Integer()
    engine = sqlalchemy.create_engine("sqlite://", poolclass=sqlalchemy.pool.StaticPool)
    tables.create_all(engine)
    return shape(engine)


def test_a_new_database_has_the_tables_of_the_schema(tmp_path: Path) -> None:
    SqliteDatabase(tmp_path).close()
    assert shape_of_file(tmp_path) == shape_of_schema()


def test_the_first_versions_database_is_migrated(tmp_path: Path) -> None:
    """It gets the tables of today, keeps all its rows, and takes new ones."""
    with sqlite3.connect(tmp_path / FILE) as db:
        db.executescript(FIRST)
    db.close()
    store = open_store(tmp_path)
    (lab,) = store.channels()
    assert (lab.name, lab.topic, lab.tail) == ("Lab", "Soldering", 3)
    assert store.read(lab, 0, 9) == [
        Entry(1, 7, "Ann", "a", "Lab"),
        Entry(2, 7, "bob", "b", "Lab", id="x"),
        Entry(3, 9, "Ann", "c", "Lab"),
    ]
    talk = store.open_private_log("bob", "ANN")
    assert store.read(talk, 0, 9) == [Entry(1, 8, "bob", "hi", None, "Ann")]
    assert [(mine.log.id, mine.cursor) for mine in store.memberships("ann")] == [(2, 2), (3, 0)]
    ann = store.account("ann")
    assert ann is not None
    assert (ann.name, ann.password, ann.seen) == ("Ann", "hash", 5)
    appended = store.append([posting(lab, "bob", ("again", "x"), "new")], NOW)
    assert (list(appended.numbers[0]), appended.batches[0].seq) == ([2, 4], 5)
    elsewhere = store.append([posting(talk, "bob", ("the id of another log", "x"))], NOW)
    assert list(elsewhere.numbers[0]) == [2], "the same id in another log is another post"
    store.close()
    assert shape_of_file(tmp_path) == shape_of_schema()
    with sqlite3.connect(tmp_path / FILE) as db:
        assert db.execute("SELECT number FROM version").fetchall() == [(len(STEPS),)]
    db.close()


def test_the_filters_of_sessions_become_rows(tmp_path: Path) -> None:
    """They were a JSON array in the state of a session. The sessions of the mirror have other states, which stay."""
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path / FILE}")
    with engine.begin() as db:
        for step in STEPS[:9]:
            step(db)
        db.execute(sqlalchemy.text("UPDATE version SET number = 9"))
        states = {
            "ann/phone": (
                '[{"filter":"chat/#","qos":1,"no_local":true,"retain_as_published":true,"retain_handling":2},'
                '{"filter":"é/+","qos":0,"no_local":false,"retain_as_published":false,"retain_handling":0}]'
            ),
            "bob/oven": "[]",
            "/chat/carol": '{"me":"carol","proven":false}',
            "/chat": "[::1]:1883",
        }
        for key, state in states.items():
            db.execute(
                sqlalchemy.text("INSERT INTO clients VALUES (:key, 60, :until, :state)"),
                {"key": key, "until": NOW, "state": state},
            )
    engine.dispose()
    store = open_store(tmp_path)
    assert {key: store.client_filters(key) for key in states} == {
        "ann/phone": {"chat/#": 1 | 4 | 8 | 32, "é/+": 0}, "bob/oven": {}, "/chat/carol": {}, "/chat": {},
    }  # fmt: skip
    assert {client.key: client.state for client in store.clients("")} == {**states, "ann/phone": "", "bob/oven": ""}
    assert store.client("ann/phone", NOW - 1) == Client("ann/phone", 60, NOW, "")
    store.change_client_filters("ann/phone", {}, ["é/+"])
    assert store.client_filters("ann/phone") == {"chat/#": 45}
    store.close()


def test_a_newer_database_is_refused_and_not_changed(tmp_path: Path) -> None:
    """The sentence says which schema it has."""
    open_store(tmp_path).close()
    with sqlite3.connect(tmp_path / FILE) as db:
        db.execute("UPDATE version SET number = ?", (len(STEPS) + 1,))
    db.close()
    before = (tmp_path / FILE).read_bytes()
    known = len(STEPS)
    with pytest.raises(StoreError, match=rf"newer Partyline \(schema {known + 1}, this one knows up to {known}\)"):
        open_store(tmp_path)
    assert (tmp_path / FILE).read_bytes() == before


@pytest.mark.parametrize(
    "script",
    [
        "CREATE TABLE version (text TEXT)",
        "CREATE TABLE version (number INTEGER)",
        "CREATE TABLE version (number INTEGER); INSERT INTO version VALUES (NULL)",
        "CREATE TABLE accounts (id INTEGER)",
    ],
)
def test_the_database_of_another_program_is_refused(tmp_path: Path, script: str) -> None:
    """With a sentence, and no table of ours is left in it."""
    with sqlite3.connect(tmp_path / FILE) as db:
        db.executescript(script)
        before = list(db.execute("SELECT sql FROM sqlite_schema"))
    db.close()
    with pytest.raises(StoreError, match="failed: "):
        open_store(tmp_path)
    with sqlite3.connect(tmp_path / FILE) as db:
        assert list(db.execute("SELECT sql FROM sqlite_schema")) == before
    db.close()
