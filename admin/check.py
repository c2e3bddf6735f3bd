"""Floor 4: `server.py check`: look for damage in the data folder, beside a server or without one."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator, Sequence

from net import print_error, print_out
from store import CheckReport, check_store, data_folder
from wire.errors import LocalError

_DEFAULT_DATA = "data"
_DATABASE_VARIABLE = "PARTYLINE_DATABASE"
_PERIOD = 2.0  # seconds between two lines of progress


def check_data(arguments: Sequence[str], program: str) -> int:
    """Check a data folder and print what is wrong. Return 0 if nothing is, 1 for damage or if it cannot be checked."""
    parser = argparse.ArgumentParser(
        prog=f"{program} check",
        description="Look for damage in the data folder: does the disk read it, is the database sound, does each "
        "message have its checksum and its number, is each file there and unchanged. A server may use the folder "
        "meanwhile. Nothing is changed. The exit status is 1 if anything is wrong.",
    )
    parser.add_argument(
        "--data", metavar="DIR", default=_DEFAULT_DATA, help=f"the server's data folder (default {_DEFAULT_DATA}/)"
    )
    parser.add_argument("--database", metavar="URL", help="the server's database, if it is not in the data folder")
    options = parser.parse_args(arguments)
    try:
        database = options.database or os.environ.get(_DATABASE_VARIABLE, "") or options.data
        report = check_store(database, _ProgressLines(), folder=data_folder(options.data))
    except LocalError as error:
        print_error(f"{program} check: {error}")
        return 1
    print_out("\n".join(_sentences(report)))
    return 1 if report.count else 0


class _ProgressLines:
    """Prints progress on standard error, a line every two seconds, so that a short check prints none."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self, what: str, done: int, total: int) -> None:
        at = time.monotonic()
        if at - self._last >= _PERIOD:
            self._last = at
            print_error(f"{what}: {done:,} of {total:,}" if total else what)


def _sentences(report: CheckReport) -> Iterator[str]:
    yield from report.notes
    yield from report.problems
    if report.count > len(report.problems):
        yield f"{report.count - len(report.problems):,} more problems are not listed."
    if report.count:
        yield f"Problems: {report.count:,}."
    else:
        yield f"No damage in {_count(report.messages, 'message')} and {_count(report.files, 'file')}."


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
