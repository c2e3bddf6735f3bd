"""Floor 1: check an SQLite database: the disk, SQLite's own structure, every run's checksum, and the numbering."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..contract import CheckReport, Progress, StoreError, log_title
from ..sql import damaged_numbers, decode_run
from .database import FILE, LOG
from .errors import store_error
from .folder import lock_for_reading
from .migrations import STEPS

_TIMEOUT = 5  # seconds to wait for a locked database
_PIECE = 1 << 20  # bytes that are read at once
_ROWS = 500  # runs that are read at once
_STRUCTURE = 100  # problems of SQLite's structure that it lists


@dataclass(frozen=True, slots=True)
class KeptFile:
    """A file that the database knows: its blob's checksum if it is `done`, else the number of its bytes on disk."""

    id: str
    done: bool
    sha256: str
    ranges: str


@contextmanager
def checked_database(folder: Path, report: CheckReport) -> Iterator[sqlite3.Connection]:
    """Return a block with the database opened for reading only. No server can start meanwhile, but one may run.

    Sets `report.beside`. Raises StoreError if there is no database, or if it is of another version.
    """
    lock = lock_for_reading(folder)
    try:
        report.beside = lock is None
        with closing(_open(folder, beside=report.beside)) as db:
            _check_version(db, folder / FILE)
            yield db
    finally:
        if lock is not None:
            os.close(lock)


def _open(folder: Path, *, beside: bool) -> sqlite3.Connection:
    if not (folder / FILE).is_file():
        raise StoreError(f"{folder} has no database {FILE}.")
    # Without a write-ahead log nothing has to be recovered, and no file is made that would stay.
    unchanging = not beside and not (folder / LOG).exists()
    uri = f"{(folder / FILE).resolve().as_uri()}?mode=ro{'&immutable=1' if unchanging else ''}"
    return sqlite3.connect(uri, uri=True, timeout=_TIMEOUT, isolation_level=None)


def _check_version(db: sqlite3.Connection, file: Path) -> None:
    try:
        number = db.execute("SELECT number FROM version").fetchone()[0]
    except (sqlite3.Error, TypeError) as error:
        raise store_error(file, error) from error
    if number != len(STEPS):
        raise StoreError(
            f"{file} has schema {number}, and this Partyline has {len(STEPS)}. Start this server once, or check it with"
            " the version that has written it."
        )


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
        _Runs(db, report, progress).check()
    except sqlite3.Error as error:
        report.problem(f"The messages cannot be read to the end: {error}.")


class _Runs:
    """One pass over all runs in the order of commit."""

    def __init__(self, db: sqlite3.Connection, report: CheckReport, progress: Progress) -> None:
        self._db = db
        self._report = report
        self._progress = progress
        self._names = {
            id: log_title(id, kind, name) for id, kind, name in db.execute("SELECT id, kind, name FROM logs")
        }
        self._tails: dict[int, int | None] = {}  # None after a damaged run, whose numbers cannot be trusted
        self._seq: int | None = 0  # likewise
        self._unverified = 0

    def check(self) -> None:
        total = self._db.execute("SELECT coalesce(max(seq), 0) FROM runs").fetchone()[0]
        after = -1
        query = (
            "SELECT seq, log, last, count, CAST(body AS BLOB), checksum FROM runs WHERE seq > ? ORDER BY seq LIMIT ?"
        )
        while rows := self._db.execute(query, (after, _ROWS)).fetchall():
            for row in rows:
                self._check_run(*row)
            after = rows[-1][0]
            self._progress("verifying messages", after, total)
        if self._unverified:
            self._report.notes.append(
                f"{self._unverified} messages were stored by an earlier version without a checksum."
            )

    def _check_run(self, seq: int, log: int, last: int, count: int, body: object, checksum: int | None) -> None:
        name = self._names.get(log, f"log {log}")
        if decode_run(seq, log, last, count, body, checksum) is None:
            self._report.problem(f"Damaged messages in {name}: {damaged_numbers(last, count)} (run {seq}).")
            self._tails[log] = self._seq = None
            return
        self._report.messages += count
        self._unverified += 0 if checksum is not None else count
        if log not in self._names:
            self._report.problem(f"Messages up to number {last} belong to log {log}, which does not exist (run {seq}).")
        self._check_numbers(name, last - count, self._tails.get(log, 0))
        if self._seq is not None and self._seq != seq - count:
            self._report.problem(f"The journal has no entries {self._seq + 1} to {seq - count}.")
        self._tails[log], self._seq = last, seq

    def _check_numbers(self, name: str, before: int, tail: int | None) -> None:
        """Check that a run of a log whose last number was `tail` follows number `before`."""
        if tail is None or before == tail:
            return
        if before > tail:
            self._report.problem(f"Messages {tail + 1} to {before} of {name} are missing.")
        else:
            self._report.problem(f"Messages {before + 1} to {tail} of {name} are there twice.")


def kept_files(db: sqlite3.Connection, report: CheckReport) -> list[KeptFile]:
    """Return the files that the database knows and that have not ended."""
    try:
        found = db.execute("SELECT id, state, sha256, ranges FROM files WHERE state != 'gone' ORDER BY id")
        return [KeptFile(id, state == "done", sha256, ranges) for id, state, sha256, ranges in found]
    except sqlite3.Error as error:
        report.problem(f"The list of files cannot be read: {error}.")
        return []
