"""A byte of the database file that has changed: no altered message is shown, and the rest of the log stays readable."""

from __future__ import annotations

import random
import shutil
import sqlite3
from pathlib import Path

import pytest

from reporting.events import StoreProblem
from store import Store, StoreError, check_store, open_store
from store.sql import damaged_numbers
from store.sqlite import FILE
from tests.support.reported import collected
from tests.support.stores import NOW, posting
from wire.frames import Entry

_FLIPS = 150


def filled(folder: Path) -> dict[str, list[Entry]]:
    """Make a store with lone posts and full runs in two channels; return all entries."""
    store = open_store(folder)
    lab, den = store.open_channel("lab"), store.open_channel("den")
    for at in range(60):
        store.append([posting(lab, "ann", f"message {at} " + "x" * (at % 7 * 30)), posting(den, "bob", "noise")], NOW)
    store.append([posting(lab, "bob", *[(f"many {at}", f"id{at}") for at in range(300)])], NOW)
    store.append([posting(lab, "ann", "the end é \U0001f600")], NOW)
    found = {log.name: store.read(log, 0, 10_000) for log in (lab, den)}
    store.close()
    return found


@pytest.mark.parametrize("seed", range(2))
def test_a_flipped_bit_never_alters_a_message(tmp_path: Path, seed: int) -> None:
    """Wherever it is: what is read is what was stored, or it is missing, or the call fails with a sentence."""
    original = filled(tmp_path / "whole")
    whole = (tmp_path / "whole" / FILE).read_bytes()
    random_, missing, refused = random.Random(seed), 0, 0
    for at in range(_FLIPS):
        folder = tmp_path / f"{at}"
        folder.mkdir()
        position, bit = random_.randrange(4_096, len(whole)), 1 << random_.randrange(8)
        flipped = bytearray(whole)
        flipped[position] ^= bit
        (folder / FILE).write_bytes(flipped)
        try:
            store = open_store(folder)
        except StoreError:
            refused += 1
            continue
        try:
            for log in store.channels():
                if log.name not in original:
                    continue
                entries = store.read(log, 0, 10_000)
                expected = {entry.number: entry for entry in original[log.name]}
                assert [entry.number for entry in entries] == sorted({entry.number for entry in entries})
                assert all(expected.get(entry.number) == entry for entry in entries), f"byte {position}, bit {bit}"
                missing += len(entries) < len(expected)
        except StoreError:
            refused += 1
        finally:
            store.close()
            shutil.rmtree(folder)
    assert missing, "no flip has hit a run"


@pytest.fixture
def damaged(tmp_path: Path) -> Store:
    """A store in whose channel `lab` the text of message 10, and so its run, is altered."""
    filled(tmp_path)
    with sqlite3.connect(tmp_path / FILE) as db:
        changed = db.execute("UPDATE runs SET body = replace(body, 'message 9 ', 'message 8 ') WHERE last = 10")
        assert changed.rowcount == 2  # the other one, in `den`, stays as it is
    db.close()
    return open_store(tmp_path)


def test_the_rest_of_the_log_stays_readable(damaged: Store) -> None:
    """Pages leave the damaged run out, whatever their ends; the log has one line for it."""
    lab = damaged.open_channel("lab")
    with collected() as reported:
        numbers = [entry.number for entry in damaged.read(lab, 0, 10_000)]
        assert numbers == [*range(1, 10), *range(11, 362)]
        assert [entry.number for entry in damaged.read(lab, 8, 3)] == [9, 11, 12]
        assert [entry.number for entry in damaged.read(lab, 9, 1)] == [11], "the first page after it is not empty"
    assert lab.tail == 361
    assert [event.error for event in reported.of(StoreProblem)] == ["Damaged messages in the channel lab: 10."]
    damaged.close()


def test_the_log_names_damaged_messages_as_the_check_does(tmp_path: Path) -> None:
    """The log of the messages and their numbers, of which a line has a few."""
    filled(tmp_path)
    with sqlite3.connect(tmp_path / FILE) as db:
        db.execute("UPDATE runs SET body = replace(replace(body, 'message', 'massage'), 'many', 'MANY')")
    db.close()
    store = open_store(tmp_path)
    lab = store.open_channel("lab")
    with collected() as reported:
        assert [entry.number for entry in store.read_back(lab, 400, 400)] == [361]
    (event,) = reported.of(StoreProblem)
    assert event.error == ("Damaged messages in the channel lab: 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, and 52 more runs.")
    store.close()
    problems = check_store(tmp_path, lambda *_: None).problems
    assert "Damaged messages in the channel lab: 10 (run 19)." in problems
    assert "Damaged messages in the channel lab: 61 to 316 (run 376)." in problems


@pytest.mark.parametrize(
    ("last", "count", "numbers"),
    [(7, 1, "7"), (7, 7, "1 to 7"), (7, 8, "up to 7"), (7, 0, "up to 7"), (7, "x", "up to 7"), ("x", 1, "unknown")],
)
def test_the_numbers_of_a_damaged_run_may_be_damaged(last: object, count: object, numbers: str) -> None:
    assert damaged_numbers(last, count) == numbers


def test_damage_at_the_end_of_a_log_gives_no_number_away(tmp_path: Path) -> None:
    """The next post gets the number after the damaged one."""
    filled(tmp_path)
    with sqlite3.connect(tmp_path / FILE) as db:
        db.execute("UPDATE runs SET body = replace(body, 'the end', 'THE end') WHERE last = 361")
    db.close()
    store = open_store(tmp_path)
    lab = store.open_channel("lab")
    assert store.read(lab, 360, 9) == []
    assert list(store.append([posting(lab, "ann", "next")], NOW).numbers[0]) == [362]
    assert [entry.text for entry in store.read(lab, 360, 9)] == ["next"]
    store.close()


@pytest.mark.parametrize(
    "change",
    [
        "body = CAST(x'5b5b372c22ff22' AS TEXT)",  # no UTF-8
        "body = x'00'",
        "body = 7",
        "body = '[]'",
        "body = '[[1,2,3,4]]'",
        "count = 2",
        "count = 'x'",
        "last = last + 1000000, seq = seq + 1000000",
        "log = (SELECT id FROM logs WHERE name = 'den'), last = 99",
        "checksum = checksum + 1",
    ],
)
def test_any_column_may_be_damaged(tmp_path: Path, change: str) -> None:
    """Even a body of an earlier version, which has no checksum, has to be one."""
    original = filled(tmp_path)
    with sqlite3.connect(tmp_path / FILE) as db:
        db.execute(f"UPDATE runs SET {change} WHERE log = (SELECT id FROM logs WHERE name = 'lab') AND last = 10")
    db.close()
    store = open_store(tmp_path)
    for log in (store.open_channel("lab"), store.open_channel("den")):
        entries = store.read(log, 0, 10_000)
        assert entries == [entry for entry in original[log.name] if (log.name, entry.number) != ("lab", 10)]
    store.close()


def test_runs_of_an_earlier_version_have_no_checksum(tmp_path: Path) -> None:
    """They are read as before."""
    original = filled(tmp_path)
    with sqlite3.connect(tmp_path / FILE) as db:
        db.execute("UPDATE runs SET checksum = NULL")
        db.execute("UPDATE runs SET body = 'nonsense' WHERE last = 10")
    db.close()
    store = open_store(tmp_path)
    for log in (store.open_channel("lab"), store.open_channel("den")):
        assert store.read(log, 0, 10_000) == [entry for entry in original[log.name] if entry.number != 10]
    store.close()
