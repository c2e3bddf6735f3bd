"""The load of many users who return at once, each of whom missed the same messages."""

from __future__ import annotations

from bench.load import Generator
from bench.meter import wait_until_settled
from bench.peers import RunningPeer

from .logins import names
from .pool import Client, client_pool

CHANNEL = "room000"  # the name that `client_pool` gives to its first channel


def return_to_channel(generator: Generator, server: RunningPeer, clients: int, missed: int, size: int) -> float:
    """Return the seconds from the first connection until every member of a channel has what it missed."""
    dialect, members = server.dialect, names("m", clients)
    for name in members:
        member = Client(server.port, name, dialect)
        member.ask(dialect.join(CHANNEL), dialect.joined)
        member.sock.close()
    with client_pool(dialect, server.port, channels=1, subscribers=0, publishers=1, size=size) as pool:
        wait_until_settled(server)
        generator.saturated(pool, missed, 0.0, missed)
        return generator.returns(server.port, dialect, [dialect.login(name) for name in members], missed, size)
