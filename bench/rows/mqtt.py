"""The rows over MQTT 3.1.1: Partyline on its one port, the MQTT gateway of NATS, and Mosquitto."""

from __future__ import annotations

from pathlib import Path

from bench.meter import Meter
from bench.mqtt.load import IN_FLIGHT
from bench.mqtt.pool import MQTT_PEERS, mqtt_pool, wildcards
from bench.mqtt.returning import return_to_topic
from bench.peers import Peer, RunningPeer
from bench.socket.crowd import crowd, login_rates
from bench.socket.logins import logins, names

from .row import CROWD, LOGINS, SELF, Measured, Metric, Plan, Row

WILDCARD_CLIENTS = 10  # clients with the wildcard filters of row m5; Partyline allows a client FILTERS of them
FILTERS = 100
WITH_MQTT = frozenset(MQTT_PEERS)


def _saturated(peer: Peer, folder: Path, plan: Plan, *, qos: int, subscribers: int, publishers: int) -> Measured:
    with (
        MQTT_PEERS[peer.name].running(folder) as server,
        mqtt_pool(server, qos=qos, subscribers=subscribers, publishers=publishers, size=plan.size) as pool,
    ):
        meter = Meter(server)
        outcome = plan.load().saturated(pool, plan.window_of(peer), plan.seconds)
        return Measured((outcome.deliveries / outcome.seconds,), meter.read())


def fan_out(peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row m0."""
    return _saturated(peer, folder, plan, qos=0, subscribers=plan.subscribers, publishers=4)


def one_to_one(peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row m1."""
    return _saturated(peer, folder, plan, qos=1, subscribers=1, publishers=1)


def acknowledged_fan_out(peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row m2."""
    return _saturated(peer, folder, plan, qos=1, subscribers=plan.subscribers, publishers=1)


def latency(peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row m3."""
    with (
        MQTT_PEERS[peer.name].running(folder) as server,
        mqtt_pool(server, qos=1, subscribers=10, publishers=1, size=plan.size) as pool,
    ):
        meter = Meter(server)
        outcome = plan.load().paced(pool, plan.seconds, plan.mqtt_rate)
        return Measured((outcome.p50, outcome.p99), meter.read())


def idle_memory(peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row m4: as row e."""
    with MQTT_PEERS[peer.name].running(folder) as server, logins(server.port, server.dialect) as clients:
        clients.log_in(names("u", 10))
        before = server.memory()
        clients.log_in(names("v", plan.mqtt_idle))
        return Measured(((server.memory() - before) / plan.mqtt_idle,))


def filters(peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row m5: without, with, with, without the filters, so that a steady drift of the server cancels out."""
    with MQTT_PEERS[peer.name].running(folder) as server:
        window = plan.window_of(peer)
        meter = Meter(server)
        before = _rate(server, plan, window, "room000")
        with wildcards(server, WILDCARD_CLIENTS, FILTERS):
            during = [_rate(server, plan, window, f"room00{nth}") for nth in (1, 2)]
        after = _rate(server, plan, window, "room003")
        return Measured((sum(during) / (before + after), sum(during) / 2), meter.read())


def _rate(server: RunningPeer, plan: Plan, window: int, name: str) -> float:
    """Return the deliveries a second from one publisher to one subscriber at QoS 0."""
    with mqtt_pool(server, qos=0, subscribers=1, publishers=1, size=plan.size, name=name) as pool:
        outcome = plan.load().saturated(pool, window, plan.seconds)
        return outcome.deliveries / outcome.seconds


def login_rate(peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row m6: as row f."""
    with MQTT_PEERS[peer.name].running(folder) as server:
        return Measured(login_rates(plan.load(), server, plan.logins, plan.connected))


def after_crowd(peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row m7: as row h."""
    with MQTT_PEERS[peer.name].running(folder) as server:
        return Measured(crowd(server, plan.crowd))


def return_storm(peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row m8: as row i, with persistent sessions at QoS 1."""
    with MQTT_PEERS[peer.name].running(folder) as server:
        seconds = return_to_topic(plan.load(), server, plan.returning, plan.missed, plan.size)
        return Measured((seconds, plan.returning * plan.missed / seconds))


def _deliveries(**targets: float) -> Metric:
    return Metric("deliveries", "k/s", 1e3, targets=targets)


MQTT_ROWS: tuple[Row, ...] = (
    Row(
        "m0",
        "MQTT QoS 0, 4 publishers, {subscribers} subscribers",
        (_deliveries(NATS=3.0, Mosquitto=30.0),),
        fan_out,
        peers=WITH_MQTT,
    ),
    Row(
        "m1",
        f"MQTT QoS 1, 1 publisher, 1 subscriber, {IN_FLIGHT} in flight",
        (_deliveries(Mosquitto=1.0),),
        one_to_one,
        peers=WITH_MQTT,
    ),
    Row(
        "m2",
        f"MQTT QoS 1, 1 publisher, {{subscribers}} subscribers, {IN_FLIGHT} in flight",
        (_deliveries(Mosquitto=2.0),),
        acknowledged_fan_out,
        peers=WITH_MQTT,
    ),
    Row(
        "m3",
        "MQTT QoS 1, {mqtt_rate} messages a second, 10 subscribers",
        (
            Metric("latency, p50", "ms", 1e-3, more_is_better=False),
            Metric("latency, p99", "ms", 1e-3, more_is_better=False, targets={"Mosquitto": 2.0}),
        ),
        latency,
        peers=WITH_MQTT,
    ),
    Row(
        "m4",
        "MQTT, {mqtt_idle:,} idle connections",
        (Metric("memory per connection", "KiB", 1024, more_is_better=False, targets={SELF: 40.0}),),
        idle_memory,
        peers=WITH_MQTT,
    ),
    Row(
        "m5",
        f"MQTT QoS 0, 1 publisher, 1 subscriber, {WILDCARD_CLIENTS * FILTERS:,} other wildcard filters",
        (Metric("rate, with / without", "x", targets={SELF: 0.9}), _deliveries()),
        filters,
        peers=WITH_MQTT,
    ),
    Row(
        "m6",
        "MQTT, {logins:,} logins, 4 at a time, with nobody and with {connected:,} connected",
        LOGINS,
        login_rate,
        peers=WITH_MQTT,
    ),
    Row(
        "m7",
        "MQTT, after {crowd:,} connections have come and gone, compared with before",
        CROWD,
        after_crowd,
        peers=WITH_MQTT,
    ),
    Row(
        "m8",
        "MQTT QoS 1, {returning:,} persistent sessions return at once, each missed {missed} messages",
        (Metric("until the last message", "s", more_is_better=False), _deliveries()),
        return_storm,
        peers=WITH_MQTT,
    ),
)
