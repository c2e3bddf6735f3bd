"""Floor 1: copy a whole store from one database to another, which must be empty, and verify the copy before it is kept.

The source may be in use: the copy has one state of it. Memory grows with the number of logs, and not with that of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from sqlalchemy import Table

from .blobs import FOLDER, Blobs
from .contract import CheckReport, StoreError, log_title
from .open import data_folder, is_postgres, postgres
from .sql import COPIED, CopySource, CopyTarget, Row, RowSum, Run, RunCheck, in_order, run_checksum, schema
from .sqlite import sqlite_source, sqlite_target

_OFTEN = 1_000  # rows from one report of progress to the next one
_EMPTY = "[]"
# Columns that name a server of the source, or a folder of one, and their values for none. A server that starts with a
# folder finds the bytes of files in it.
_OF_SERVERS: dict[tuple[str, str], int | str] = {
    ("clients", "server"): 0, ("clients", "connection"): 0, ("files", "home"): 0, ("files", "folder"): "",
}  # fmt: skip
_ID, _STATE, _SHA256, _RANGES, _SIZE = [
    [column.name for column in schema.files.columns].index(name) for name in ("id", "state", "sha256", "ranges", "size")
]


class CopyProgress(Protocol):
    """Is told what is done."""

    def __call__(self, what: str, rows: int, of: int, size: int) -> None:
        """`rows` of `of` rows are done, with about `size` bytes. In the end, `rows` is `of`."""


@dataclass(slots=True)
class CopyReport:
    """The result of a copy.

    `rows` has the number of rows by the name of the table, and `messages` is how many entries there are. `files` is the
    number of offers that have not ended. `missing` has a sentence for each file whose bytes could not be copied.
    """

    messages: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    files: int = 0
    missing: list[str] = field(default_factory=list)


def copy_store(
    source: str | Path,
    target: str | Path,
    progress: CopyProgress,
    in_use: Callable[[], None],
    *,
    files: tuple[Sequence[Path], Path] | None = None,
) -> CopyReport:
    """Copy all that the source has to the target, each given as for `open_store`. The target has all or nothing of it.

    `in_use` is called before anything is copied if a server uses the source. `files` are the data folders that have
    the bytes of files, and the one to which they are copied, too. Raises StoreError for a damaged source, for a
    target that is not empty, and if what is read back is not what was written.
    """
    with _source(source) as there, _target(target) as here:
        if there.beside:
            in_use()
        report = _Copy(there, here, progress).run()
        _count_files(there, report)
        if files is not None:
            _copy_files(there, files[0], files[1], report, progress)
        here.commit()
    return report


def _source(url: str | Path) -> AbstractContextManager[CopySource]:
    if not is_postgres(url):
        return sqlite_source(data_folder(url))
    made: AbstractContextManager[CopySource] = postgres().postgres_source(postgres().parse_address(str(url)))
    return made


def _target(url: str | Path) -> AbstractContextManager[CopyTarget]:
    if not is_postgres(url):
        return sqlite_target(data_folder(url))
    made: AbstractContextManager[CopyTarget] = postgres().postgres_target(postgres().parse_address(str(url)))
    return made


class _Copy:
    """One copy. A target whose journal counts gets other numbers of the journal than a source whose one does not."""

    def __init__(self, source: CopySource, target: CopyTarget, progress: CopyProgress) -> None:
        self._source = source
        self._target = target
        self._progress = progress
        self._renumbers = target.counts and not source.counts
        self._sums: dict[str, RowSum] = {}
        self._names = {row[0]: log_title(row[0], row[1], row[3]) for row in source.rows(schema.logs)}

    def run(self) -> CopyReport:
        """Copy and verify."""
        report = CopyReport()
        found = CheckReport()
        check = RunCheck(self._names, found, counts=self._source.counts)
        self._target.write(schema.runs, self._new_runs(check, found))
        self._check_tails(self._source, check)
        for table in COPIED:
            rows = _without_servers(table, self._source.rows(table))
            self._target.write(table, self._counted("copying", table, self._source.count(table), rows))
        self._target.finish({log: tail for log, tail in check.tails.items() if tail})
        report.messages = found.messages
        report.rows = {name: each.count for name, each in self._sums.items()}
        self._verify()
        return report

    def _new_runs(self, check: RunCheck, found: CheckReport) -> Iterator[Row]:
        """Yield the runs for the target. Raises StoreError at the first damage."""
        seq = 0
        for run in self._checked_runs("copying", self._source, check, found):
            _, log, last, count, body, checksum = run
            if self._renumbers:
                seq += count
                yield (
                    seq, log, last, count, body.decode(),
                    None if checksum is None else run_checksum(body, seq, log, last),
                )  # fmt: skip
            else:
                yield (*run[:4], body.decode(), checksum)

    def _checked_runs(self, what: str, source: CopySource, check: RunCheck, found: CheckReport) -> Iterator[Run]:
        """Yield the runs of a database, each checked."""
        runs = source.runs()
        ordered = runs if source.counts else in_order(runs, check.tails)
        for run in self._counted(what, schema.runs, source.count(schema.runs), ordered, self._renumbers):
            check.check(*run)
            if found.count:
                raise StoreError(f"{found.problems[0]} `server.py check` lists all damage.")
            yield run

    def _counted(
        self, what: str, table: Table, of: int, rows: Iterable[Row], renumbered: bool = False
    ) -> Iterator[Row]:
        """Yield rows, add them to the table's sum, and tell the progress."""
        made = self._sums[table.name] = RowSum()
        size = 0
        for row in rows:
            size += made.add(row[1:5] if renumbered else row)
            if made.count % _OFTEN == 0:
                self._progress(f"{what} {table.name}", made.count, of, size)
            yield row
        self._progress(f"{what} {table.name}", made.count, max(of, made.count), size)

    def _verify(self) -> None:
        """Read back what was written. Raises StoreError unless it is what was read."""
        read, self._sums = self._sums, {}
        written, found = self._target.written(), CheckReport()
        check = RunCheck(self._names, found, counts=self._target.counts)
        _exhaust(self._checked_runs("verifying", written, check, found))
        self._check_tails(written, check)
        for table in COPIED:
            _exhaust(self._counted("verifying", table, written.count(table), written.rows(table)))
        for name, each in read.items():
            if self._sums[name] != each:
                raise StoreError(
                    f"The copy is wrong: {name} has {self._sums[name].count} rows, and not the {each.count} rows that"
                    " were read."
                )

    def _check_tails(self, source: CopySource, check: RunCheck) -> None:
        tails = source.tails()
        for log, tail in tails.items() if tails is not None else ():
            found = check.tails.get(log) or 0
            if found != tail:
                name = self._names.get(log, f"log {log}")
                raise StoreError(f"The last message of {name} has number {found}, and should have {tail}.")


def _without_servers(table: Table, rows: Iterator[Row]) -> Iterator[Row]:
    """Yield the rows of a table without what they say of the servers that use the source."""
    values = {place: _OF_SERVERS.get((table.name, column.name)) for place, column in enumerate(table.columns)}
    changed = {place: value for place, value in values.items() if value is not None}
    if not changed:
        return rows
    return (tuple([changed.get(place, value) for place, value in enumerate(row)]) for row in rows)


def _exhaust(rows: Iterable[Row]) -> None:
    for _ in rows:
        pass


def _count_files(source: CopySource, report: CopyReport) -> None:
    report.files = sum([row[_STATE] != "gone" for row in source.rows(schema.files)])


def _copy_files(
    source: CopySource, there: Sequence[Path], here: Path, report: CopyReport, progress: CopyProgress
) -> None:
    """Copy the bytes of the files that have not ended. The folders of several servers have some of them each."""
    folders, to = [Blobs(folder / FOLDER) for folder in there], Blobs(here / FOLDER, synced=True)
    of, size = source.count(schema.files), 0
    for at, row in enumerate(source.rows(schema.files), 1):
        if row[_STATE] != "gone":
            problem = _copy_file(row, folders, to)
            if problem:
                report.missing.append(problem)
            size += row[_SIZE]
        progress("copying bytes of files", at, of, size)


def _copy_file(row: Row, folders: Sequence[Blobs], to: Blobs) -> str:
    """Copy the bytes of a file from the first folder that has them. Return what is wrong as a sentence, or nothing."""
    id, state, sha256 = row[_ID], row[_STATE], row[_SHA256]
    for folder in folders:
        try:
            if state != "done":
                to.take_part(id, folder)
            elif not to.take_blob(sha256, folder):
                return f"The content of file {id} is damaged ({sha256})."
        except FileNotFoundError:
            continue
        except OSError as error:
            raise StoreError(f"The content of file {id} cannot be copied: {error.strerror}.") from error
        return ""
    return f"The content of file {id} is missing." if state == "done" or row[_RANGES] != _EMPTY else ""
