"""For the tests that kill servers under load by MQTT: who publishes and reads, and the checks of what was kept."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from itertools import count

from tests.support.clients import Json
from tests.support.load import Scene
from tests.support.mqtt.bulk import BulkMqtt
from tests.support.waiting import eventually
from wire.frames import Entry, History
from wire.limits import Limits
from wire.mqtt import V5, V311, PubAck, PubAcks, Publish, SubAck, Subscribe, Subscription

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
        self.subscribed = False

    def work(self) -> None:
        """One connection; returns when the last numbers have come."""
        client = BulkMqtt(self._scene.address, self.name, (V311, V5, V5)[self._at], (None, None, 20)[self._at])
        try:
            assert client.present is self.subscribed, "the session was kept"
            if not self.subscribed:
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
            self.subscribed = True
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


def acknowledged(publishers: list[Publisher]) -> int:
    """Return how many posts are acknowledged."""
    return sum(len(publisher.acknowledged) for publisher in publishers)


def progress(scene: Scene, publishers: list[Publisher], posts: int) -> None:
    """Wait until so many more posts are acknowledged."""
    aim = acknowledged(publishers) + posts
    until(scene, lambda: acknowledged(publishers) >= aim)


def until(scene: Scene, fits: Callable[[], bool]) -> None:
    """Return when `fits` is true. Fail if one of the threads has failed."""
    eventually(lambda: fits() or bool(scene.failures), lambda: "it does not go on")
    assert not scene.failures, scene.failures


def read_all(address: str) -> dict[str, list[Entry]]:
    """Return what was said in each channel."""
    logs: dict[str, list[Entry]] = {name: [] for name in _CHANNELS}
    with Json(address, "auditor", limits=Limits(line=1 << 26)) as line:
        for channel, entries in logs.items():
            while page := line.request(History(channel=channel, after=len(entries), limit=1_000)).entries:
                entries.extend(page)
            assert [entry.number for entry in entries] == list(range(1, len(entries) + 1)), "numbers without a gap"
    return logs


def check(logs: dict[str, list[Entry]], publishers: list[Publisher], subscribers: list[Subscriber]) -> None:
    """Fail unless what was acknowledged is there, once if it has an id, and each subscriber has had all of it."""
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
