"""The rows through another broker: a Partyline that mirrors to a mosquitto, QoS 1 on all ways."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from bench.meter import Meter
from bench.mirror.outage import outage
from bench.mirror.pool import ON_BROKER, ON_DOOR, Site, SiteBroker, background_publisher, inbound, outbound, site
from bench.mqtt.load import MirrorSaturation, MqttPaced, MqttSaturation
from bench.mqtt.pool import Broker, MqttPool
from bench.peers import PartylinePeer, Peer, RunningPeer
from bench.socket.load import SinglePublisher
from bench.socket.pool import ClientPool, client_pool

from .row import SELF, Measured, Metric, Plan, Row

PUBLISHERS = 10  # on the broker in row n0
IN_FLIGHT = 20  # mosquitto's `max_inflight_messages`, if it is not configured
TURNS = 12  # of each side in row n4
BACKGROUND_RATE = 100  # messages a second from the broker in row n4


def from_broker(_peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row n0. What counts is what a member on the socket door has, as that is committed."""
    rates, meters = [], []
    for in_flight in (0, IN_FLIGHT):
        with (
            site(folder / f"{in_flight}", in_flight) as both,
            inbound(both, subscribers=1, publishers=PUBLISHERS, size=plan.size) as pool,
        ):
            meter = Meter(both.partyline, both.broker)
            outcome = MqttSaturation(pool, plan.window or PartylinePeer.window).run(plan.seconds)
            meters.append(meter.read())
            rates.append(outcome.deliveries / outcome.seconds)
    return Measured(tuple(rates), meters[0])


def to_broker(_peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row n1."""
    rates, meters = [], []
    for in_flight in (0, IN_FLIGHT):
        with (
            site(folder / f"{in_flight}", in_flight) as both,
            outbound(both, subscribers=1, publishers=1, size=plan.size) as pool,
        ):
            meter = Meter(both.partyline, both.broker)
            outcome = MirrorSaturation(pool, plan.window or PartylinePeer.window).run(plan.seconds)
            meters.append(meter.read())
            rates.append(outcome.deliveries / outcome.seconds)
    return Measured(tuple(rates), meters[0])


def added_latency(_peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row n2: the same publisher and subscriber, on the topic of a channel that Partyline does not have, and on one
    by way of Partyline."""
    with site(folder) as both:
        meter = Meter(both.partyline, both.broker)
        alone = _latencies(both, Broker(), "alone00", plan)
        through = _latencies(both, ON_BROKER, "room000", plan)
        usage = meter.read()
        added = [there - here for there, here in zip(through, alone, strict=True)]
        return Measured((*added, alone[1]), usage)


def _latencies(both: Site, dialect: Broker, name: str, plan: Plan) -> tuple[float, float]:
    """The median and the 99th percentile from a publisher on the broker to a subscriber there."""
    pool = MqttPool(dialect, 1)
    try:
        pool.fill(both.broker.port, name, 1, 1, plan.size)
        latencies = sorted(MqttPaced(pool).paced(plan.seconds, plan.mqtt_rate).latencies)
        return latencies[len(latencies) // 2], latencies[len(latencies) * 99 // 100]
    finally:
        pool.close()


def catch_up(_peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row n3."""
    return Measured(outage(folder, plan.backlog, plan.size))


def rate_with_broker_load(_peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row n4: without and with take turns, so that what disturbs the machine disturbs both."""
    with (
        PartylinePeer().running(folder / "alone") as alone,
        site(folder) as both,
        _one_channel(alone, plan) as here,
        _one_channel(both.partyline, plan) as there,
    ):
        meter = Meter(alone, both.partyline, both.broker)
        without, beside = SinglePublisher(here), SinglePublisher(there)
        seconds = [0.0, 0.0]
        for _ in range(TURNS):
            quiet = without.one_at_a_time(plan.seconds / TURNS)
            with background_publisher(both, BACKGROUND_RATE, plan.size):
                loud = beside.one_at_a_time(plan.seconds / TURNS)
            seconds = [seconds[0] + quiet.seconds, seconds[1] + loud.seconds]
        rate = loud.deliveries / seconds[1]
        return Measured((rate / (quiet.deliveries / seconds[0]), rate), meter.read())


def _one_channel(server: RunningPeer, plan: Plan) -> AbstractContextManager[ClientPool]:
    """As in row c."""
    return client_pool(ON_DOOR, server.port, channels=1, subscribers=plan.subscribers, publishers=1, size=plan.size)


MIRROR_ROWS: tuple[Row, ...] = (
    Row(
        "n0",
        f"mirror: {PUBLISHERS} publishers on the broker, counted when committed",
        (
            Metric("messages", "k/s", 1e3, targets={SELF: 10.0}),
            Metric(f"at most {IN_FLIGHT} in flight", "k/s", 1e3),
        ),
        from_broker,
        needs=SiteBroker(),
    ),
    Row(
        "n1",
        "mirror: 1 sender on the socket door, counted at 1 subscriber on the broker",
        (
            Metric("messages", "k/s", 1e3, targets={SELF: 10.0}),
            Metric(f"at most {IN_FLIGHT} in flight", "k/s", 1e3),
        ),
        to_broker,
        needs=SiteBroker(),
    ),
    Row(
        "n2",
        "mirror: {mqtt_rate} messages a second from the broker through Partyline to the broker",
        (
            Metric("added latency, p50", "ms", 1e-3, more_is_better=False),
            Metric("added latency, p99", "ms", 1e-3, more_is_better=False, targets={SELF: 10.0}),
            Metric("p99 of the broker", "ms", 1e-3, more_is_better=False),
        ),
        added_latency,
        needs=SiteBroker(),
    ),
    Row(
        "n3",
        "mirror: {backlog:,} entries said while the broker was away",
        (
            Metric("return to last entry", "s", more_is_better=False, targets={SELF: 15.0}),
            Metric("entries once back", "k/s", 1e3),
        ),
        catch_up,
        needs=SiteBroker(),
    ),
    Row(
        "n4",
        f"mirror: as row c, while somebody on the broker says {BACKGROUND_RATE} things a second elsewhere",
        (
            Metric("rate, with / without", "x", targets={SELF: 0.9}),
            Metric("deliveries", "M/s", 1e6),
        ),
        rate_with_broker_load,
        needs=SiteBroker(),
    ),
)
