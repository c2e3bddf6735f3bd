"""The load of a login storm: users log in at once with passwords, while others talk. Partyline only."""

from __future__ import annotations

import threading
from pathlib import Path

from bench.load import Generator
from bench.peers import RunningPeer
from channels.passwords import make_hash
from store import open_store

from .dialects import Partyline
from .logins import logins, names
from .pool import RunFailed, client_pool

SUBSCRIBERS = 10
_PASSWORD = "correct-horse"


class _WithPassword(Partyline):
    """Partyline's JSON dialect, for registered users."""

    def login(self, name: str) -> bytes:
        return b'{"op":"hello","name":"%b","password":"%b","ref":1}\n' % (name.encode(), _PASSWORD.encode())


def register(data: Path, count: int) -> None:
    """Have so many users registered in the data folder of a server that is yet to start."""
    store = open_store(data)
    try:
        kept = make_hash(_PASSWORD)  # the same for all: the server hashes for each name
        for name in names("s", count):
            store.open_account(name)
            store.set_password(name, kept)
    finally:
        store.close()


def storm(
    generator: Generator, server: RunningPeer, count: int, seconds: float, rate: int, size: int
) -> tuple[float, float, float]:
    """Return p99 of the latency during a storm and without one, in seconds, and the logins a second.

    The latency without is the mean of before and after, so that a steady drift of the machine cancels out.
    """
    taken: list[float] = []
    with (
        client_pool(server.dialect, server.port, channels=1, subscribers=SUBSCRIBERS, publishers=1, size=size) as pool,
        logins(server.port, _WithPassword(), count) as clients,
    ):
        before = generator.paced(pool, seconds, rate)
        logging_in = threading.Thread(target=lambda: taken.append(clients.log_in(names("s", count))), name="storm")
        logging_in.start()
        during = generator.paced(pool, seconds, rate)
        logging_in.join()
        after = generator.paced(pool, seconds, rate)
    if not taken:
        raise RunFailed("not every user could log in")
    return during.p99, (before.p99 + after.p99) / 2, count / taken[0]
