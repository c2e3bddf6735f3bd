"""The process that hashes: what it answers, its priority, and what happens when it ends."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from channels.passwords import hash_process, hashing
from channels.passwords.hash_process import HashProcess
from reporting import events
from tests.support.reported import Reported

PASSWORDS = ("correct-horse", "with\nlines", 'with "quotes" and \\ and ünïcödé', "x" * 128)


@pytest.fixture
def process(hash_processes: None) -> Iterator[HashProcess]:
    made = HashProcess()
    yield made
    made.rest()
    assert not children()


def children() -> list[psutil.Process]:
    """The processes that hash for this one."""
    return [each for each in psutil.Process().children() if hash_process._PROGRAM in each.cmdline()]


@pytest.mark.parametrize("password", PASSWORDS)
def test_it_makes_and_verifies_hashes(process: HashProcess, password: str) -> None:
    kept = process.make_hash(password)
    assert kept.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert process.fits(password, kept)
    assert hashing.fits(password, kept)
    assert not process.fits(f"{password}x", kept)
    assert not process.fits(password, "no hash at all")


def test_a_password_that_is_too_long_is_not_hashed(process: HashProcess) -> None:
    assert not process.fits("x" * 129, hashing.make_hash("x" * 129))
    assert not children()


def test_it_has_a_lower_priority_and_no_signals_of_the_terminal(process: HashProcess) -> None:
    process.make_hash("correct-horse")
    (child,) = children()
    assert child.nice() == min(19, os.getpriority(os.PRIO_PROCESS, 0) + 10)
    assert os.getpgid(child.pid) != os.getpgid(0)


def test_one_that_was_killed_is_started_anew(process: HashProcess, reported: Reported) -> None:
    kept = process.make_hash("correct-horse")
    (child,) = children()
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert process.fits("correct-horse", kept)
    assert [each.pid for each in children()] != [child.pid]
    assert not reported.of(events.HashProcessFailed)


def test_one_that_does_not_answer_is_started_anew_and_one_that_does_not_end_is_killed(
    process: HashProcess, reported: Reported, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stopped one held its worker, and the end of the server, for ever."""
    kept = process.make_hash("correct-horse")
    (child,) = children()
    child.send_signal(signal.SIGSTOP)
    monkeypatch.setattr(hash_process, "_PATIENCE", 2.0)
    assert process.fits("correct-horse", kept)
    assert not child.is_running()
    assert not reported.of(events.HashProcessFailed)
    (child,) = children()
    child.send_signal(signal.SIGSTOP)
    monkeypatch.setattr(hash_process, "_PATIENCE", 0.1)
    process.rest()
    assert not child.is_running()


def test_it_ends_at_rest_and_starts_again(process: HashProcess) -> None:
    kept = process.make_hash("correct-horse")
    (child,) = children()
    process.rest()
    assert not child.is_running()
    assert not children()
    assert process.fits("correct-horse", kept)


def test_an_error_is_that_of_the_hash(process: HashProcess) -> None:
    """A lone surrogate is no Unicode, so it cannot be hashed; the process goes on."""
    with pytest.raises(UnicodeEncodeError):
        process.make_hash("\ud800 horses")
    assert process.make_hash("correct-horse")


@pytest.mark.parametrize("program", ["raise SystemExit", "import os; os.write(1, b'tr')"])
def test_the_server_hashes_by_itself_if_the_process_fails(
    process: HashProcess, reported: Reported, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str
) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text(program)
    monkeypatch.setattr(hash_process, "_PROGRAM", str(broken))
    assert process.fits("correct-horse", hashing.make_hash("correct-horse"))
    assert len(reported.of(events.HashProcessFailed)) == 1
    assert not children()


def test_the_server_hashes_by_itself_if_the_system_gives_no_process(
    process: HashProcess, reported: Reported, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert hashing.fits("correct-horse", process.make_hash("correct-horse"))
    assert reported.of(events.HashProcessFailed) == [events.HashProcessFailed("No such file or directory")]
