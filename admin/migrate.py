"""Floor 4: `server.py migrate`: copy a whole store to another database, from SQLite to PostgreSQL or back."""

from __future__ import annotations

import argparse
import gc
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from net import print_error, print_out
from store import CopyReport, copy_store, data_folder, is_postgres, shown_url, url_has_password
from wire.errors import LocalError
from wire.file_names import size_words

_LINE_PERIOD, _BAR_PERIOD = 2.0, 0.1  # seconds between two reports: as lines, and in one line on a terminal
_BAR = 20  # characters
_FORMS = "a data folder, or postgresql://USER@HOST/DATABASE"
_TABLES = {
    "accounts": "accounts",
    "logs": "channels and private conversations",
    "members": "memberships",
    "clients": "sessions of MQTT clients",
    "files": "files",
}


def migrate_store(arguments: Sequence[str], program: str) -> int:
    """Copy a store, and print what to do with the copy. Return the exit status: 1 if there is no whole copy."""
    options = _options(arguments, program)
    for url in (options.source, options.target):
        if url_has_password(url):
            print_error("Other users of this machine can read a password on the command line; PGPASSFILE hides it.")
            break
    os.umask(0o077)  # no other user of the machine may read the data
    gc.enable()  # the server program starts without it
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)  # raises KeyboardInterrupt, so that the copy is cleaned up
    progress = _Progress()
    try:
        source, target = shown_url(options.source), shown_url(options.target)
        files = _folders(options.source, options.target, options.data)
        report = copy_store(options.source, options.target, progress, lambda: print_error(_in_use(source)), files=files)
    except LocalError as error:
        progress.end()
        print_error(f"{program} migrate: {error} Nothing was copied.")
        return 1
    except KeyboardInterrupt:
        progress.end()
        print_error(f"{program} migrate: Interrupted. Nothing was copied.")
        return 1
    progress.end()
    print_out("\n".join(_sentences(report, source, target, options.target, files, program)))
    return 1 if report.missing else 0


def _options(arguments: Sequence[str], program: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=f"{program} migrate",
        description="Copy everything from one database to another, which must be empty, and verify the copy. FROM is "
        "not changed. A server may use FROM meanwhile: what it stores after the start of the copy is not in the copy.",
    )
    parser.add_argument("source", metavar="FROM", help=_FORMS)
    parser.add_argument("target", metavar="TO", help=f"{_FORMS}; it must be empty")
    parser.add_argument(
        "--data",
        metavar="DIR",
        action="append",
        default=[],
        help="a data folder with the bytes of files, if FROM is on PostgreSQL and TO is a folder; give it once for each"
        " server that has one",
    )
    return parser.parse_args(arguments)


def _folders(source: str, target: str, data: Sequence[str]) -> tuple[list[Path], Path] | None:
    """Return between which data folders the bytes of files are to be copied; None if they stay where they are."""
    if is_postgres(target):
        return None
    there = [Path(each) for each in data] if is_postgres(source) else [data_folder(source)]
    return (there, data_folder(target)) if there else None


def _in_use(source: str) -> str:
    return f"A server is using {source}: what it stores from now on is not in the copy."


def _sentences(
    report: CopyReport, source: str, target: str, url: str, files: tuple[list[Path], Path] | None, program: str
) -> Iterator[str]:
    counts = [f"{report.rows[table]:,} {name}" for table, name in _TABLES.items()]
    yield f"Copied {source} to {target}: {report.messages:,} messages, {', '.join(counts)}."
    yield "Each message has its checksum, and each table of the copy has the rows and the checksum of the other side."
    yield from report.missing
    if files is not None:
        yield f"The bytes of the files are in {files[1]}/files/."
    elif report.files:
        yield _about_files(report.files, source, target, url)
    yield f"Start the server with: {program} {_start(source, url)}"


def _about_files(count: int, source: str, target: str, url: str) -> str:
    what = f"The bytes of {count} files are in no database"
    if not is_postgres(url):
        return f"{what}. Copy the folder files/ of the server's data folder to {target}/files/."
    return f"{what}. They stay in the folder files/ of the data folder{'' if is_postgres(source) else f' {source}'}."


def _start(source: str, url: str) -> str:
    if not is_postgres(url):
        return f"--data {url}"
    return f"--data {'DIR' if is_postgres(source) else source} --database URL"  # the URL may have a password


class _Progress:
    """Shows progress on standard error: one line that changes on a terminal, else a line every two seconds."""

    def __init__(self) -> None:
        self._terminal = sys.stderr is not None and sys.stderr.isatty()
        self._last = time.monotonic()
        self._width = 0  # of the line on the terminal

    def __call__(self, what: str, rows: int, of: int, size: int) -> None:
        at = time.monotonic()
        if self._terminal and (at - self._last >= _BAR_PERIOD or (rows == of and of)):
            self._last = at
            done = rows * _BAR // max(of, 1)
            line = f"[{'#' * done:-<{_BAR}}] {what}: {rows:,} of {of:,} rows, {size_words(size)}"
            print_error(f"\r{line:<{self._width}}", end="")
            self._width = len(line)
        elif not self._terminal and at - self._last >= _LINE_PERIOD:
            self._last = at
            print_error(f"{what}: {rows:,} of {of:,} rows, {size_words(size)}")

    def end(self) -> None:
        """Remove the line from the terminal."""
        if self._width:
            print_error(f"\r{' ' * self._width}\r", end="")
            self._width = 0
