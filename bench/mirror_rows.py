"""The rows through another broker: a Partyline that mirrors to a mosquitto, QoS 1 on all ways."""

from __future__ import annotations

from pathlib import Path

from .load import SingleTalker
from .meter import Meter
from .mirror_room import ON_BROKER, ON_DOOR, Site, SiteBroker, chatter, inwards, outwards, site
from .mqtt_load import Heard, MqttPaced, MqttSaturation
from .mqtt_room import Broker, MqttRoom
from .outage import outage
from .peers import PartylinePeer, Peer, Running
from .room import filled_room
from .rows import SELF, Measured, Metric, Plan, Row

PUBLISHERS = 10  # on the broker in row n0
IN_FLIGHT = 20  # mosquitto's `max_inflight_messages`, if it is not configured
MODEST = 100  # messages a second from the broker in row n4


def from_broker(_peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row n0. What counts is what a member on the socket door has, as that is committed."""
    rates, meters = [], []
    for in_flight in (0, IN_FLIGHT):
        with (
            site(folder / f"{in_flight}", in_flight) as both,
            inwards(both, listeners=1, talkers=PUBLISHERS, size=plan.size) as room,
        ):
            meter = Meter(both.partyline, both.broker)
            outcome = MqttSaturation(room, plan.window or PartylinePeer.window).run(plan.seconds)
            meters.append(meter.read())
            rates.append(outcome.deliveries / outcome.seconds)
    return Measured(tuple(rates), meters[0])


def to_broker(_peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row n1."""
    rates, meters = [], []
    for in_flight in (0, IN_FLIGHT):
        with (
            site(folder / f"{in_flight}", in_flight) as both,
            outwards(both, listeners=1, talkers=1, size=plan.size) as room,
        ):
            meter = Meter(both.partyline, both.broker)
            outcome = Heard(room, plan.window or PartylinePeer.window).run(plan.seconds)
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
    room = MqttRoom(dialect, 1)
    try:
        room.fill(both.broker.port, name, 1, 1, plan.size)
        latencies = sorted(MqttPaced(room).paced(plan.seconds, plan.mqtt_rate).latencies)
        return latencies[len(latencies) // 2], latencies[len(latencies) * 99 // 100]
    finally:
        room.close()


def caught_up(_peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row n3."""
    return Measured(outage(folder, plan.backlog, plan.size))


def beside_people(_peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row n4: without, with, with, without, as in row m5."""
    with PartylinePeer().running(folder / "alone") as alone, site(folder) as both:
        before = _one_at_a_time(alone, plan, "before")
        meter = Meter(both.partyline, both.broker)
        with chatter(both, MODEST, plan.size):
            during = [_one_at_a_time(both.partyline, plan, crowd) for crowd in ("first", "second")]
        usage = meter.read()
        after = _one_at_a_time(alone, plan, "after")
        return Measured((sum(during) / (before + after), sum(during) / 2), usage)


def _one_at_a_time(server: Running, plan: Plan, crowd: str) -> float:
    """As row c: deliveries a second."""
    with filled_room(
        ON_DOOR, server.port, channels=1, listeners=plan.listeners, talkers=1, size=plan.size, crowd=crowd
    ) as room:
        outcome = SingleTalker(room).one_at_a_time(plan.seconds)
        return outcome.deliveries / outcome.seconds


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
        caught_up,
        needs=SiteBroker(),
    ),
    Row(
        "n4",
        f"mirror: as row c, while somebody on the broker says {MODEST} things a second elsewhere",
        (
            Metric("rate, with / without", "x", targets={SELF: 0.9}),
            Metric("deliveries", "M/s", 1e6),
        ),
        beside_people,
        needs=SiteBroker(),
    ),
)
