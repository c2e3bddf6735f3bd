"""The soak: strangers come, shout, break rules and vanish, for minutes; in the end the server is as it was before.

`python -m tests.campaign.soak --seconds 600` starts a server, has each kind of stranger come once under each name, and
measures. Then strangers come at random. In the end threads, descriptors, rows of the store and bytes of memory are
compared; rows of messages with those that were sent meanwhile. Somebody honest is served all along.
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tests.campaign.strangers import ATTACKS, CHANNELS, NAMES, PASSWORD, SOURCES, Attack, partner_of, tiny_puts, visit
from tests.support.clients import Json
from tests.support.processes import JSON_LOG, LogLines, Process, descriptors, memory, threads
from tests.support.waiting import eventually
from wire.frames import Join, Joined, Msg, Ping, Register, Say, Stored

# Bytes that the server may have more in the end. The page caches of the database, 24 MiB, are a part of them: they fill
# meanwhile.
MEMORY = 32 << 20
# What a cache may take counts neither before nor after; the honest user's posts and the strangers' do not wait.
_CONFIG = (
    "limits: {cache: 1048576, login_seconds: 5, connections_per_second: 0, logins_per_minute: 0,"
    " new_names_per_hour: 0}\n"
)
_MESSAGES = {"runs", "ids"}  # tables that grow with what is said
# The rows of sessions that strangers leave and end: at most one session of a name, which reads all channels by two
# filters.
_SESSIONS = {
    "clients": len(NAMES), "client_cursors": len(NAMES) * (len(CHANNELS) + 1), "client_filters": len(NAMES) * 2,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class State:
    """The state of a server to which nobody but the honest user is connected."""

    threads: int
    descriptors: int
    memory: int
    rows: Mapping[str, int]
    entries: int  # of all logs


def rows(folder: Path) -> dict[str, int]:
    """The number of rows of each table."""
    with closing(sqlite3.connect(f"file:{folder / 'partyline.db'}?mode=ro", uri=True)) as db:
        tables = [name for (name,) in db.execute("select name from sqlite_master where type = 'table'")]
        return {table: db.execute(f'select count(*) from "{table}"').fetchone()[0] for table in tables}


def entries(folder: Path) -> int:
    """The number of entries of all logs."""
    with closing(sqlite3.connect(f"file:{folder / 'partyline.db'}?mode=ro", uri=True)) as db:
        return int(db.execute("select coalesce(sum(count), 0) from runs").fetchone()[0])


class Honest(threading.Thread):
    """Says something, again and again, until `stop`; `seconds` has how long each answer took."""

    def __init__(self, address: str) -> None:
        super().__init__(name="honest")
        self.seconds: list[float] = []
        self.failure = ""
        self._line = Json(address, "owner", password=PASSWORD)
        self._line.request(Join("home"))
        self._over = threading.Event()

    def run(self) -> None:
        try:
            while not self._over.is_set():
                began = time.perf_counter()
                assert isinstance(self._line.request(Say("I am still here", "home")), Stored)
                self._line.request(Ping())
                self.seconds.append(time.perf_counter() - began)
                self._line.inbox.clear()
                self._line.received.clear()
                self._over.wait(1.0)
        except (AssertionError, OSError) as error:
            self.failure = repr(error)

    def stop(self) -> None:
        """End it."""
        self._over.set()
        self.join()
        self._line.close()


class Soak:
    """A server, and the strangers who come to it."""

    def __init__(self, folder: Path, seed: int, names: Sequence[str] = NAMES, workers: int = 6) -> None:
        config = folder / "soak.yaml"
        config.write_text(_CONFIG)
        self.process = Process(folder / "data", *JSON_LOG, "--config", str(config))
        self.visits: Counter[str] = Counter()
        self._chance = random.Random(seed)
        self._names = names
        self._workers = workers
        self._lock = threading.Lock()
        with Json(self.process.address, "owner") as owner:
            owner.request(Register(PASSWORD))
        self.honest = Honest(self.process.address)
        self._empty = (threads(self.process.pid), descriptors(self.process.pid))
        self.honest.start()

    def warm_up(self) -> None:
        """Have each kind of stranger come once under each name, which is in each channel by then."""
        for name in self._names:
            with Json(self.process.address, name) as line:
                for channel in CHANNELS:
                    assert isinstance(line.request(Join(channel)), Joined)
                assert isinstance(line.request(Msg(partner_of(name), "hello")), Stored)
            self._visit(tiny_puts, name, self._chance)  # while no crowd takes the places of its address
        all_visits = [(attack, name) for name in self._names for attack in ATTACKS]
        self._chance.shuffle(all_visits)

        def work(mine: Sequence[tuple[Attack, str]], seed: float) -> None:
            chance = random.Random(seed)
            for attack, name in mine:
                self._visit(attack, name, chance)

        self._run([(work, (all_visits[at :: self._workers], self._chance.random())) for at in range(self._workers)])

    def soak(self, seconds: float) -> None:
        """Have strangers come at random for that long."""
        end = time.monotonic() + seconds

        def work(seed: float) -> None:
            chance = random.Random(seed)
            while time.monotonic() < end:
                self._visit(chance.choice(ATTACKS), chance.choice(self._names), chance)

        self._run([(work, (self._chance.random(),)) for _ in range(self._workers)])

    def _visit(self, attack: Attack, name: str, chance: random.Random) -> None:
        visit(attack, self.process.address, chance.choice(SOURCES), name, chance)
        with self._lock:
            self.visits[getattr(attack, "__name__", "")] += 1

    @staticmethod
    def _run(work: Sequence[tuple[Callable[..., None], tuple[object, ...]]]) -> None:
        made = [threading.Thread(target=target, args=arguments) for target, arguments in work]
        for thread in made:
            thread.start()
        for thread in made:
            thread.join()

    def state(self) -> State:
        """The server's state when all strangers have gone."""
        pid, most = self.process.pid, self._empty
        eventually(
            lambda: threads(pid) <= most[0] and descriptors(pid) <= most[1],
            lambda: f"{most} threads and descriptors at the start, {(threads(pid), descriptors(pid))} now",
        )
        folder = self.process.folder
        return State(threads(pid), descriptors(pid), memory(pid), rows(folder), entries(folder))

    def close(self) -> None:
        """Stop the honest user and the server."""
        self.honest.stop()
        self.process.kill()


def differences(before: State, after: State) -> list[str]:
    """Return the differences from the start, as sentences."""
    found: list[str] = []
    if (after.threads, after.descriptors) != (before.threads, before.descriptors):
        found.append(
            f"threads and descriptors: {before.threads} and {before.descriptors} before, "
            f"{after.threads} and {after.descriptors} after"
        )
    if after.memory - before.memory > MEMORY:
        found.append(f"memory: {before.memory >> 20} MiB before, {after.memory >> 20} MiB after")
    found += [
        f"rows of {table}: {before.rows[table]} before, {count} after"
        for table, count in after.rows.items()
        if table not in _MESSAGES and count > max(before.rows[table], _SESSIONS.get(table, 0))
    ]
    grown = {table: after.rows[table] - before.rows[table] for table in _MESSAGES}
    said = after.entries - before.entries
    found += [f"rows of {table}: {count} more, for {said} messages" for table, count in grown.items() if count > said]
    return found


def run(folder: Path, seconds: float, seed: int, names: Sequence[str] = NAMES) -> list[str]:
    """Soak a server; print the figures, and return what is not as it was before."""
    soak = Soak(folder, seed, names)
    try:
        soak.warm_up()
        before = soak.state()
        print(f"before: {before}", flush=True)
        soak.soak(seconds)
        after = soak.state()
        print(f"after {seconds:g} s and {soak.visits.total()} visits: {after}")
        wrong = differences(before, after)
        soak.honest.stop()
        times = sorted(soak.honest.seconds)
        print(
            f"honest user: {len(times)} answers, median {statistics.median(times) * 1000:.1f} ms, "
            f"p99 {times[len(times) * 99 // 100] * 1000:.1f} ms, longest {times[-1] * 1000:.1f} ms"
        )
        lines = [json.loads(line) for line in soak.process.log.splitlines()]
        print(f"log: {len(soak.process.log) >> 10} KiB, {dict(Counter(line['event'] for line in lines).most_common())}")
        wrong += [f"the log has {line}" for line in LogLines(soak.process).all("internal-error")]
        wrong += [f"the honest user failed: {soak.honest.failure}"] if soak.honest.failure else []
        status = soak.process.stop()
        wrong += [f"the server ended with {status}"] if status else []
        return wrong
    finally:
        soak.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Soak, print what is wrong, and return 1 if anything is."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaign.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="how long strangers come (default 600)")
    parser.add_argument(
        "--seed", type=int, default=random.randrange(1 << 32), help="of all chance (default: a new one)"
    )
    options = parser.parse_args(arguments)
    print(f"seed {options.seed}")
    with tempfile.TemporaryDirectory() as folder:
        wrong = run(Path(folder), options.seconds, options.seed)
    print("\n".join(wrong) or "The server is as it was before.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
