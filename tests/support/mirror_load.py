"""For the tests that kill what carries the mirror: who publishes and reads on the broker, and the checks of that."""

from __future__ import annotations

import json
import random
import threading
from collections import Counter
from collections.abc import Sequence

from tests.support.clients import Bulk, Gone, Json
from tests.support.load import Poster, Scene
from tests.support.mqtt import BulkMqtt
from tests.support.waiting import ended, eventually
from wire.frames import Entry, History, Join, Status
from wire.limits import Limits
from wire.mqtt import V5, V311, PubAck, PubAcks, Publish, SubAck, Subscribe, Subscription

_WINDOW = 10  # messages that one publisher has on their way
_CHANNELS = ("lab", "hall")
_PACE = 0.05  # seconds from turn to turn of a publisher: the broker takes far more than the server can carry


class Publisher:
    """Says things on the broker at QoS 1, half of them with an id."""

    def __init__(self, scene: Scene, at: int) -> None:
        self.name = f"publisher{at}"
        self.acknowledged: set[str] = set()  # texts
        self.made: set[str] = set()
        self.with_id = bool(at % 2)
        self._scene = scene
        self._version = (V311, V5)[at // 2 % 2]
        self._open: dict[int, str] = {}

    def work(self) -> None:
        """One connection; returns when all is acknowledged after `drain`."""
        scene, number = self._scene, 0
        client = BulkMqtt(scene.address, self.name, self._version)
        try:
            while self._open or not scene.drain.is_set():
                while not scene.drain.is_set() and len(self._open) < _WINDOW:
                    number += 1
                    client.send(self._make(number))
                for packet in client.take():
                    assert isinstance(packet, PubAck | PubAcks), packet
                    ids = packet.packet_ids if isinstance(packet, PubAcks) else (packet.packet_id,)
                    self.acknowledged.update([self._open.pop(id) for id in ids])
                scene.stop.wait(_PACE)
        finally:
            client.close()

    def _make(self, number: int) -> Publish:
        text = f"{self.name}-{number}"
        self.made.add(text)
        payload = json.dumps({"text": text, "id": text}) if self.with_id else text
        topic = f"chat/from/{self.name}/say/{random.choice(_CHANNELS)}"
        packet = Publish(topic, payload.encode(), 1, packet_id=(number - 1) % 65_535 + 1)
        self._open[packet.packet_id] = text
        return packet


class Subscriber:
    """Reads all channels from the broker at QoS 1, in both forms."""

    def __init__(self, scene: Scene, at: int) -> None:
        self.name = f"subscriber{at}"
        self.had: dict[str, list[tuple[int, str]]] = {name: [] for name in _CHANNELS}  # in order of first appearance
        self.texts: dict[str, list[str]] = {name: [] for name in _CHANNELS}
        self.again = 0
        self.wanted: dict[str, tuple[int, int]] | None = None  # how many entries, and how many different lines
        self.ready = threading.Event()
        self._seen: set[tuple[str, int]] = set()
        self._scene = scene

    def __repr__(self) -> str:
        return f"had {[self._have(name) for name in _CHANNELS]} of {self.wanted}"

    def work(self) -> None:
        """Returns when the last numbers have come."""
        client = BulkMqtt(self._scene.address, self.name, V5)
        try:
            client.send(Subscribe(1, (Subscription("chat/channels/#", 1), Subscription("chat/server", 1))))
            while not self._complete():
                ids = tuple([id for id in map(self._take, client.take(0.2)) if id])
                if ids:
                    client.send(PubAcks(ids))
        finally:
            client.close()

    def _take(self, packet: object) -> int:
        if isinstance(packet, SubAck):
            return 0
        assert isinstance(packet, Publish), packet
        if packet.topic == "chat/server":  # said by a mirror that has subscribed: from now on, nothing gets lost
            self.ready.set()
            return packet.packet_id
        if packet.topic.endswith("/text"):
            self.texts[packet.topic.split("/")[2]].append(packet.payload.decode())
            return packet.packet_id
        entry = json.loads(packet.payload)
        name, number = entry["channel"], entry["number"]
        if (name, number) in self._seen:
            self.again += 1
        else:
            self._seen.add((name, number))
            self.had[name].append((number, entry["text"]))
        return packet.packet_id

    def _complete(self) -> bool:
        wanted = self.wanted
        return wanted is not None and all([self._have(name) >= wanted[name] for name in _CHANNELS])

    def _have(self, name: str) -> tuple[int, int]:
        return len(self.had[name]), len(set(self.texts[name]))


def wait_for_entries(address: str, entries: int) -> None:
    """Wait until so many more entries are in the log."""
    try:
        with Bulk(address, "watcher") as line:
            line.send(Join("lab"), Join("hall"))
            while entries > 0:
                frames = line.take()
                assert frames, "it does not go on"
                entries -= sum([isinstance(frame, Entry) for frame in frames])
    except Gone as gone:
        raise AssertionError("the server has gone by itself") from gone


def until_all_there(line: Json, wanted: set[str]) -> dict[str, list[Entry]]:
    """Return the logs, once all that the broker has acknowledged is in them."""
    logs: dict[str, list[Entry]] = {channel: [] for channel in _CHANNELS}

    def lost() -> set[str]:
        return wanted - {entry.text for log in logs.values() for entry in log}

    def all_there() -> bool:
        for channel, entries in logs.items():
            while page := line.request(History(channel=channel, after=len(entries), limit=1_000)).entries:
                entries.extend(page)
            assert [entry.number for entry in entries] == list(range(1, len(entries) + 1)), "numbers without a gap"
        bridge = line.request(Status()).bridge
        return not lost() and bridge.connected and bridge.behind == 0

    eventually(all_there, lambda: f"not there: {sorted(lost())[:5]} of {len(lost())}; {line.request(Status())}")
    return logs


def _lines(log: list[Entry]) -> list[str]:
    """As a small device gets it."""
    return [f"{entry.sender}: {entry.text}" for entry in log]


def check(logs: dict[str, list[Entry]], publishers: list[Publisher], subscriber: Subscriber) -> None:
    said = Counter([entry.text for log in logs.values() for entry in log])
    for publisher in publishers:
        for text in publisher.acknowledged:
            assert said[text] >= 1, f"{text} was acknowledged, and is not there"
            assert said[text] == 1 or not publisher.with_id, f"{text} is there {said[text]} times"
    for name, log in logs.items():
        assert subscriber.had[name] == [(entry.number, entry.text) for entry in log], "all of it, in order"
        assert list(dict.fromkeys(subscriber.texts[name])) == list(dict.fromkeys(_lines(log)))
    print(f"{sum(said.values())} entries, {sum(said.values()) - len(said)} of them twice; "
          f"{subscriber.again} again on the broker")  # fmt: skip


def audit(
    address: str, publishers: Sequence[Publisher], posters: Sequence[Poster], subscriber: Subscriber,
    threads: Sequence[threading.Thread], listening: threading.Thread,
) -> dict[str, list[Entry]]:  # fmt: skip
    """Wait until all who write have ended, and until the subscriber has everything. Return the logs."""
    ended(threads, lambda: [len(each.acknowledged) for each in publishers] + [len(each.numbers) for each in posters])
    wanted = {text for each in publishers for text in each.acknowledged}
    with Json(address, "auditor", limits=Limits(line=1 << 26)) as line:
        logs = until_all_there(line, wanted)
    subscriber.wanted = {name: (len(log), len(set(_lines(log)))) for name, log in logs.items()}
    ended([listening], lambda: subscriber)
    return logs
