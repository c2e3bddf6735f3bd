"""The command `server.py check`."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from store.sqlite import FILE
from tests.support.clients import Json
from tests.support.processes import Process
from tests.support.processes.forks import run
from wire.frames import Join, Say, Stored


def test_the_command(process: Process, connect: Callable[..., Json], tmp_path: Path) -> None:
    """Beside a server, after it, and on damage: the exit status says whether anything is wrong."""
    alice = connect(process.address, "alice")
    alice.request(Join("lab"))
    for at in range(3):
        assert isinstance(alice.request(Say(f"message {at}", "lab")), Stored)
    data = str(process.folder)
    done = run("check", "--data", data)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "A server is using the data folder, so the files of uploads that go on were not checked.",
        "No damage in 3 messages and 0 files.",
    ]
    assert isinstance(alice.request(Say("goes on", "lab")), Stored)
    assert process.stop() == 0
    done = run("check", "--data", data)
    assert (done.returncode, done.stdout) == (0, "No damage in 4 messages and 0 files.\n")
    with sqlite3.connect(process.folder / FILE) as db:
        db.execute("UPDATE runs SET body = replace(body, 'message', 'massage') WHERE last = 2")
    db.close()
    done = run("check", "--data", data)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.splitlines() == [
        "Damaged messages in the channel lab: 2 (run 2).",
        "Problems: 1.",
    ]
    missing = run("check", "--data", str(tmp_path / "nowhere"))
    assert (missing.returncode, missing.stdout) == (1, "")
    assert missing.stderr == (
        f"server.py check: The data folder {tmp_path / 'nowhere'} cannot be used: No such file or directory.\n"
    )
