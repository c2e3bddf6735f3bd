"""The rows on the socket door: throughput, latency, memory, logins, and a long log."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from bench.meter import Meter
from bench.peers import Peer
from bench.socket.crowd import crowd, login_rates
from bench.socket.history import fill, read_pages
from bench.socket.logins import logins, names
from bench.socket.pool import client_pool
from bench.socket.returning import return_to_channel
from bench.socket.storm import register, storm

from .row import BEST, CROWD, LOGINS, SELF, Measured, Metric, Plan, Row

LONG, LONGEST = 4_096, 61_440  # bytes of a message in rows a4k and a60k; a line of IRC has 512 at most
WITHOUT_IRC = frozenset(("Partyline", "NATS", "Mosquitto"))


def _saturated(peer: Peer, folder: Path, plan: Plan, *, wide: bool, with_ids: bool = False) -> Measured:
    channels, subscribers, publishers = (plan.channels, 10, 1) if wide else (1, plan.subscribers, 4)
    with (
        peer.running(folder) as server,
        client_pool(
            server.dialect,
            server.port,
            channels=channels,
            subscribers=subscribers,
            publishers=publishers,
            size=plan.size,
            with_ids=with_ids,
        ) as pool,
    ):
        meter = Meter(server)
        outcome = plan.load().saturated(pool, plan.window_of(peer) // channels, plan.seconds)
        return Measured((outcome.deliveries / outcome.seconds,), meter.read())


def one_channel(peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row a."""
    return _saturated(peer, folder, plan, wide=False)


def one_channel_with_ids(peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row a+id."""
    return _saturated(peer, folder, plan, wide=False, with_ids=True)


def long_messages(peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row a4k."""
    return _saturated(peer, folder, replace(plan, size=LONG), wide=False)


def longest_messages(peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row a60k."""
    return _saturated(peer, folder, replace(plan, size=LONGEST), wide=False)


def many_channels(peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row b."""
    return _saturated(peer, folder, plan, wide=True)


def one_at_a_time(peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row c."""
    with (
        peer.running(folder) as server,
        client_pool(
            server.dialect, server.port, channels=1, subscribers=plan.subscribers, publishers=1, size=plan.size
        ) as pool,
    ):
        meter = Meter(server)
        outcome = plan.load().one_at_a_time(pool, plan.seconds)
        return Measured((outcome.deliveries / outcome.seconds,), meter.read())


def latency(peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row d."""
    with (
        peer.running(folder) as server,
        client_pool(
            server.dialect, server.port, channels=1, subscribers=plan.subscribers, publishers=1, size=plan.size
        ) as pool,
    ):
        meter = Meter(server)
        outcome = plan.load().paced(pool, plan.seconds, plan.rate)
        return Measured((outcome.p50, outcome.p99), meter.read())


def idle_memory(peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row e: ten clients connect before, as the first ones allocate what all share."""
    with peer.running(folder) as server, logins(server.port, server.dialect) as clients:
        clients.log_in(names("u", 10))
        before = server.memory()
        clients.log_in(names("v", plan.idle))
        return Measured(((server.memory() - before) / plan.idle,))


def login_rate(peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row f."""
    with peer.running(folder) as server:
        return Measured(login_rates(plan.load(), server, plan.logins, plan.connected))


def after_crowd(peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row h."""
    with peer.running(folder) as server:
        return Measured(crowd(server, plan.crowd))


def return_storm(peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row i."""
    with peer.running(folder) as server:
        seconds = return_to_channel(plan.load(), server, plan.returning, plan.missed, plan.size)
        return Measured((seconds, plan.returning * plan.missed / seconds))


def login_storm(peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row j."""
    register(folder / "data", plan.storm)
    with peer.running(folder) as server:
        meter = Meter(server)
        during, idle, rate = storm(plan.load(), server, plan.storm, plan.seconds, plan.rate, plan.size)
        return Measured((during / idle, during, idle, rate), meter.read())


def long_log(peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row g."""
    with peer.running(folder) as server:
        channel = fill(plan.load(), server, plan.entries, plan.size)
        middle, tail = read_pages(server, channel, plan.entries)
    with peer.running(folder) as server:
        again = server.started_in
    with tempfile.TemporaryDirectory() as empty, peer.running(Path(empty)) as server:
        return Measured((middle, tail, again, server.started_in))


def _deliveries(**targets: float) -> Metric:
    names = {"best_peer": BEST}
    return Metric("deliveries", "M/s", 1e6, targets={names.get(peer, peer): factor for peer, factor in targets.items()})


ROWS: tuple[Row, ...] = (
    Row(
        "a",
        "1 channel, 4 senders, {subscribers} receivers",
        (_deliveries(NATS=2.5, ngircd=6.0),),
        one_channel,
    ),
    Row("a4k", f"as a, messages of {LONG:,} bytes", (_deliveries(),), long_messages, peers=WITHOUT_IRC),
    Row("a60k", f"as a, messages of {LONGEST:,} bytes", (_deliveries(),), longest_messages, peers=WITHOUT_IRC),
    Row("a+id", "as a, each message with an id", (_deliveries(),), one_channel_with_ids, partyline_only=True),
    Row(
        "b",
        "{channels} channels, each 1 sender, 10 receivers",
        (_deliveries(NATS=0.5, ngircd=2.0),),
        many_channels,
    ),
    Row("c", "1 message at a time, {subscribers} receivers", (_deliveries(NATS=0.9, ngircd=0.9),), one_at_a_time),
    Row(
        "d",
        "{rate} messages a second, {subscribers} receivers",
        (
            Metric("latency, p50", "ms", 1e-3, more_is_better=False),
            Metric("latency, p99", "ms", 1e-3, more_is_better=False, targets={BEST: 1.5}),
        ),
        latency,
    ),
    Row(
        "e",
        "{idle:,} idle connections",
        (Metric("memory per connection", "KiB", 1024, more_is_better=False, targets={SELF: 40.0}),),
        idle_memory,
    ),
    Row("f", "{logins:,} logins, 4 at a time, with nobody and with {connected:,} connected", LOGINS, login_rate),
    Row(
        "g",
        "1 channel of {entries:,} entries",
        (
            Metric("read 100 entries, middle", "ms", 1e-3, more_is_better=False, targets={SELF: 5.0}),
            Metric("read 100 entries, end", "ms", 1e-3, more_is_better=False, targets={SELF: 5.0}),
            Metric("server start", "s", more_is_better=False, targets={SELF: 1.0}),
            Metric("server start, empty", "s", more_is_better=False),
        ),
        long_log,
        partyline_only=True,
    ),
    Row("h", "after {crowd:,} connections have come and gone, compared with before", CROWD, after_crowd),
    Row(
        "i",
        "{returning:,} users return at once, each missed {missed} messages",
        (Metric("until the last message", "s", more_is_better=False), _deliveries()),
        return_storm,
        partyline_only=True,
    ),
    Row(
        "j",
        "{storm} users log in at once with passwords, beside {rate} messages a second to 10",
        (
            Metric("latency, p99, with / without", "x", more_is_better=False, targets={SELF: 2.0}),
            Metric("latency, p99", "ms", 1e-3, more_is_better=False),
            Metric("latency without, p99", "ms", 1e-3, more_is_better=False),
            Metric("logins", "1/s"),
        ),
        login_storm,
        partyline_only=True,
    ),
)
