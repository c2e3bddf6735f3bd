"""The program that measures what attacks cost the others: `python -m tests.campaign.attacks`.

For each attack of `tests/support/attacks.py`, two users of a server with its default limits talk while it goes on, from
a process of their own. Each line has the greatest growth of the server's memory, and the 99th percentile of the time
from a post to its receipt by the other user, idle and during the attack.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from multiprocessing import get_context
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

from tests.support.attacks import ATTACKS, CHANNEL, fill
from tests.support.clients import Json
from tests.support.processes import Process, memory, peak_memory
from wire.frames import Entry, Join, Say

_PAUSE = 0.055  # seconds between two messages: the user stays below the limit of posts
_IDLE = 60  # messages before the attack


def _talk(address: str, pipe: Pipe) -> None:
    """Send each message's time in seconds, until the pipe has a word. Runs in a process of its own."""
    with Json(address, "speaker") as speaker, Json(address, "listener") as listener:
        for line in (speaker, listener):
            line.request(Join(CHANNEL))
        count = 0
        while not pipe.poll(_PAUSE):
            text, began = f"message {count}", time.perf_counter()
            speaker.send(Say(text, CHANNEL))
            while listener.expect(Entry).text != text:
                pass
            pipe.send(time.perf_counter() - began)
            listener.inbox.clear()
            listener.received.clear()
            count += 1


def _p99(seconds: Sequence[float]) -> float:
    """Return the 99th percentile in milliseconds."""
    return sorted(seconds)[int(len(seconds) * 0.99)] * 1_000


def _received(pipe: Any) -> list[float]:
    found = []
    while pipe.poll():
        found.append(pipe.recv())
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for each attack. Return 0."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaign.attacks", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each attack goes on (default 5)")
    parser.add_argument("word", nargs="*", help="only attacks whose names have one of these (default: all)")
    options = parser.parse_args(arguments)
    print(f"{'attack':36} memory MiB  p99 ms idle  p99 ms  messages")
    with tempfile.TemporaryDirectory(prefix="partyline-attacks-") as temporary:
        template = Path(temporary, "template", "data")
        template.parent.mkdir()
        process = Process(template)
        fill(process.address)
        process.stop()
        rows = [row for row in ATTACKS if not options.word or any(word in row.name for word in options.word)]
        for number, row in enumerate(rows):
            folder = Path(temporary, f"{number}", "data")
            shutil.copytree(template, folder)
            process = Process(folder, rates=True)
            here, there = get_context("spawn").Pipe()
            talkers = get_context("spawn").Process(target=_talk, args=(process.address, there), daemon=True)
            talkers.start()
            idle = [here.recv() for _ in range(_IDLE)]
            before = memory(process.pid)
            Path(f"/proc/{process.pid}/clear_refs").write_text("5")
            _received(here)
            end = time.monotonic() + options.seconds
            while time.monotonic() < end:
                with ExitStack() as attackers:
                    row.attack(process.address, attackers)
            attacked = [*_received(here), here.recv()]
            grown = (peak_memory(process.pid) - before) / (1 << 20)
            here.send("enough")
            talkers.join()
            process.stop()
            print(f"{row.name:36} {grown:10.1f} {_p99(idle):12.1f} {_p99(attacked):7.1f} {len(attacked):9}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
