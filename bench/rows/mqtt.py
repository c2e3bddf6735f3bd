"""The rows over MQTT 3.1.1: Partyline on its one port, NATS on its MQTT side, and Mosquitto."""

from __future__ import annotations

from pathlib import Path

from bench.meter import Meter
from bench.mqtt.load import IN_FLIGHT, MqttPaced, MqttSaturation
from bench.mqtt.pool import MQTT_PEERS, mqtt_pool, wildcards
from bench.peers import Peer, RunningPeer
from bench.socket.logins import logins

from .row import SELF, Measured, Metric, Plan, Row

HOLDERS = 10  # clients that hold the wildcard filters of row m5, as Partyline gives no client more than FILTERS
FILTERS = 100
SPEAKERS = frozenset(MQTT_PEERS)


def _saturated(peer: Peer, folder: Path, plan: Plan, *, qos: int, subscribers: int, publishers: int) -> Measured:
    with (
        MQTT_PEERS[peer.name].running(folder) as server,
        mqtt_pool(server, qos=qos, subscribers=subscribers, publishers=publishers, size=plan.size) as pool,
    ):
        meter = Meter(server)
        outcome = MqttSaturation(pool, plan.window or peer.window).run(plan.seconds)
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
        outcome = MqttPaced(pool).paced(plan.seconds, plan.mqtt_rate)
        usage = meter.read()
        latencies = sorted(outcome.latencies)
        return Measured((latencies[len(latencies) // 2], latencies[len(latencies) * 99 // 100]), usage)


def idle_memory(peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row m4, as row e."""
    with MQTT_PEERS[peer.name].running(folder) as server, logins(server.port, server.dialect) as clients:
        clients.log_in(10)
        before = server.memory()
        clients.log_in(plan.mqtt_idle)
        return Measured(((server.memory() - before) / plan.mqtt_idle,))


def filters(peer: Peer, folder: Path, plan: Plan) -> Measured:
    """Row m5: without, with, with, without, so that a server that gets slower or faster by itself does not count."""
    with MQTT_PEERS[peer.name].running(folder) as server:
        window = plan.window or peer.window
        meter = Meter(server)
        before = _rate(server, plan, window, "room000")
        with wildcards(server, HOLDERS, FILTERS):
            during = [_rate(server, plan, window, f"room00{nth}") for nth in (1, 2)]
        after = _rate(server, plan, window, "room003")
        return Measured((sum(during) / (before + after), sum(during) / 2), meter.read())


def _rate(server: RunningPeer, plan: Plan, window: int, name: str) -> float:
    """Deliveries a second from one publisher to one subscriber at QoS 0."""
    with mqtt_pool(server, qos=0, subscribers=1, publishers=1, size=plan.size, name=name) as pool:
        outcome = MqttSaturation(pool, window).run(plan.seconds)
        return outcome.deliveries / outcome.seconds


def _deliveries(**targets: float) -> Metric:
    return Metric("deliveries", "k/s", 1e3, targets=targets)


MQTT_ROWS: tuple[Row, ...] = (
    Row(
        "m0",
        "MQTT, QoS 0: 4 publishers and {subscribers} subscribers, saturated",
        (_deliveries(NATS=3.0, Mosquitto=30.0),),
        fan_out,
        peers=SPEAKERS,
    ),
    Row(
        "m1",
        f"MQTT, QoS 1: 1 publisher with {IN_FLIGHT} in flight and 1 subscriber, saturated",
        (_deliveries(Mosquitto=1.0),),
        one_to_one,
        peers=SPEAKERS,
    ),
    Row(
        "m2",
        f"MQTT, QoS 1: 1 publisher with {IN_FLIGHT} in flight and {{subscribers}} subscribers, saturated",
        (_deliveries(Mosquitto=2.0),),
        acknowledged_fan_out,
        peers=SPEAKERS,
    ),
    Row(
        "m3",
        "MQTT, QoS 1: {mqtt_rate} messages a second to 10 subscribers",
        (
            Metric("latency, p50", "ms", 1e-3, more_is_better=False),
            Metric("latency, p99", "ms", 1e-3, more_is_better=False, targets={"Mosquitto": 2.0}),
        ),
        latency,
        peers=SPEAKERS,
    ),
    Row(
        "m4",
        "MQTT: {mqtt_idle:,} idle connections",
        (Metric("memory of each", "KiB", 1024, more_is_better=False, targets={SELF: 40.0}),),
        idle_memory,
        peers=SPEAKERS,
    ),
    Row(
        "m5",
        f"MQTT, QoS 0: 1 publisher and 1 subscriber, while {HOLDERS} others hold {FILTERS} wildcard filters each",
        (Metric("rate, with / without", "x", targets={SELF: 0.9}), _deliveries()),
        filters,
        peers=SPEAKERS,
    ),
)
