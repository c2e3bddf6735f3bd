"""`kill -9` under load by MQTT: what was acknowledged is there, and sessions that are kept miss nothing."""

from __future__ import annotations

import random

from tests.support.fixtures import StartProcess
from tests.support.load import Scene
from tests.support.long_runs import times
from tests.support.mqtt import MqttLine
from tests.support.mqtt.load import Publisher, Subscriber, acknowledged, check, progress, read_all, until
from tests.support.waiting import DEADLINE, ended, random_moment
from wire.mqtt import Properties, Reason, SubAck, Subscribe, Subscription, UnsubAck, Unsubscribe

KILLS = times("CAMPAIGN_KILLS", 10)
_PUBLISHERS = 20


def test_kills_under_load(start_process: StartProcess) -> None:
    process = start_process()
    scene = Scene(process.address)
    subscribers = [Subscriber(scene, at) for at in range(3)]
    publishers = [Publisher(scene, at) for at in range(_PUBLISHERS)]
    threads = [scene.run(each.work, each.name) for each in subscribers]
    until(scene, lambda: all(each.subscribed for each in subscribers))
    threads += [scene.run(each.work, each.name) for each in publishers]
    try:
        for _ in range(KILLS):
            progress(scene, publishers, random.randint(100, 1_000))
            random_moment()
            scene.up.clear()
            process.restart()
            scene.up.set()
        scene.drain.set()
        ended(threads[3:], lambda: acknowledged(publishers))
        assert not scene.failures, scene.failures
        logs = read_all(process.address)
        for subscriber in subscribers:
            subscriber.wanted = {name: len(log) for name, log in logs.items()}
        ended(threads[:3], lambda: [sum(map(len, each.had.values())) for each in subscribers])
    finally:
        scene.stop.set()
        scene.drain.set()
        process.kill()
        for thread in threads:
            thread.join(DEADLINE)
    assert not scene.failures, scene.failures
    check(logs, publishers, subscribers)
    assert "Traceback" not in process.log, process.log


def test_a_killed_server_keeps_every_acknowledged_subscription(start_process: StartProcess) -> None:
    """And each UNSUBSCRIBE. Of a packet without an answer, the server keeps all or nothing."""
    process = start_process()
    names = [f"chat/channels/room{n}/{'x' * 100}" for n in range(200)]
    subscribed = set(names[:100])
    line = _connect(process.address)
    line.subscribe(*subscribed)
    for _ in range(10):
        packets = [_change(_FIRST + at, random.sample(names, 20)) for at in range(60)]
        line.send(*packets)
        _wait_for_answer(line, _FIRST + random.randrange(50))
        process.kill()
        done = _last_answer(line) - _FIRST + 1
        process.start()
        line = _connect(process.address)
        assert line.connack.session_present
        found = set(_kept(line, names))
        for packet in packets[:done]:
            _apply(packet, subscribed)
        while found != subscribed:
            assert done < len(packets), found ^ subscribed
            _apply(packets[done], subscribed)
            done += 1
        line.subscribe(*subscribed)
    line.close()
    process.kill()


_FIRST = 1_001  # packet identifier of the first packet that is sent before a kill


def _wait_for_answer(line: MqttLine, packet_id: int) -> None:
    while not any(isinstance(item, SubAck | UnsubAck) and item.packet_id == packet_id for item in line.received):
        line.read(f"answer to {packet_id}")


def _connect(address: str) -> MqttLine:
    properties = Properties(session_expiry_interval=1_000)
    return MqttLine(address, "alice", clean=False, properties=properties)


def _change(id: int, names: list[str]) -> Subscribe | Unsubscribe:
    if random.random() < 0.5:
        return Subscribe(id, tuple([Subscription(name, 1) for name in names]))
    return Unsubscribe(id, tuple(names))


def _apply(packet: Subscribe | Unsubscribe, subscribed: set[str]) -> None:
    if isinstance(packet, Subscribe):
        subscribed.update([each.filter for each in packet.subscriptions])
    else:
        subscribed.difference_update(packet.filters)


def _last_answer(line: MqttLine) -> int:
    """Return the packet identifier of the last answer that has come, after the server was killed."""
    try:
        line.until_closed()
    except ConnectionError:
        line.ended = True
    return max([item.packet_id for item in line.received if isinstance(item, SubAck | UnsubAck)])


def _kept(line: MqttLine, names: list[str]) -> list[str]:
    """Return which of these filters the session has; unsubscribes from all."""
    reasons = line.unsubscribe(*names)
    assert set(reasons) <= {Reason.SUCCESS, Reason.NO_SUBSCRIPTION_EXISTED}
    return [name for name, reason in zip(names, reasons, strict=True) if reason == Reason.SUCCESS]
