"""`kill -9` under load by MQTT: what was acknowledged is there, and sessions that are kept miss nothing."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import count

from tests.support.clients import Json
from tests.support.fixtures import StartProcess
from tests.support.load import Scene
from tests.support.mqtt import BulkMqtt, MqttLine
from tests.support.waiting import DEADLINE, ended, eventually, random_moment
from wire.frames import Entry, History
from wire.limits import Limits
from wire.mqtt import (
    V5,
    V311,
    Properties,
    PubAck,
    PubAcks,
    Publish,
    Reason,
    SubAck,
    Subscribe,
    Subscription,
    UnsubAck,
    Unsubscribe,
)

KILLS = 20
_PUBLISHERS = 20
_WINDOW = 10  # packets that one publisher has on their way
_CHANNELS = ("lab", "hall")


class Publisher:
    """Says things at QoS 1, half of them with an id; what was not acknowledged is sent again on the next connection."""

    def __init__(self, scene: Scene, at: int) -> None:
        self.name = f"publisher{at}"
        self.acknowledged: list[str] = []  # texts
        self.made: set[str] = set()
        self.with_id = bool(at % 2)
        self._scene = scene
        self._version = (V311, V5)[at // 2 % 2]
        self._open: dict[int, Publish] = {}
        self._numbers = count(1)

    def work(self) -> None:
        """One connection; returns when all is acknowledged after `drain`."""
        scene = self._scene
        client = BulkMqtt(scene.address, self.name, self._version)
        try:
            again = [Publish(old.topic, old.payload, 1, False, True, id) for id, old in self._open.items()]
            client.send(*again)
            while self._open or not scene.drain.is_set():
                while not scene.drain.is_set() and len(self._open) < _WINDOW:
                    client.send(self._make())
                for packet in client.take():
                    for id in packet.packet_ids if isinstance(packet, PubAcks) else ():
                        self.acknowledged.append(_text(self._open.pop(id)))
                    assert not isinstance(packet, PubAck), packet
        finally:
            client.close()

    def _make(self) -> Publish:
        number = next(self._numbers)
        text = f"{self.name}-{number}"
        self.made.add(text)
        payload = json.dumps({"text": text, "id": text}) if self.with_id else text
        topic = f"chat/from/{self.name}/say/{random.choice(_CHANNELS)}"
        packet = Publish(topic, payload.encode(), 1, packet_id=(number - 1) % 65_535 + 1)
        self._open[packet.packet_id] = packet
        return packet


def _text(packet: Publish) -> str:
    text = packet.payload.decode()
    return str(json.loads(text)["text"]) if text.startswith("{") else text


class Subscriber:
    """Reads all channels at QoS 1 and acknowledges what it has."""

    def __init__(self, scene: Scene, at: int) -> None:
        self.name = f"subscriber{at}"
        self.had: dict[str, dict[int, str]] = {name: {} for name in _CHANNELS}
        self.again = 0
        self.wanted: dict[str, int] | None = None
        self._scene = scene
        self._at = at
        self._subscribed = False

    def work(self) -> None:
        """One connection; returns when the last numbers have come."""
        client = BulkMqtt(self._scene.address, self.name, (V311, V5, V5)[self._at], (None, None, 20)[self._at])
        try:
            assert client.present is self._subscribed, "the session was kept"
            if not self._subscribed:
                client.send(Subscribe(1, (Subscription("chat/channels/+", 1),)))
            last: dict[str, int] = {}
            while not self._complete():
                taken = [self._take(packet, last) for packet in client.take(0.2)]
                ids = tuple([id for id in taken if id])
                if ids:
                    client.send(PubAcks(ids))
        finally:
            client.close()

    def _take(self, packet: object, last: dict[str, int]) -> int:
        if isinstance(packet, SubAck):
            self._subscribed = True
            return 0
        assert isinstance(packet, Publish), packet
        entry = json.loads(packet.payload)
        name, number = entry["channel"], entry["number"]
        had = self.had[name]
        assert number == last.get(name, number - 1) + 1, f"{self.name}: {name} {number} after {last[name]}"
        assert number <= len(had) + 1, f"{self.name}: {name} {number} after {len(had)} were had"
        assert had.setdefault(number, entry["text"]) == entry["text"]
        self.again += packet.dup
        last[name] = number
        return packet.packet_id

    def _complete(self) -> bool:
        wanted = self.wanted
        return wanted is not None and all(len(self.had[name]) >= number for name, number in wanted.items())


def test_twenty_kills_under_load(start_process: StartProcess) -> None:
    process = start_process()
    scene = Scene(process.address)
    subscribers = [Subscriber(scene, at) for at in range(3)]
    publishers = [Publisher(scene, at) for at in range(_PUBLISHERS)]
    threads = [scene.run(each.work, each.name) for each in subscribers]
    _until(scene, lambda: all(each._subscribed for each in subscribers))
    threads += [scene.run(each.work, each.name) for each in publishers]
    try:
        for _ in range(KILLS):
            aim = _acknowledged(publishers) + random.randint(100, 1_000)
            _until(scene, partial(_reached, publishers, aim))
            random_moment()
            scene.up.clear()
            process.restart()
            scene.up.set()
        scene.drain.set()
        ended(threads[3:], lambda: _acknowledged(publishers))
        assert not scene.failures, scene.failures
        logs = _read_all(process.address)
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
    _check(logs, publishers, subscribers)
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


def _acknowledged(publishers: list[Publisher]) -> int:
    return sum(len(publisher.acknowledged) for publisher in publishers)


def _reached(publishers: list[Publisher], aim: int) -> bool:
    return _acknowledged(publishers) >= aim


def _until(scene: Scene, fits: Callable[[], bool]) -> None:
    eventually(lambda: fits() or bool(scene.failures), lambda: "it does not go on")
    assert not scene.failures, scene.failures


def _read_all(address: str) -> dict[str, list[Entry]]:
    logs: dict[str, list[Entry]] = {name: [] for name in _CHANNELS}
    with Json(address, "auditor", limits=Limits(line=1 << 26)) as line:
        for channel, entries in logs.items():
            while page := line.request(History(channel=channel, after=len(entries), limit=1_000)).entries:
                entries.extend(page)
            assert [entry.number for entry in entries] == list(range(1, len(entries) + 1)), "numbers without a gap"
    return logs


def _check(logs: dict[str, list[Entry]], publishers: list[Publisher], subscribers: list[Subscriber]) -> None:
    said = Counter(entry.text for log in logs.values() for entry in log)
    by_sender = {publisher.name: publisher for publisher in publishers}
    for log in logs.values():
        for entry in log:
            assert entry.text in by_sender[entry.sender].made, "nothing is there that its sender did not say"
    for publisher in publishers:
        assert set(publisher.acknowledged) == publisher.made
        for text in publisher.made:
            assert said[text] >= 1, f"{text} was acknowledged, and is not there"
            assert said[text] == 1 or not publisher.with_id, f"{text} is there {said[text]} times"
    for subscriber in subscribers:
        for name, log in logs.items():
            assert subscriber.had[name] == {entry.number: entry.text for entry in log}
    print(f"{sum(said.values())} entries, {sum(said.values()) - len(said)} of them twice; "
          f"sent again to subscribers: {[each.again for each in subscribers]}")  # fmt: skip
