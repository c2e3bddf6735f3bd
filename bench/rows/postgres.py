"""The rows on PostgreSQL: the loads of rows a and c, with the messages in a PostgreSQL database on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.peers import PartylinePeer, Peer, RunningPeer
from bench.postgres import Cluster, programs

from .row import Measured, Metric, Plan, Row
from .socket import one_at_a_time, one_channel


class Postgres:
    """PostgreSQL as a row needs it: installed or not."""

    def find(self) -> str | None:
        """Return where its programs are, None without them."""
        found = programs()
        return None if found is None else str(found)


class PartylineOnPostgres(PartylinePeer):
    """This checkout's server on a new database of a new PostgreSQL server, whose time is not measured."""

    _url = ""

    @contextmanager
    def running(self, folder: Path, port: int | None = None) -> Iterator[RunningPeer]:
        cluster = Cluster(fsync=True)
        try:
            self._url = cluster.socket_url(cluster.new_database())
            with super().running(folder, port) as server:
                yield server
        finally:
            cluster.remove()

    def command(self, program: str, folder: Path, port: int) -> list[str]:
        return [*super().command(program, folder, port), "--database", self._url]


def one_channel_on_postgres(_peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row p0."""
    return one_channel(PartylineOnPostgres(), folder, plan)


def one_at_a_time_on_postgres(_peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row p1."""
    return one_at_a_time(PartylineOnPostgres(), folder, plan)


_DELIVERIES = (Metric("deliveries", "k/s", 1e3),)

POSTGRES_ROWS: tuple[Row, ...] = (
    Row("p0", "as a, on PostgreSQL", _DELIVERIES, one_channel_on_postgres, needs=Postgres()),
    Row("p1", "as c, on PostgreSQL", _DELIVERIES, one_at_a_time_on_postgres, needs=Postgres()),
)
