"""Strangers attack a server with its default limits: they are told one sentence, and cost it little memory."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.attacks import ATTACKS, CHANNEL, Row, fill
from tests.support.clients import Json
from tests.support.processes import Process, memory, peak_memory
from wire.frames import Entry, Join, Say

_MOST = 32 << 20  # bytes by which the server may grow at any moment of an attack
_RESET_PEAK = "5"  # proc_pid_clear_refs(5)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with what the attacks need."""
    folder = tmp_path_factory.mktemp("attacks") / "data"
    process = Process(folder)
    fill(process.address)
    assert process.stop() == 0
    return folder


@pytest.fixture
def process(filled: Path, tmp_path: Path) -> Iterator[Process]:
    """A server on a copy of that folder, with the limits that a server has by default."""
    shutil.copytree(filled, tmp_path / "data")
    made = Process(tmp_path / "data", rates=True)
    yield made
    made.kill()


@pytest.mark.parametrize("row", ATTACKS, ids=lambda row: row.name)
def test_an_attack(process: Process, row: Row) -> None:
    """Another user talks before, meanwhile and afterwards."""
    with Json(process.address, "bystander") as bystander, ExitStack() as attackers:
        bystander.request(Join(CHANNEL))
        before = memory(process.pid)
        Path(f"/proc/{process.pid}/clear_refs").write_text(_RESET_PEAK)
        answer = row.attack(process.address, attackers)
        number = bystander.request(Say("I am still here", CHANNEL)).number
        assert bystander.expect(Entry, lambda entry: entry.number == number).text == "I am still here"
        assert peak_memory(process.pid) - before < _MOST
    assert row.told in answer
    assert process.stop() == 0
    assert "Traceback" not in process.log, process.log
