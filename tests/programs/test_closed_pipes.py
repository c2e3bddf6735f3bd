"""Both programs when nobody reads what they print, as in `server.py cert | head -1`: no traceback, the same status."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from admin import SUBCOMMANDS
from tests.support.processes.clients import environment
from tests.support.repository import ROOT
from tests.support.waiting import DEADLINE


@contextmanager
def _nobody_reads() -> Iterator[int]:
    """Yield the writing end of a pipe without a reader."""
    here, there = os.pipe()
    os.close(here)
    try:
        yield there
    finally:
        os.close(there)


@contextmanager
def _start(*command: str, stdout: int, stderr: int, buffered: bool = True) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        [sys.executable, str(ROOT / command[0]), *command[1:]],
        env=environment(PYTHONUNBUFFERED="" if buffered else "1"),
        stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("buffered", [True, False])
def test_what_nobody_reads_is_dropped_with_and_without_a_buffer(buffered: bool) -> None:
    with (
        _nobody_reads() as pipe,
        _start("server.py", "acl", "mosquitto", stdout=pipe, stderr=subprocess.PIPE, buffered=buffered) as process,
    ):
        _, said = process.communicate(timeout=DEADLINE)
    assert (process.returncode, said) == (0, b"")


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (["server.py", "cert", "--data", "FOLDER"], 0),
        (["server.py", "check", "--data", "FOLDER"], 0),
        (["server.py", "--help"], 0),
        (["server.py", "--version"], 0),
        (["client.py", "--help"], 0),
        (["client.py", "--version"], 0),
        *[(["server.py", name, "--help"], 0) for name in SUBCOMMANDS],
    ],
)
def test_what_nobody_reads_is_dropped(command: list[str], status: int, tmp_path: Path) -> None:
    if command[1] == "check":
        _serve_once(tmp_path)
    words = [str(tmp_path) if word == "FOLDER" else word for word in command]
    with _nobody_reads() as pipe, _start(*words, stdout=pipe, stderr=subprocess.PIPE) as process:
        _, said = process.communicate(timeout=DEADLINE)
    assert (process.returncode, said) == (status, b"")


def _serve_once(folder: Path) -> None:
    """Make the data folder of a server that is not running, whose standard output has lost its reader."""
    here, there = os.pipe()
    with _start("server.py", "--port", "0", "--data", str(folder), stdout=there, stderr=subprocess.PIPE) as server:
        os.close(there)
        with os.fdopen(here, "rb") as output:
            assert b" is ready on " in output.readline()
        server.send_signal(signal.SIGTERM)
        _, log = server.communicate(timeout=DEADLINE)
    assert server.returncode == 0
    assert b" stop: The server has stopped." in log.splitlines()[-1]


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (["server.py", "acl", "frobnicate"], 2),
        (["server.py", "cert", "--data", "/dev/null", "a b"], 1),
        (["server.py", "check", "--data", "/dev/null"], 1),
        (["server.py", "--data", "/dev/null"], 1),
        (["server.py", "--frobnicate"], 2),
        (["server.py", "frobnicate"], 2),
        (["client.py"], 2),
        (["client.py", "--frobnicate"], 2),
    ],
)
def test_an_error_that_nobody_reads_keeps_its_status(command: list[str], status: int) -> None:
    with _nobody_reads() as pipe, _start(*command, stdout=pipe, stderr=pipe) as process:
        assert process.wait(DEADLINE) == status


def test_a_server_stops_in_order_when_nobody_reads_its_log(tmp_path: Path) -> None:
    here, there = os.pipe()
    with _start("server.py", "--port", "0", "--data", str(tmp_path), stdout=there, stderr=there) as server:
        os.close(there)
        with os.fdopen(here, "rb") as output:
            while b" is ready on " not in (line := output.readline()):
                assert line
        server.send_signal(signal.SIGTERM)
        assert server.wait(DEADLINE) == 0
