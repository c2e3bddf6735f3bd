"""`check_store`: what is damaged in a data folder, one sentence each; and nothing else is called damage."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from store import CheckReport, FileRow, Store, StoreError, check_store, open_store
from store.sqlite import FILE
from tests.support.stores import NOW, posting

CONTENT = b"the content of a file" * 1_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def fill(store: Store) -> None:
    """Store messages of two channels and a private conversation, a file, and a file that is being uploaded."""
    lab, den = store.open_channel("lab"), store.open_channel("den")
    talk = store.open_private_log("ann", "bob")
    for at in range(20):
        store.append([posting(lab, "ann", f"message {at}"), posting(den, "bob", "noise")], NOW)
    store.append([posting(talk, "ann", "secret"), posting(lab, "bob", *["many"] * 300)], NOW)
    store.append([posting(lab, "ann", "the end")], NOW)
    blobs = store.blobs()
    for id, content in (("done1", CONTENT), ("open1", CONTENT[:100])):
        store.add_file(FileRow(id, lab.id, "ann", "ann", f"/{id}", "x", len(CONTENT), NOW, NOW))
        descriptor = blobs.open_part(id)
        blobs.write_part(descriptor, [(0, memoryview(content))])
        os.close(descriptor)
        record = blobs.open_record(id)
        blobs.record_range(record, 0, len(content))
        os.close(record)
    blobs.keep("done1", SHA256)
    blobs.drop_part("done1")
    assert store.finish_file("done1", SHA256, NOW)
    store.keep_ranges("open1", ((0, 100),), NOW)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a store that was filled and closed."""
    folder = tmp_path / "data"
    store = open_store(folder)
    fill(store)
    store.close()
    return folder


def check(folder: Path) -> CheckReport:
    """Check a folder, which must not change by that."""
    before = contents(folder)
    report = check_store(folder, lambda what, done, total: None)
    assert contents(folder) == before
    return report


def contents(folder: Path) -> dict[str, bytes]:
    """Return the content of each file, but the one that readers of a running server share."""
    return {
        str(file): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and not file.name.endswith("-shm")
    }  # fmt: skip


def change(folder: Path, statement: str) -> None:
    """Change the database as no server does."""
    with sqlite3.connect(folder / FILE) as db:
        assert db.execute(statement).rowcount
    db.close()


def test_a_sound_store_has_no_problems(folder: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    report = check_store(folder, lambda *step: steps.append(step))
    assert (report.problems, report.notes, report.beside) == ([], [], False)
    assert (report.messages, report.files) == (20 + 20 + 1 + 300 + 1, 2)
    assert [step for step in steps if step[0] == "verifying messages"][-1] == ("verifying messages", 342, 342)
    assert check(folder) == report


def test_beside_a_server(tmp_path: Path) -> None:
    """The check counts what the server has just stored; the server goes on."""
    store = open_store(tmp_path / "data")
    fill(store)
    report = check(tmp_path / "data")
    assert (report.problems, report.beside, report.messages) == ([], True, 342)
    assert report.notes == ["A server is using the data folder, so the files of uploads that go on were not checked."]
    lab = store.open_channel("lab")
    assert list(store.append([posting(lab, "ann", "next")], NOW).numbers[0]) == [322]
    store.close()


def test_after_a_kill(tmp_path: Path, folder: Path) -> None:
    """A write-ahead log that was left counts, too."""
    store = open_store(folder)
    store.append([posting(store.open_channel("lab"), "ann", "in the log only")], NOW)
    killed = tmp_path / "killed"
    shutil.copytree(folder, killed)
    store.close()
    report = check(killed)
    assert (report.problems, report.beside, report.messages) == ([], False, 343)


def test_no_server_starts_amid_a_check(folder: Path) -> None:
    def start(what: str, done: int, total: int) -> None:
        with pytest.raises(StoreError, match="is in use"):
            open_store(folder)

    assert check_store(folder, start).problems == []
    open_store(folder).close()


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        (
            "UPDATE runs SET body = replace(body, 'message 7', 'massage 7') WHERE last = 8 AND log = 1",
            "Damaged messages in the channel lab: 8 (run 15).",
        ),
        (
            "UPDATE runs SET body = replace(body, 'secret', 'SECRET')",
            "Damaged messages in a private conversation (log 3): 1 (run 41).",
        ),
        (
            "DELETE FROM runs WHERE log = 1 AND last = 8",
            "The journal has no entries 15 to 15. Messages 8 to 8 of the channel lab are missing.",
        ),
        ("DELETE FROM runs WHERE log = 3", "The journal has no entries 41 to 41."),
        (
            "DELETE FROM logs WHERE id = 3",
            "Messages up to number 1 belong to log 3, which does not exist (run 41).",
        ),
        ("DELETE FROM files WHERE id = 'done1'", ""),
        ("UPDATE files SET sha256 = 'abc' WHERE id = 'done1'", "The content of file done1 is missing (abc)."),
    ],
)
def test_each_kind_of_damage_in_the_database(folder: Path, statement: str, problem: str) -> None:
    """In one sentence each, which names no text of a message and no user of a private conversation."""
    change(folder, statement)
    report = check(folder)
    found = " ".join(report.problems)
    assert report.count == len(report.problems)
    assert problem in found if problem else report.problems == []
    assert not any(word in found for word in ("message 7", "secret", "bob"))


def test_files_and_rows_that_do_not_fit(folder: Path) -> None:
    """A blob that has changed, a part that is gone, and files without a row: those a start removes."""
    (blob,) = (folder / "files" / "blobs").glob("*/*")
    blob.chmod(0o600)
    blob.write_bytes(CONTENT[:-1] + b"X")
    (folder / "files" / "parts" / "open1").rename(folder / "files" / "parts" / "stray")
    report = check(folder)
    assert report.problems == [
        f"The content of file done1 is damaged ({SHA256}).", "What was uploaded of file open1 is missing.",
    ]  # fmt: skip
    assert report.notes == ["1 files belong to no offer. The next start of the server removes them."]
    blob.unlink()
    assert check(folder).problems[0] == f"The content of file done1 is missing ({SHA256})."


def test_pages_that_are_overwritten(folder: Path) -> None:
    """SQLite's own check finds them; whatever the runs then look like, the check comes to its end."""
    file = folder / FILE
    with file.open("r+b") as damaged:
        damaged.seek(10 * 4096)
        damaged.write(b"\xee" * 3 * 4096)
    report = check(folder)
    assert any(problem.startswith("The structure of the database is damaged: ") for problem in report.problems)


def test_messages_of_an_earlier_version_are_counted(folder: Path) -> None:
    change(folder, "UPDATE runs SET checksum = NULL WHERE count = 1")
    report = check(folder)
    assert (report.problems, report.messages) == ([], 342)
    assert report.notes == ["42 messages were stored by an earlier version without a checksum."]


@pytest.mark.parametrize(
    ("prepare", "sentence"),
    [
        (shutil.rmtree, "cannot be used: No such file or directory"),
        (lambda folder: (folder / FILE).unlink(), "has no database partyline.db"),
        (
            lambda folder: (folder / FILE).write_text("Dear diary" * 100),
            "is not a Partyline database, or it is damaged",
        ),
        (lambda folder: change(folder, "UPDATE version SET number = 3"), "has schema 3, and this Partyline has"),
    ],
)
def test_what_cannot_be_checked(folder: Path, prepare: Callable[[Path], object], sentence: str) -> None:
    """It says so, and makes nothing."""
    prepare(folder)
    with pytest.raises(StoreError, match=sentence):
        check_store(folder, lambda what, done, total: None)
    assert not folder.exists() or not (folder / f"{FILE}-wal").exists()


def test_many_problems_are_counted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.contract.check._MOST", 5)
    change(folder, "UPDATE runs SET body = replace(body, 'noise', 'NOISE')")
    report = check(folder)
    assert (len(report.problems), report.count) == (5, 20)
