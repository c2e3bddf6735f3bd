"""Crashes: what was acknowledged is stored after `kill -9`, and a full disk refuses an append as a whole."""

from __future__ import annotations

import itertools
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

from store import open_store
from store.sqlite import FILE
from tests.support.repository import ROOT
from tests.support.waiting import DEADLINE

FULL = """
import resource, signal, sys
from pathlib import Path
from store import StoreError, open_store
from tests.support.stores import posting
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = open_store(Path(sys.argv[1]))
lab, den = store.open_channel("lab"), store.open_channel("den")
kept, failures = 0, 0
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
while failures < 3:
    posts = [(f"{kept + at}" + " " * 500, f"{kept + at}") for at in range(20)]
    try:
        numbers = store.append([posting(lab, "ann", *posts), posting(den, "ann", "noise")], 1).numbers[0]
    except StoreError as error:
        failures += 1
        print(error)
    else:
        assert list(numbers) == list(range(kept + 1, kept + 21)), numbers
        kept += 20
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
for call in (lambda: store.open_channel("new"), lambda: store.set_topic(lab, "t"), lambda: store.open_account("new")):
    try:
        call()
    except StoreError:
        failures += 1
assert failures == 6, failures
assert [int(entry.text) for entry in store.read(lab, 0, 10**6)] == list(range(kept)), "reading goes on"
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
after = store.append([posting(lab, "ann", *posts)], 1)
assert list(after.numbers[0]) == list(range(kept + 1, kept + 21)), after.numbers
assert after.batches[0].seq == kept + kept // 20 + 20
store.close()
print(kept + 20)
"""


def test_a_full_disk_refuses_and_then_goes_on(tmp_path: Path) -> None:
    """An append that does not fit is refused as a whole. When the disk has room again, the numbers go on.

    A limit on the file's size stands for the full disk: a write past it is cut off, as on a full disk.
    """
    result = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    *errors, kept = result.stdout.splitlines()
    assert all(str(tmp_path / FILE) in error for error in errors)
    check_whole(tmp_path, "lab", int(kept))


KILLED = """
import os, sys, threading
from pathlib import Path
from store import open_store
from tests.support.stores import posting
store = open_store(Path(sys.argv[1]))
lab, den = store.open_channel("lab"), store.open_channel("den")
def write(name):
    at = 0
    while True:
        posts = [(f"{name}-{at + i}", f"{at + i}") for i in range(1 + at % 5)]
        _, numbers = store.append([posting(den, name, "noise"), posting(lab, name, *posts)], 1).numbers
        os.write(1, "".join(f"{number} {text}\\n" for number, (text, _) in zip(numbers, posts)).encode())
        at += len(posts)
for at in range(4):
    threading.Thread(target=write, args=(f"w{at}",)).start()
"""


def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    """The child is killed amid the appends of several threads, three times on the same folder."""
    acknowledged: dict[int, str] = {}
    for round_ in range(3):
        child = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(tmp_path / "data")], cwd=ROOT, stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        seen = b""
        while seen.count(b"\n") < 300 * (round_ + 1):
            piece = os.read(child.stdout.fileno(), 1 << 16)
            assert piece, "the child ended by itself"
            seen += piece
        child.send_signal(signal.SIGKILL)
        seen += child.stdout.read()
        child.stdout.close()
        assert child.wait(DEADLINE) == -signal.SIGKILL
        whole = seen[: seen.rfind(b"\n") + 1].decode()
        for number, text in (line.split() for line in whole.splitlines()):
            assert acknowledged.setdefault(int(number), text) == text, "a number stands for one message"
        texts = check_whole(tmp_path / "data", "lab")
        assert {number: texts[number - 1] for number in acknowledged} == acknowledged
        assert len(set(texts)) == len(texts), "exactly once, though each round sends the same ids again"


def check_whole(folder: Path, channel: str, count: int | None = None) -> list[str]:
    """Return the texts of a channel of the store in a folder: the database is sound, and the log has no gap."""
    store = open_store(folder)
    log = store.open_channel(channel)
    entries = store.read(log, 0, 10**6)
    assert [entry.number for entry in entries] == list(range(1, len(entries) + 1))
    assert log.tail == len(entries)
    assert count is None or len(entries) == count
    store.close()
    with sqlite3.connect(folder / FILE) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        runs = db.execute("SELECT seq, count FROM runs ORDER BY seq").fetchall()
    db.close()
    assert [seq for seq, _ in runs] == list(itertools.accumulate(count for _, count in runs))
    return [entry.text for entry in entries]
