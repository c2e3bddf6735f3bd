"""The loads of many logins: how fast they are, and what is left of a crowd that has gone."""

from __future__ import annotations

from bench.load import Generator
from bench.meter import wait_until_settled
from bench.peers import RunningPeer

from .logins import AT_ONCE, logins, names


def login_rates(generator: Generator, server: RunningPeer, count: int, connected: int) -> tuple[float, float, float]:
    """Return the logins a second with nobody and with so many clients connected, and their ratio."""
    alone = generator.logins(server.port, server.dialect, names("u", count), AT_ONCE)
    with logins(server.port, server.dialect) as clients:
        clients.log_in(names("v", connected))
        wait_until_settled(server)
        beside = generator.logins(server.port, server.dialect, names("w", count), AT_ONCE)
    return count / alone, count / beside, alone / beside


def crowd(server: RunningPeer, count: int) -> tuple[float, float, float, float]:
    """Return memory, threads and file descriptors after so many clients, relative to before, and the bytes before.

    Ten clients come and go before, as the first ones allocate what all share.
    """
    with logins(server.port, server.dialect) as clients:
        clients.log_in(names("u", 10))
    before = wait_until_settled(server)
    with logins(server.port, server.dialect) as clients:
        clients.log_in(names("v", count))
    after = wait_until_settled(server)
    ratios = [now / then for now, then in zip(after, before, strict=True)]
    return ratios[0], ratios[1], ratios[2], before[0]
