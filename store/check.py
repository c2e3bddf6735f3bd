"""Floor 1: check a whole store: the database, the bytes of the files, and whether the two agree. Changes nothing."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from .blobs import FOLDER, Blobs
from .contract import CheckReport, Progress
from .open import data_folder, is_postgres, postgres
from .sql import KeptFile
from .sqlite import check_disk, check_runs, check_structure, checked_database, kept_files

_PIECE = 1 << 20  # bytes of a blob that are read at once
_EMPTY = "[]"


def check_store(url: str | Path, progress: Progress, *, folder: Path | None = None) -> CheckReport:
    """Check a store, given as for `open_store`. Takes as long as it takes to read everything twice.

    A server may have the store open: then the files of uploads that go on are left out. Raises StoreError if there is
    no store, or if it cannot be opened.
    """
    report = CheckReport()
    if is_postgres(url):
        blobs = Blobs(folder / FOLDER) if folder is not None else None
        identity = blobs.known_identity() if blobs is not None else ""
        rows = postgres().check_postgres(postgres().parse_address(str(url)), report, progress, identity)
        if blobs is not None:
            _check_files(blobs, rows, report, progress)
        return report
    own = data_folder(url)
    with checked_database(own, report) as db:
        if check_disk(own, report, progress):
            check_structure(db, report, progress)
            check_runs(db, report, progress)
            _check_files(Blobs((folder or own) / FOLDER), kept_files(db, report), report, progress)
    return report


def _check_files(blobs: Blobs, rows: Sequence[KeptFile], report: CheckReport, progress: Progress) -> None:
    """Compare the rows of files with the files, and each blob with the SHA-256 that is its name."""
    report.files = len(rows)
    parts, found = blobs.found()
    done = {row.sha256: row.id for row in rows if row.done}
    begun = {row.id for row in rows if not row.done}
    for at, (sha256, id) in enumerate(sorted(done.items()), 1):
        if sha256 not in found:
            report.problem(f"The content of file {id} is missing ({sha256}).")
        else:
            _check_blob(blobs, sha256, id, report)
        progress("verifying files", at, len(done))
    if report.beside:
        return  # a server adds files and rows one after the other
    for row in rows:
        if not row.done and row.ranges != _EMPTY and row.id not in parts:
            report.problem(f"What was uploaded of file {row.id} is missing.")
    stray = len(parts - begun) + len(found - done.keys())
    if stray:
        report.notes.append(f"{stray} files belong to no offer. The next start of the server removes them.")


def _check_blob(blobs: Blobs, sha256: str, id: str, report: CheckReport) -> None:
    made = hashlib.sha256()
    try:
        descriptor = blobs.read_blob(sha256)
        with os.fdopen(descriptor, "rb", buffering=0) as opened:
            while piece := opened.read(_PIECE):
                made.update(piece)
    except OSError as error:
        report.problem(f"The content of file {id} cannot be read ({sha256}): {error.strerror}.")
        return
    if made.hexdigest() != sha256:
        report.problem(f"The content of file {id} is damaged ({sha256}).")
