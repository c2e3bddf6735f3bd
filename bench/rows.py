"""The rows of the table: the pieces of work, what is measured in each, and what we want of it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .arrivals import arrivals
from .history import fill, read_pages
from .load import Saturation, SingleTalker
from .meter import Meter, Usage
from .peers import Peer
from .room import filled_room


@dataclass(frozen=True)
class Plan:
    """How much of everything. The windows are messages on their way, in all channels together."""

    rounds: int = 3
    seconds: float = 3.0  # of each run
    size: int = 100  # bytes of a message's text
    listeners: int = 100
    rate: int = 200  # messages a second in row d
    channels: int = 100  # in row b
    idle: int = 5_000  # connections in row e
    arrivals: int = 2_000  # connections in row f
    entries: int = 1_000_000  # in the log of row g
    mqtt_rate: int = 100  # messages a second in row m3
    mqtt_idle: int = 5_000  # connections in row m4
    backlog: int = 100_000  # entries in row n3
    file_mib: int = 1_024  # in rows f0 and f1
    window: int | None = None  # instead of the peer's own
    patience: float = 0.0  # seconds to wait for a quiet machine before each run, and to repeat a disturbed one


QUICK = Plan(
    rounds=1,
    seconds=0.3,
    listeners=20,
    channels=10,
    idle=200,
    arrivals=100,
    entries=2_000,
    mqtt_idle=2_000,
    backlog=2_000,
    file_mib=64,
)  # does it work at all?

BEST = "best peer"
SELF = "itself"


@dataclass(frozen=True)
class Metric:
    """One number. `targets` maps a peer to the factor that Partyline's number is to reach, or SELF to a bound."""

    name: str
    unit: str
    per_unit: float = 1.0  # how many of the measured (1/s, s, bytes) make one of `unit`
    more_is_better: bool = True
    targets: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Measured:
    """What one run gave: the numbers in the order of the row's metrics."""

    values: tuple[float, ...]
    usage: Usage | None = None


@dataclass(frozen=True)
class Row:
    """One piece of work. `title` has the plan's amounts in braces."""

    key: str
    title: str
    metrics: tuple[Metric, ...]
    run: Callable[[Peer, Path, Plan], Measured]
    partyline_only: bool = False
    peers: frozenset[str] = frozenset()  # that can do it, if not all can
    needs: Peer | None = None  # what else has to be installed; such a row is for Partyline only

    def fits(self, peer: Peer) -> bool:
        """Whether that server takes part."""
        if self.needs is not None:
            return peer.name == "Partyline" and self.needs.find() is not None
        return peer.name in self.peers if self.peers else peer.name == "Partyline" or not self.partyline_only

    def titled(self, plan: Plan) -> str:
        """The key and the title, with the plan's amounts."""
        return f"({self.key}) {self.title.format_map(asdict(plan))}"


def _saturated(peer: Peer, folder: Path, plan: Plan, *, wide: bool, with_ids: bool = False) -> Measured:
    channels, listeners, talkers = (plan.channels, 10, 1) if wide else (1, plan.listeners, 4)
    with (
        peer.running(folder) as server,
        filled_room(
            server.dialect,
            server.port,
            channels=channels,
            listeners=listeners,
            talkers=talkers,
            size=plan.size,
            with_ids=with_ids,
        ) as room,
    ):
        window = (plan.window or peer.window) // channels
        meter = Meter(server)
        outcome = Saturation(room, window).run(plan.seconds)
        return Measured((outcome.deliveries / outcome.seconds,), meter.read())


def one_channel(peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row a."""
    return _saturated(peer, folder, plan, wide=False)


def one_channel_with_ids(peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row a+id."""
    return _saturated(peer, folder, plan, wide=False, with_ids=True)


def many_channels(peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row b."""
    return _saturated(peer, folder, plan, wide=True)


def one_at_a_time(peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row c."""
    with (
        peer.running(folder) as server,
        filled_room(
            server.dialect, server.port, channels=1, listeners=plan.listeners, talkers=1, size=plan.size
        ) as room,
    ):
        meter = Meter(server)
        outcome = SingleTalker(room).one_at_a_time(plan.seconds)
        return Measured((outcome.deliveries / outcome.seconds,), meter.read())


def latency(peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row d."""
    with (
        peer.running(folder) as server,
        filled_room(
            server.dialect, server.port, channels=1, listeners=plan.listeners, talkers=1, size=plan.size
        ) as room,
    ):
        meter = Meter(server)
        outcome = SingleTalker(room).paced(plan.seconds, plan.rate)
        usage = meter.read()
        latencies = sorted(outcome.latencies)
        return Measured((latencies[len(latencies) // 2], latencies[len(latencies) * 99 // 100]), usage)


def idle_memory(peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row e. The first few clients pay for what is needed once, and are not counted."""
    with peer.running(folder) as server, arrivals(server.port, server.dialect) as crowd:
        crowd.admit(10)
        before = server.memory()
        crowd.admit(plan.idle)
        return Measured(((server.memory() - before) / plan.idle,))


def arrival_rate(peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row f."""
    with peer.running(folder) as server, arrivals(server.port, server.dialect) as crowd:
        crowd.admit(10)
        meter = Meter(server)
        return Measured((plan.arrivals / crowd.admit(plan.arrivals),), meter.read())


def long_log(peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row g."""
    with peer.running(folder) as server:
        channel = fill(server, plan.entries, plan.size)
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
        "4 senders and {listeners} receivers in one channel, saturated",
        (_deliveries(NATS=2.5, ngircd=6.0),),
        one_channel,
    ),
    Row("a+id", "as a, each post with an id (exactly once)", (_deliveries(),), one_channel_with_ids, True),
    Row(
        "b",
        "{channels} channels of 1 sender and 10 receivers, saturated",
        (_deliveries(NATS=0.5, ngircd=2.0),),
        many_channels,
    ),
    Row("c", "one message at a time to {listeners} receivers", (_deliveries(ngircd=0.9),), one_at_a_time),
    Row(
        "d",
        "{rate} messages a second to {listeners} receivers",
        (
            Metric("latency, p50", "ms", 1e-3, more_is_better=False),
            Metric("latency, p99", "ms", 1e-3, more_is_better=False, targets={BEST: 1.5}),
        ),
        latency,
    ),
    Row(
        "e",
        "{idle:,} idle connections",
        (Metric("memory of each", "KiB", 1024, more_is_better=False, targets={SELF: 40.0}),),
        idle_memory,
    ),
    Row("f", "{arrivals:,} clients arriving, 4 at a time", (Metric("logins", "1/s"),), arrival_rate),
    Row(
        "g",
        "a channel of {entries:,} entries",
        (
            Metric("page of 100, middle", "ms", 1e-3, more_is_better=False, targets={SELF: 5.0}),
            Metric("page of 100, tail", "ms", 1e-3, more_is_better=False, targets={SELF: 5.0}),
            Metric("start to ready", "s", more_is_better=False, targets={SELF: 1.0}),
            Metric("start, empty store", "s", more_is_better=False),
        ),
        long_log,
        True,
    ),
)
