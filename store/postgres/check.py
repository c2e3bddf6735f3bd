"""Floor 1: check a PostgreSQL database: every run's checksum, and the numbers. PostgreSQL checks its own structure."""

from __future__ import annotations

from ..contract import CheckReport, Progress, log_title
from ..sql import KeptFile, RunCheck
from .address import Address
from .connection import LimitedConnection
from .read_only import check_version, read_only_connection

_ROWS = 64  # runs that are read at once: each has up to some 64 KiB
_RUNS = (
    "SELECT seq, log, last, count, convert_to(body, 'UTF8'), checksum FROM runs WHERE (log, last) > (%s, %s)"
    " ORDER BY log, last LIMIT %s"
)
_FILES = "SELECT id, state, sha256, ranges FROM files WHERE state != 'gone' AND folder IN ('', %s) ORDER BY id"


def check_postgres(address: Address, report: CheckReport, progress: Progress, folder: str) -> list[KeptFile]:
    """Check the runs; return the files of the folder with that id that the database knows and that have not ended.

    It reads one state of the database, also while servers use it; so `report.beside` is True, as servers may add files
    meanwhile. Raises StoreError.
    """
    report.beside = True
    report.notes.append("Servers may be using the database, so the files of uploads that go on were not checked.")
    with read_only_connection(address) as db:
        check_version(db, address)
        _check_runs(db, report, progress)
        return [
            KeptFile(id, state == "done", sha256, ranges)
            for id, state, sha256, ranges in db.execute(_FILES, (folder,)).fetchall()
        ]


def _check_runs(db: LimitedConnection, report: CheckReport, progress: Progress) -> None:
    logs = db.execute("SELECT id, kind, name, tail FROM logs").fetchall()
    runs = RunCheck({id: log_title(id, kind, name) for id, kind, name, _ in logs}, report, counts=False)
    total = sum([tail for *_, tail in logs])
    log, last = -1, -1
    cursor = db.cursor(binary=True)
    while rows := cursor.execute(_RUNS, (log, last, _ROWS)).fetchall():
        for row in rows:
            runs.check(*row)
        _, log, last, *_ = rows[-1]
        progress("verifying messages", report.messages, total)
    runs.close()
    for id, kind, name, tail in logs:
        found = runs.tails.get(id, 0)
        if found is not None and found != tail:
            report.problem(
                f"The last message of {log_title(id, kind, name)} has number {found}, and should have {tail}."
            )
