"""Floor 1: check an SQLite database: the disk, SQLite's own structure, every run's checksum, and the numbering."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..contract import CheckReport, Progress, log_title
from ..sql import KeptFile, RunCheck
from .database import FILE, LOG
from .read_only import opened_beside

_PIECE = 1 << 20  # bytes that are read at once
_ROWS = 500  # runs that are read at once
_STRUCTURE = 100  # problems of SQLite's structure that it lists


@contextmanager
def checked_database(folder: Path, report: CheckReport) -> Iterator[sqlite3.Connection]:
    """Return a block with the database opened for reading only, as `opened_beside` does. Sets `report.beside`."""
    with opened_beside(folder) as (db, beside):
        report.beside = beside
        if beside:
            report.notes.append(
                "A server is using the data folder, so the files of uploads that go on were not checked."
            )
        yield db


def check_disk(folder: Path, report: CheckReport, progress: Progress) -> bool:
    """Read the files from end to end: SQLite cannot tell a disk that fails from damage. Return False if one fails."""
    whole = True
    for name in (FILE, LOG):
        file = folder / name
        try:
            with file.open("rb", buffering=0) as opened:
                size, done = os.fstat(opened.fileno()).st_size, 0
                while piece := opened.read(_PIECE):
                    done += len(piece)
                    progress(f"reading {name}, bytes", done, size)
        except FileNotFoundError:
            continue
        except OSError as error:
            report.problem(f"The disk fails while it reads {file}: {error.strerror}. The file may be whole.")
            whole = False
    return whole


def check_structure(db: sqlite3.Connection, report: CheckReport, progress: Progress) -> None:
    """Have SQLite check its tables and indexes."""
    progress("checking the structure of the database", 0, 0)
    try:
        found = [row[0] for row in db.execute(f"PRAGMA integrity_check({_STRUCTURE})")]
    except sqlite3.Error as error:
        found = [str(error)]
    for text in found:
        if text != "ok":
            report.problem(f"The structure of the database is damaged: {' '.join(text.split())}.")


def check_runs(db: sqlite3.Connection, report: CheckReport, progress: Progress) -> None:
    """Verify each run's checksum, and that the numbers of each log and of the journal have no holes."""
    try:
        names = {id: log_title(id, kind, name) for id, kind, name in db.execute("SELECT id, kind, name FROM logs")}
        runs = RunCheck(names, report, counts=True)
        total = db.execute("SELECT coalesce(max(seq), 0) FROM runs").fetchone()[0]
        after = -1
        query = (
            "SELECT seq, log, last, count, CAST(body AS BLOB), checksum FROM runs WHERE seq > ? ORDER BY seq LIMIT ?"
        )
        while rows := db.execute(query, (after, _ROWS)).fetchall():
            for row in rows:
                runs.check(*row)
            after = rows[-1][0]
            progress("verifying messages", after, total)
        runs.close()
    except sqlite3.Error as error:
        report.problem(f"The messages cannot be read to the end: {error}.")


def kept_files(db: sqlite3.Connection, report: CheckReport) -> list[KeptFile]:
    """Return the files that the database knows and that have not ended."""
    try:
        found = db.execute("SELECT id, state, sha256, ranges FROM files WHERE state != 'gone' ORDER BY id")
        return [KeptFile(id, state == "done", sha256, ranges) for id, state, sha256, ranges in found]
    except sqlite3.Error as error:
        report.problem(f"The list of files cannot be read: {error}.")
        return []
