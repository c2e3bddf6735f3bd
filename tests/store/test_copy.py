"""`copy_store`: all of a store, from each database to each: whole, verified, or not at all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from store import Client, CopyReport, FileRow, Store, StoreError, check_store, copy_store
from store.sql import COPIED, Run, SqlStore, in_order, schema
from store.sqlite import FILE, SqliteDatabase
from store.sqlite.copy import SqliteTarget
from tests.support.stores import NOW, PLACES, Place, PostgresPlace, SqlitePlace, posting, texts
from wire.frames import FilePart

CONTENT = b"the content of a file" * 1_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
ODD = ["\0", "\x1a", "\x1a0", "a\x1a\0b", "\\N", "\t\n\r", "\\.", "é\U0001f600", '"', "NULL", ""]
WAYS = [(one, other) for one in PLACES for other in PLACES]

Make = Callable[[str], Place]


@pytest.fixture
def make() -> Iterator[Make]:
    """Make empty places for stores, by the name of their database."""
    made: list[Place] = []

    def one(kind: str) -> Place:
        made.append(PLACES[kind]())
        return made[-1]

    yield one
    for place in made:
        place.clear()


def url(place: Place) -> str | Path:
    """What names the place for `copy_store`."""
    assert isinstance(place, SqlitePlace | PostgresPlace)
    return place.url if isinstance(place, PostgresPlace) else place.folder


def quiet(what: str, rows: int, of: int, size: int) -> None:
    """No progress."""


def nobody() -> None:
    """Called if a server uses the source."""
    pytest.fail("no server uses the source")


def copy(source: Place, target: Place, progress: Any = quiet, in_use: Callable[[], None] = nobody) -> CopyReport:
    """Copy with the bytes of files."""
    assert isinstance(source, SqlitePlace | PostgresPlace)
    assert isinstance(target, SqlitePlace | PostgresPlace)
    return copy_store(url(source), url(target), progress, in_use, files=([source.folder], target.folder))


def fill(store: Store) -> None:
    """Store something in every table, with texts that a database may take for something else."""
    for name in ("ann", "bob", "Cy"):
        store.open_account(name)
    store.set_password("ann", "hash")
    lab, den = store.open_channel("lab", "ann"), store.open_channel("den", "bob")
    talk, empty = store.open_private_log("ann", "bob"), store.open_channel("empty")
    for name in ("ann", "bob"):
        store.join(lab, name)
    store.set_topic(den, "".join(ODD))
    for at in range(20):
        store.append([posting(lab, "ann", (f"message {at}", f"id{at}")), posting(den, "bob", "noise")], NOW)
    store.append([posting(talk, "ann", "secret"), posting(lab, "bob", *["many"] * 300)], NOW)
    store.append([posting(lab, "Cy", *[(text, f"/dev/{text}") for text in ODD])], NOW)
    store.append([posting(lab, "ann", "x" * 40_000, "y" * 40_000), posting(empty, "ann")], NOW)
    store.move({(lab.id, "ann"): 7, (talk.id, "bob"): 1}, {"ann": NOW})
    for key, until in (("ann/dev", None), ("/mirror", None), ("bob/1", NOW)):
        store.save_client(Client(key, 60, until, "".join(ODD)))
        store.move({(lab.id, key): 5}, {})
    store.change_client_filters("ann/dev", {"chat/#": 1, "\U0001f600/+": 130}, ())
    fill_files(store, lab.id)


def fill_files(store: Store, log: int) -> None:
    """Store a file, one that is being uploaded, and one that has ended."""
    blobs = store.blobs()
    parts = (FilePart(name="a.txt", size=5),)
    for id, content in (("done1", CONTENT), ("open1", CONTENT[:100]), ("open2", b""), ("gone1", b"")):
        store.add_file(FileRow(id, log, "ann", "ann", f"/{id}", "x", len(CONTENT), NOW, NOW, parts=parts))
        descriptor = blobs.open_part(id)
        blobs.write_part(descriptor, [(0, memoryview(content))])
        os.close(descriptor)
    record = blobs.open_record("open1")
    blobs.record_range(record, 0, 100)
    os.close(record)
    blobs.keep("done1", SHA256)
    for id in ("done1", "gone1"):
        blobs.drop_part(id)
    assert store.finish_file("done1", SHA256, NOW)
    store.drop_file("gone1", NOW)
    store.keep_ranges("open1", ((0, 50),), NOW)
    assert store.note_fetched("done1", "bob")


def contents(store: Store, *, numbered: bool) -> dict[str, list[Any]]:
    """Return the rows of every table; without the numbers of the journal unless it is `numbered`."""
    assert isinstance(store, SqlStore)
    found = {}
    with store._database.reading() as db:
        for table in (*COPIED, schema.runs):
            wanted = [column for column in table.columns if numbered or column.name not in ("seq", "checksum")]
            found[table.name] = sorted(db.execute(select(*wanted)).all(), key=repr)
    return found


def test_every_table_is_copied() -> None:
    assert {*COPIED, schema.runs, schema.version} == {*schema.metadata.tables.values()}


@pytest.mark.parametrize(("kind", "to"), WAYS)
def test_all_is_copied_and_goes_on(make: Make, kind: str, to: str) -> None:
    """The same rows; then numbers, ids of posts, ids of logs and of clients go on as at the source."""
    source, target = make(kind), make(to)
    before = source.open()
    fill(before)
    lab = before.open_channel("lab")
    tail, newest = lab.tail, max(row.id for row in before.channels())
    numbered = source.counts or not target.counts
    rows, said = contents(before, numbered=numbered), texts(before, lab)
    source.close()
    report = copy(source, target)
    assert (report.messages, report.files, report.missing) == (20 + 20 + 1 + 300 + len(ODD) + 2, 3, [])
    assert {name: len(found) for name, found in rows.items()} == report.rows
    assert all(report.rows.values()), "each table has something"
    after = target.open()
    assert contents(after, numbered=numbered) == rows
    assert texts(after, lab) == said
    assert contents(source.open(), numbered=numbered) == rows, "the source is as it was"
    again = after.append([posting(lab, "ann", ("message 3", "id3"), "new")], NOW)
    assert [*again.numbers[0]] == [4, tail + 1]
    assert after.open_channel("later").id == newest + 1
    assert after.client("ann/dev", NOW) is not None
    assert after.blobs().recorded_ranges("open1") == ((0, 100),)
    folder = target.folder if isinstance(target, PostgresPlace) else None
    target.close()
    checked = check_store(url(target), lambda what, done, total: None, folder=folder)
    assert (checked.problems, checked.messages, checked.files) == ([], report.messages + 1, 3)


@pytest.mark.parametrize(("kind", "to"), WAYS)
def test_the_copy_knows_no_server_of_the_source(make: Make, kind: str, to: str) -> None:
    """A session of a client that is connected there ends as one whose server is gone, whoever has that number now."""
    source, target = make(kind), make(to)
    fill(source.open())
    change(source, "UPDATE clients SET server = 1, connection = 7")
    copy(source, target)
    after = target.open()
    assert [(row.server, row.connection) for row in contents(after, numbered=True)["clients"]] == [(0, 0)] * 3
    after.part_clients()
    client = after.client("ann/dev", 0)
    assert client is not None
    assert client.until is not None


@pytest.mark.parametrize("to", PLACES)
def test_what_several_servers_have_written_is_numbered_anew_or_kept(make: Make, to: str) -> None:
    """Their numbers of the journal are not in the order of the logs."""
    source, target = make("postgres"), make(to)
    assert isinstance(source, PostgresPlace)
    one = source.open()
    servers = [one, source.open_another(), source.open_another()]
    lab, den = one.open_channel("lab"), one.open_channel("den")
    for turn in range(30):
        for at, store in enumerate(reversed(servers)):
            store.append([posting(lab, "ann", f"{turn} {at}"), posting(den, "bob", *["x"] * turn)], NOW)
    numbers = [seq for (seq,) in source.cluster.sql("SELECT seq FROM runs ORDER BY log, last", source.name)]
    assert numbers != sorted(numbers)
    said = texts(one, lab)
    copy(source, target)
    assert texts(target.open(), lab) == said
    target.close()
    folder = target.folder if isinstance(target, PostgresPlace) else None
    assert check_store(url(target), lambda what, done, total: None, folder=folder).problems == []


@pytest.mark.parametrize(("kind", "to"), WAYS)
def test_a_source_in_use_gives_one_state(make: Make, kind: str, to: str) -> None:
    """What is stored while the copy goes on is in none of its tables."""
    source, target = make(kind), make(to)
    store = source.open()
    store.servers().start(lambda server, message: None, lambda server: None, lambda: None)
    lab = store.open_channel("lab")
    store.append([posting(lab, "ann", ("before", "1"))], NOW)
    told: list[str] = []

    def progress(what: str, rows: int, of: int, size: int) -> None:
        store.append([posting(lab, "ann", (f"{what} {rows}", f"{what} {rows}"))], NOW)
        store.open_account(what.replace(" ", ""))

    copy(source, target, progress, lambda: told.append("in use"))
    assert told == ["in use"]
    after = target.open()
    assert texts(after, lab) == ["before"]
    assert contents(after, numbered=False)["ids"] == [("ann", "1", lab.id, 1)]
    assert len(texts(store, lab)) > 10


@pytest.mark.parametrize("to", PLACES)
@pytest.mark.parametrize("step", ["copying runs", "copying fetches", "verifying ids", "copying bytes"])
def test_an_interrupted_copy_leaves_nothing(make: Make, step: str, to: str) -> None:
    """Ctrl-C at any step. The next copy works."""
    source, target = make("sqlite"), make(to)
    fill(source.open())
    source.close()

    def interrupt(what: str, rows: int, of: int, size: int) -> None:
        if what.startswith(step):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy(source, target, interrupt)
    is_empty(target)
    assert copy(source, target).messages


def is_empty(place: Place) -> None:
    """Fail if the place has anything of a copy."""
    if isinstance(place, PostgresPlace):
        for table in (*COPIED, schema.runs):
            assert place.cluster.sql(f"SELECT count(*) FROM {table.name}", place.name) == [(0,)]
    else:
        assert isinstance(place, SqlitePlace)
        assert not [file for file in place.folder.iterdir() if file.name.startswith(FILE)]


def test_a_copy_that_was_killed_is_not_taken_for_a_store(make: Make) -> None:
    """It has another name. A server begins anew beside it, and the next copy removes it."""
    source, target = make("sqlite"), make("sqlite")
    fill(source.open())
    source.close()
    assert isinstance(target, SqlitePlace)
    (target.folder / f"{FILE}.new").write_bytes(b"half a copy")
    assert copy(source, target).messages
    after = target.open()
    assert texts(after, after.open_channel("den")) == ["noise"] * 20
    assert not (target.folder / f"{FILE}.new").exists()


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        (
            "UPDATE runs SET body = replace(body, 'message 7', 'massage 7') WHERE last = 8 AND log = 1",
            "Damaged messages in the channel lab: 8 (run 15).",
        ),
        ("DELETE FROM runs WHERE log = 1 AND last = 8", "Messages 8 to 8 of the channel lab are missing."),
        ("DELETE FROM logs WHERE key = 'lab'", "belong to log 1, which does not exist"),
    ],
)
@pytest.mark.parametrize("kind", PLACES)
def test_a_damaged_source_is_not_copied(make: Make, kind: str, statement: str, sentence: str) -> None:
    source, target = make(kind), make("postgres" if kind == "sqlite" else "sqlite")
    fill(source.open())
    change(source, statement)
    with pytest.raises(StoreError) as raised:
        copy(source, target)
    said = str(raised.value)
    wanted = sentence.split(" (run ", maxsplit=1)[0] if kind == "postgres" else sentence
    assert wanted in said or (kind == "sqlite" and said.startswith("The journal has no entries 15 to 15."))
    is_empty(target)


def change(place: Place, statement: str) -> None:
    """Change the database as no server does."""
    if isinstance(place, PostgresPlace):
        place.cluster.sql(statement, place.name)
        return
    assert isinstance(place, SqlitePlace)
    place.close()
    database = SqliteDatabase(place.folder)
    with database.cursor_transaction() as cursor:
        assert cursor.execute(statement).rowcount
    database.close()


def test_a_wrong_tail_is_damage(make: Make) -> None:
    source, target = make("postgres"), make("sqlite")
    fill(source.open())
    change(source, "UPDATE logs SET tail = 19 WHERE key = 'den'")
    with pytest.raises(StoreError, match="The last message of the channel den has number 20, and should have 19"):
        copy(source, target)
    is_empty(target)


def test_pages_that_are_overwritten(make: Make) -> None:
    """SQLite's own errors are a sentence, too."""
    source, target = make("sqlite"), make("sqlite")
    fill(source.open())
    source.close()
    assert isinstance(source, SqlitePlace)
    with (source.folder / FILE).open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(size // 2)
        file.write(b"\xee" * (size - size // 2))
    with pytest.raises(StoreError, match=r"The store .* failed"):
        copy(source, target)
    is_empty(target)


@pytest.mark.parametrize("to", PLACES)
def test_a_target_that_is_not_empty_is_refused(make: Make, to: str) -> None:
    """And it stays as it is."""
    source, target = make("sqlite"), make(to)
    fill(source.open())
    source.close()
    target.open().open_account("ann")
    target.close()
    with pytest.raises(StoreError, match=r"is not empty: it has accounts|has a database partyline\.db already"):
        copy(source, target)
    assert [row.name for row in contents(target.open(), numbered=True)["accounts"]] == ["ann"]


@pytest.mark.parametrize("to", PLACES)
def test_a_target_that_a_server_uses_is_refused(make: Make, to: str) -> None:
    source, target = make("sqlite"), make(to)
    source.open()
    source.close()
    servers = target.open().servers()
    servers.start(lambda server, message: None, lambda server: None, lambda: None)
    with pytest.raises(StoreError, match=r"A server is using|is in use by another server"):
        copy(source, target)


def test_a_server_that_starts_on_the_target_waits(make: Make) -> None:
    """PostgreSQL's lock keeps it out; the folder's lock refuses it."""
    source, target = make("sqlite"), make("sqlite")
    fill(source.open())
    source.close()

    def start(what: str, rows: int, of: int, size: int) -> None:
        with pytest.raises(StoreError, match="is in use"):
            target.open()

    assert copy(source, target, start).messages


@pytest.mark.parametrize("kind", PLACES)
def test_a_source_of_another_version_is_refused(make: Make, kind: str) -> None:
    source, target = make(kind), make("sqlite")
    source.open()
    change(source, "UPDATE version SET number = 1")
    with pytest.raises(StoreError, match=r"has schema 1, and this Partyline has .* Start this server with it once"):
        copy(source, target)
    is_empty(target)


def test_what_is_read_back_has_to_be_what_was_read(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that got lost on the way."""
    source, target = make("sqlite"), make("sqlite")
    fill(source.open())
    source.close()
    write = SqliteTarget.write

    def lossy(self: SqliteTarget, table: Any, rows: Any) -> None:
        write(self, table, [*rows][:-1] if table is schema.ids else rows)

    monkeypatch.setattr(SqliteTarget, "write", lossy)
    with pytest.raises(StoreError, match=r"The copy is wrong: ids has \d+ rows, and not the \d+ rows"):
        copy(source, target)
    is_empty(target)


def test_files_that_are_missing_or_damaged_are_named(make: Make) -> None:
    """The messages are copied all the same."""
    source, target = make("sqlite"), make("postgres")
    fill(source.open())
    source.close()
    assert isinstance(source, SqlitePlace)
    blob = source.folder / "files" / "blobs" / SHA256[:2] / SHA256
    blob.chmod(0o600)
    blob.write_bytes(CONTENT[:-1] + b"X")
    (source.folder / "files" / "parts" / "open1").unlink()
    assert copy(source, target).missing == [
        f"The content of file done1 is damaged ({SHA256}).", "The content of file open1 is missing.",
    ]  # fmt: skip


def test_each_server_has_some_of_the_files(make: Make, tmp_path: Path) -> None:
    """The bytes come from the folder that has them, also from the target's own."""
    source, target = make("sqlite"), make("sqlite")
    fill(source.open())
    source.close()
    assert isinstance(source, SqlitePlace)
    assert isinstance(target, SqlitePlace)
    (tmp_path / "files").mkdir()
    (source.folder / "files" / "blobs").rename(tmp_path / "files" / "blobs")
    (target.folder / "files").mkdir()
    (source.folder / "files" / "parts").rename(target.folder / "files" / "parts")
    folders = [source.folder, tmp_path, target.folder]
    report = copy_store(source.folder, target.folder, quiet, nobody, files=(folders, target.folder))
    assert report.missing == []
    checked = check_store(target.folder, lambda what, done, total: None)
    assert (checked.problems, checked.notes, checked.files) == ([], [], 3)


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 4)), max_size=40), st.randoms())
def test_runs_are_put_into_the_order_of_their_logs(made: list[tuple[int, int]], shuffle: Any) -> None:
    """Each comes once, those of each log ascend, and nobody waits longer than needed."""
    tails: dict[int, int | None] = {}
    runs: list[Run] = []
    lasts: dict[int, int] = {}
    for log, count in made:
        lasts[log] = lasts.get(log, 0) + count
        runs.append((0, log, lasts[log], count, b"", None))
    shuffle.shuffle(runs)
    found = []
    for run in in_order(runs, tails):
        _, log, last, count, _, _ = run
        assert last - count == (tails.get(log) or 0)
        tails[log] = last
        found.append(run)
    assert sorted(found) == sorted(runs)
