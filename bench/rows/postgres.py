"""The rows on PostgreSQL: one server as in rows a and c, and two servers on one database, all on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.meter import TICKS, Meter, Usage
from bench.peers import PartylinePeer, Peer, RunningPeer
from bench.postgres import Cluster, programs
from bench.socket.load import Outcome
from bench.socket.pool import ClientPool, client_pool

from .row import SELF, Measured, Metric, Plan, Row
from .socket import one_at_a_time, one_channel

_FEW = 10  # receivers in row p2
_SENDERS = 4  # in row p3, as in row a


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
        with self._new_database(), super().running(folder, port) as server:
            yield server

    @contextmanager
    def several(self, folder: Path, count: int) -> Iterator[list[RunningPeer]]:
        """Start several servers on one database."""
        with self._new_database(), ExitStack() as started:
            yield [
                started.enter_context(super(PartylineOnPostgres, self).running(folder / str(n))) for n in range(count)
            ]

    @contextmanager
    def _new_database(self) -> Iterator[None]:
        cluster = Cluster(fsync=True)
        try:
            self._url = cluster.socket_url(cluster.new_database())
            yield
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


def at_another_server(_peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row p2: the sender is at one server; the receivers are at the other one, and then at the same one."""
    peer = PartylineOnPostgres()
    with peer.several(folder, 2) as (here, there):
        meter = Meter(here, there)
        far = _latencies(here, there, plan)
        usage = meter.read()
        return Measured((*far, *_latencies(here, here, plan)), usage)


def _latencies(sender: RunningPeer, receiver: RunningPeer, plan: Plan) -> tuple[float, float]:
    """Return the median and the 99th percentile in seconds. The sender is a member, too: one delivery of eleven."""
    with client_pool(
        sender.dialect, sender.port, channels=1, subscribers=_FEW, publishers=1, size=plan.size,
        subscriber_ports=(receiver.port,),
    ) as pool:  # fmt: skip
        outcome = plan.load().paced(pool, plan.seconds, plan.rate)
        return outcome.p50, outcome.p99


def two_servers(_peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row p3: the load of row p0 at two servers with half of the clients each, and at one server."""
    both, alone = [_saturated(folder / str(count), count, plan) for count in (2, 1)]
    return Measured((both.rate, alone.rate, both.time / alone.time), both.usage)


def two_servers_at_a_rate(_peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row p4: the load of row d at two servers with half of the clients each, and at one server."""
    both, alone = [_paced(folder / str(count), count, plan) for count in (2, 1)]
    return Measured((both.time / alone.time, both.time, alone.time), both.usage)


@dataclass(frozen=True)
class _Cost:
    """Deliveries a second, and the processor time of all servers for one of them in seconds."""

    rate: float
    time: float
    usage: Usage


def _saturated(folder: Path, count: int, plan: Plan) -> _Cost:
    window = plan.window_of(PartylineOnPostgres())
    return _cost(folder, count, _SENDERS, plan, lambda pool: plan.load().saturated(pool, window, plan.seconds))


def _paced(folder: Path, count: int, plan: Plan) -> _Cost:
    return _cost(folder, count, count, plan, lambda pool: plan.load().paced(pool, plan.seconds, plan.rate))


def _cost(folder: Path, count: int, senders: int, plan: Plan, run: Callable[[ClientPool], Outcome]) -> _Cost:
    """Run a load on one channel of so many servers, among which the clients are spread."""
    peer = PartylineOnPostgres()
    with peer.several(folder, count) as servers:
        ports = [server.port for server in servers]
        with client_pool(
            peer.dialect, ports[0], channels=1, subscribers=plan.subscribers, publishers=senders, size=plan.size,
            subscriber_ports=ports, publisher_ports=ports,
        ) as pool:  # fmt: skip
            pool.prepare(sample=False)
            before = sum(server.cpu() for server in servers)
            meter = Meter(*servers)
            outcome = run(pool)
            usage = meter.read()
            spent = max(sum(server.cpu() for server in servers) - before, 1 / TICKS)
            return _Cost(outcome.deliveries / outcome.seconds, spent / outcome.deliveries, usage)


_DELIVERIES = Metric("deliveries", "k/s", 1e3)

POSTGRES_ROWS: tuple[Row, ...] = (
    Row("p0", "as a, on PostgreSQL", (_DELIVERIES,), one_channel_on_postgres, needs=Postgres()),
    Row("p1", "as c, on PostgreSQL", (_DELIVERIES,), one_at_a_time_on_postgres, needs=Postgres()),
    Row(
        "p2",
        f"{{rate}} messages a second to {_FEW} receivers at another server",
        (
            Metric("latency, p50", "ms", 1e-3, more_is_better=False, targets={SELF: 3.0}),
            Metric("latency, p99", "ms", 1e-3, more_is_better=False, targets={SELF: 10.0}),
            Metric("at the same server, p50", "ms", 1e-3, more_is_better=False),
            Metric("at the same server, p99", "ms", 1e-3, more_is_better=False),
        ),
        at_another_server,
        needs=Postgres(),
    ),
    Row(
        "p3",
        "as p0, at two servers with half of the clients each",
        (
            _DELIVERIES,
            Metric("deliveries, one server", "k/s", 1e3),
            Metric("time per delivery, two / one", "x", more_is_better=False, targets={SELF: 1.15}),
        ),
        two_servers,
        needs=Postgres(),
    ),
    Row(
        "p4",
        "as d, at two servers with half of the clients each",
        (
            Metric("time per delivery, two / one", "x", more_is_better=False, targets={SELF: 1.15}),
            Metric("time per delivery", "us", 1e-6, more_is_better=False),
            Metric("time per delivery, one server", "us", 1e-6, more_is_better=False),
        ),
        two_servers_at_a_rate,
        needs=Postgres(),
    ),
)
