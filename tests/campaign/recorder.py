"""A pytest plugin (`-p tests.campaign.recorder --record FILE`): writes the seconds of each test that passed to FILE.

It also names the running test to the processes that are forked meanwhile: a fork server keeps the environment of its
own start. Coverage with `context = "${PYTEST_CURRENT_TEST-}"` then knows for which test such a process ran a line.
"""

from __future__ import annotations

import json
import os
from multiprocessing import spawn
from pathlib import Path
from typing import Any

import pytest

_VARIABLE = "PYTEST_CURRENT_TEST"


class Recorder:
    """Sums up the phases of each test."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seconds: dict[str, float] = {}
        self._not_passed: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._seconds[report.nodeid] = self._seconds.get(report.nodeid, 0.0) + report.duration
        if not report.passed:
            self._not_passed.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        passed = {test: seconds for test, seconds in self._seconds.items() if test not in self._not_passed}
        self._file.write_text(json.dumps(passed))


class _CurrentTest:
    """Sets the environment variable in the process that unpickles it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _set_current_test, (os.environ.get(_VARIABLE, ""),)


def _set_current_test(test: str) -> None:
    os.environ[_VARIABLE] = test


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record", metavar="FILE", help="write the seconds of each test that passed, as JSON")


def pytest_configure(config: pytest.Config) -> None:
    """Record in the main process; name the tests in every process that runs some."""
    file = config.getoption("record")
    if not file:
        return
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Recorder(Path(file)))
    prepare = spawn.get_preparation_data
    spawn.get_preparation_data = lambda name: {**prepare(name), "current_test": _CurrentTest()}
