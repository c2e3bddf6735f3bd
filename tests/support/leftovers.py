"""The check that a test run leaves no files outside of its base temporary folder and no processes.

Every process of the run inherits a mark in its environment, by which those are found, too, whose parent has ended.
"""

from __future__ import annotations

import multiprocessing.util
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from pathlib import Path

from tests.support.repository import ROOT
from tests.support.waiting import eventually

_MARK = "TESTS_OF_PARTYLINE_RUN"
_CACHES = {"__pycache__", ".git", ".hypothesis", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".venv"}


@contextmanager
def nothing_left(base: Path) -> Iterator[None]:
    """Have temporary files made below `base`; fail if one is left, or a process, or a file in the project."""
    folder = base / "t"  # a short name: a Unix socket's path has at most 107 bytes
    folder.mkdir()
    before = _project()
    mark = f"{os.getpid()}-{base.name}"
    os.environ[_MARK] = mark
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    yield
    assert not multiprocessing.active_children()
    forkserver._forkserver._stop()  # type: ignore[attr-defined]
    resource_tracker._resource_tracker._stop()  # type: ignore[attr-defined]
    # Have multiprocessing remove its folder now: at the exit of the process, pytest has removed the folder above it.
    multiprocessing.util._run_finalizers()  # type: ignore[attr-defined]
    eventually(lambda: not _running(mark), lambda: f"processes that outlive the tests: {_running(mark)}")
    files = list(folder.iterdir())
    assert not files, f"temporary files that outlive the tests: {files}"
    made = _project() - before
    assert not made, f"files that the tests leave in the project: {sorted(made)}"


def _project() -> set[Path]:
    """Return the files of the project's folder, without caches."""
    found: set[Path] = set()
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in _CACHES]
        found |= {Path(folder, name) for name in names if not name.startswith(".coverage")}
    return found


def _running(mark: str) -> list[str]:
    """Return the command lines of this run's processes, without this one."""
    wanted = f"{_MARK}={mark}".encode()
    found: list[str] = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        try:
            if wanted in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:  # another user's, or it has just ended
            continue
    return found
