"""A server's process for the tests: forked from one that has imported it already, as imports are most of a start.

What is forked runs `server.main` as `python server.py` does, with standard streams of its own, and can be killed like
any process. `tests/programs/test_start.py` runs the program itself, too.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from multiprocessing.reduction import DupFd
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, Any

_PASSED = ("PARTYLINE_", "PG")  # beginnings of variables that a server reads: the forking process has older ones
_PATIENCE = 60.0  # seconds from the last that it says to its end
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["server", __name__])


class Forked:
    """The part of subprocess.Popen that the tests need: standard output is a pipe, standard error goes to a file."""

    def __init__(self, arguments: Sequence[str], errors: Path) -> None:
        """Start it: `python server.py` with these arguments."""
        here, there = os.pipe()
        self.stdout: IO[bytes] = os.fdopen(here, "rb")
        try:
            passed = {name: value for name, value in os.environ.items() if name.startswith(_PASSED)}
            self._process = _CONTEXT.Process(target=_serve, args=([*arguments], errors, DupFd(there), passed))
            self._process.start()
        finally:
            os.close(there)
        assert self._process.pid is not None
        self.pid = self._process.pid

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def poll(self) -> int | None:
        """Its exit status, -9 if it was killed, or None while it runs."""
        return self._process.exitcode

    def wait(self, seconds: float) -> int:
        """Its exit status, when it has ended."""
        self._process.join(seconds)
        status = self.poll()
        if status is None:
            raise subprocess.TimeoutExpired("server.py", seconds)
        return status


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A server that ends by itself, and what it said."""
    with NamedTemporaryFile() as errors:
        forked = Forked(arguments, Path(errors.name))
        with forked.stdout as output:
            said = output.read().decode()
        return subprocess.CompletedProcess(arguments, forked.wait(_PATIENCE), said, errors.read().decode())


def _serve(arguments: list[str], errors: Path, output: Any, passed: dict[str, str]) -> None:
    """In the new process."""
    for name in [name for name in os.environ if name.startswith(_PASSED) and name not in passed]:
        del os.environ[name]
    os.environ.update(passed)
    with errors.open("ab") as file:
        os.dup2(file.fileno(), 2)
    pipe = output.detach()
    os.dup2(pipe, 1)
    os.close(pipe)
    import server

    sys.exit(server.main(arguments))
