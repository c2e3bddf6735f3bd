"""The rows through another broker: Partyline mirrors to mosquitto, at QoS 1 in both directions."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from bench.meter import Meter
from bench.mirror.outage import outage
from bench.mirror.pool import ON_BROKER, ON_DOOR, Site, SiteBroker, background_publisher, inbound, outbound, site
from bench.mqtt.pool import Broker, MqttPool
from bench.peers import PartylinePeer, Peer, RunningPeer
from bench.socket.load import Outcome
from bench.socket.pool import ClientPool, client_pool

from .row import SELF, Measured, Metric, Plan, Row

PUBLISHERS = 10  # on the broker in row n0
DEFAULT_IN_FLIGHT = 20  # the default of mosquitto's `max_inflight_messages`
TURNS = 12  # turns of each server in row n4
BACKGROUND_RATE = 100  # messages a second from the broker in row n4


def from_broker(_peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row n0: count the deliveries to a member on the socket door, as these are committed."""
    rates, meters = [], []
    for in_flight in (0, DEFAULT_IN_FLIGHT):
        with (
            site(folder / f"{in_flight}", in_flight) as both,
            inbound(both, subscribers=1, publishers=PUBLISHERS, size=plan.size) as pool,
        ):
            meter = Meter(both.partyline, both.broker)
            outcome = plan.load().saturated(pool, plan.window_of(PartylinePeer()), plan.seconds)
            meters.append(meter.read())
            rates.append(outcome.posts / outcome.seconds)
    return Measured(tuple(rates), meters[0])


def to_broker(_peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row n1: count the deliveries to a subscriber on the broker."""
    rates, meters = [], []
    for in_flight in (0, DEFAULT_IN_FLIGHT):
        with (
            site(folder / f"{in_flight}", in_flight) as both,
            outbound(both, subscribers=1, publishers=1, size=plan.size) as pool,
        ):
            meter = Meter(both.partyline, both.broker)
            outcome = plan.load().saturated(pool, plan.window_of(PartylinePeer()), plan.seconds)
            meters.append(meter.read())
            rates.append(outcome.posts / outcome.seconds)
    return Measured(tuple(rates), meters[0])


def added_latency(_peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row n2: publish on a topic that Partyline does not mirror, and on one that goes through Partyline."""
    with site(folder) as both:
        meter = Meter(both.partyline, both.broker)
        alone = _latencies(both, Broker(), "alone00", plan)
        through = _latencies(both, ON_BROKER, "room000", plan)
        usage = meter.read()
        added = [there - here for there, here in zip(through, alone, strict=True)]
        return Measured((*added, alone[1]), usage)


def _latencies(both: Site, dialect: Broker, name: str, plan: Plan) -> tuple[float, float]:
    """Return the median and the 99th percentile in seconds from a publisher to a subscriber, both on the broker."""
    pool = MqttPool(dialect, 1)
    try:
        pool.fill(both.broker.port, name, 1, 1, plan.size)
        outcome = plan.load().paced(pool, plan.seconds, plan.mqtt_rate)
        return outcome.p50, outcome.p99
    finally:
        pool.close()


def catch_up(_peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row n3: restart the broker, with a backlog."""
    return Measured(outage(folder, plan.backlog, plan.size))


def rate_with_broker_load(_peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row n4: both servers take turns, so that a disturbance of the machine affects both."""
    with (
        PartylinePeer().running(folder / "alone") as alone,
        site(folder) as both,
        _one_channel(alone, plan) as here,
        _one_channel(both.partyline, plan) as there,
    ):
        meter, generator = Meter(alone, both.partyline, both.broker), plan.load()
        plain, busy = [], []
        for _ in range(TURNS):
            plain.append(generator.one_at_a_time(here, plan.seconds / TURNS))
            with background_publisher(both, BACKGROUND_RATE, plan.size):
                busy.append(generator.one_at_a_time(there, plan.seconds / TURNS))
        rate = _rate(busy)
        return Measured((rate / _rate(plain), rate), meter.read())


def _rate(outcomes: Sequence[Outcome]) -> float:
    """Return the deliveries a second of several runs."""
    return sum(each.deliveries for each in outcomes) / sum(each.seconds for each in outcomes)


def _one_channel(server: RunningPeer, plan: Plan) -> AbstractContextManager[ClientPool]:
    """Return the client pool of row c."""
    return client_pool(ON_DOOR, server.port, channels=1, subscribers=plan.subscribers, publishers=1, size=plan.size)


MIRROR_ROWS: tuple[Row, ...] = (
    Row(
        "n0",
        f"mirror, {PUBLISHERS} publishers on the broker to 1 member",
        (
            Metric("messages", "k/s", 1e3, targets={SELF: 10.0}),
            Metric(f"messages, {DEFAULT_IN_FLIGHT} in flight", "k/s", 1e3),
        ),
        from_broker,
        needs=SiteBroker(),
    ),
    Row(
        "n1",
        "mirror, 1 sender to 1 subscriber on the broker",
        (
            Metric("messages", "k/s", 1e3, targets={SELF: 10.0}),
            Metric(f"messages, {DEFAULT_IN_FLIGHT} in flight", "k/s", 1e3),
        ),
        to_broker,
        needs=SiteBroker(),
    ),
    Row(
        "n2",
        "mirror, {mqtt_rate} messages a second, broker to Partyline to broker",
        (
            Metric("added latency, p50", "ms", 1e-3, more_is_better=False),
            Metric("added latency, p99", "ms", 1e-3, more_is_better=False, targets={SELF: 10.0}),
            Metric("latency of the broker, p99", "ms", 1e-3, more_is_better=False),
        ),
        added_latency,
        needs=SiteBroker(),
    ),
    Row(
        "n3",
        "mirror, {backlog:,} messages posted while the broker was down",
        (
            Metric("until the last message", "s", more_is_better=False, targets={SELF: 15.0}),
            Metric("messages", "k/s", 1e3),
        ),
        catch_up,
        needs=SiteBroker(),
    ),
    Row(
        "n4",
        f"as c, with {BACKGROUND_RATE} messages a second on the broker",
        (
            Metric("rate, with / without", "x", targets={SELF: 0.9}),
            Metric("deliveries", "M/s", 1e6),
        ),
        rate_with_broker_load,
        needs=SiteBroker(),
    ),
)
