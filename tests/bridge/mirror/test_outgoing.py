"""The mirror's reader, against a model."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.clients import MqttReader
from bridge.mirror.outgoing import MirrorReader, UserLog
from channels.log import Block, Log
from store import Batch, LogRow, Store
from tests.support.examples import examples
from wire.frames import Entry
from wire.limits import Limits
from wire.mqtt import V5, V311, MqttPackets, Properties, Publish
from wire.topics import Topics


class Wire:
    """An outlet that takes as many bytes as the test allows, and the broker behind it."""

    def __init__(self, version: int) -> None:
        self.room = 1 << 30
        self.ended = False  # the reader has hung up
        self.wanted = False  # the reader waits until it is writable
        self._packets = MqttPackets(1 << 28, version=version)
        self.flying: deque[Publish] = deque()
        self.had: dict[str, list[str]] = {}

    def transmit(self, data: bytes | memoryview, *, answered: bool = False) -> int:
        taken = min(self.room, len(data))
        self.room -= taken
        for packet in self._packets.receive(bytes(data[:taken])):
            assert isinstance(packet, Publish)
            ids = [each.packet_id for each in self.flying]
            assert packet.packet_id not in ids, "a packet identifier is in flight twice"
            self.flying.append(packet)
            self.had.setdefault(packet.topic, []).append(packet.payload.decode())
        return taken

    def when_writable(self) -> None:
        self.wanted = True

    def hang_up(self) -> None:
        self.ended = True

    def peer_has_ended(self) -> bool:
        return False

    def is_broken(self) -> bool:
        return False

    def unacknowledged(self) -> int:
        return 0


@dataclass(eq=False)
class Somebody:
    """A user on the broker."""

    user_key: str
    me: str
    closed: bool = False
    acknowledged: dict[Log, int] = field(default_factory=dict)


class Model:
    """A channel and a private log of alice and bob, with a reader that can reconnect."""

    def __init__(self, version: int, receive_maximum: int | None) -> None:
        self.version = version
        self.told = Properties(receive_maximum=receive_maximum)
        self.logs = {
            "lab": Log(LogRow(1, "channel", "lab", "lab", "", "", 0)),
            "talk": Log(LogRow(2, "direct", "alice:bob", "alice", "bob", "", 0)),
        }
        self.said: dict[str, list[str]] = {"lab": [], "talk": []}
        self.cursors = {"lab": 0, "alice": 0, "bob": 0}
        self.seq = 0
        self.heard: dict[str, list[str]] = {}
        self.come()

    def come(self) -> None:
        """Connect again, from the stored cursors on."""
        self.wire = Wire(self.version)
        self.reader = MirrorReader(self.wire, Topics(), self.version, Limits(), self.told)
        self.reader.resume(self.logs["lab"], self.cursors["lab"])
        for who in ("alice", "bob"):
            self.reader.follow_private(self.logs["talk"], Somebody(who, who), self.cursors[who])

    def go(self) -> None:
        """Lose the connection."""
        self.keep()
        self.reader.close()

    def keep(self) -> None:
        for topic, payloads in self.wire.had.items():
            self.heard.setdefault(topic, []).extend(payloads)
        self.wire.had.clear()

    def say(self, where: str, count: int) -> None:
        log, said = self.logs[where], self.said[where]
        first = len(said) + 1
        entries = []
        for number in range(first, first + count):
            said.append(f"{where} {number}")
            channel, to = ("lab", None) if where == "lab" else (None, "bob")
            entries.append(Entry(number, 0, "alice", said[-1], channel, to))
        self.seq += count
        log.publish(Block(Batch(log.row, first, first + count - 1, self.seq, entries, 100 * count)))
        log.deliver()

    def acknowledge(self, picks: list[int]) -> None:
        """Have the broker acknowledge some packets in flight."""
        ids = []
        for pick in picks:
            if self.wire.flying:
                at = pick % len(self.wire.flying)
                ids.append(self.wire.flying[at].packet_id)
                del self.wire.flying[at]
        for log, number in self.reader.take_pubacks(ids).items():
            who = log.recipient.user_key if isinstance(log, UserLog) else "lab"
            assert number >= self.cursors[who]
            self.cursors[who] = number

    def walk(self) -> None:
        """Do what the pump does."""
        store: Store = None  # type: ignore[assignment]
        self.wire.room = 1 << 30
        while self.wire.wanted:
            self.wire.wanted = False
            self.reader.walk(store, Limits())


_STEPS = st.one_of(
    st.tuples(st.just("say"), st.sampled_from(["lab", "talk"]), st.integers(1, 9)),
    st.tuples(st.just("acknowledge"), st.lists(st.integers(0, 50), max_size=12), st.none()),
    st.tuples(st.just("walk"), st.none(), st.none()),
    st.tuples(st.just("narrow"), st.integers(0, 400), st.none()),
    st.tuples(st.just("again"), st.none(), st.none()),
)


@settings(max_examples=examples(3))
@given(st.sampled_from([V311, V5]), st.none() | st.integers(2, 30), st.lists(_STEPS, max_size=40))
def test_the_reader_against_a_model(
    version: int, receive_maximum: int | None, steps: list[tuple[str, object, object]]
) -> None:
    model = Model(version, receive_maximum if version == V5 else None)
    for what, first, second in steps:
        match what, first, second:
            case "say", str(where), int(count):
                model.say(where, count)
            case "acknowledge", list(picks), None:
                model.acknowledge(picks)
            case "walk", None, None:
                model.walk()
            case "narrow", int(room), None:
                model.wire.room = room
            case _:
                model.go()
                model.come()
        if receive_maximum is not None and version == V5:
            assert len(model.wire.flying) <= max(receive_maximum, 2)
    for _ in range(10_000):
        model.walk()
        if not model.wire.flying:
            break
        model.acknowledge([0] * len(model.wire.flying))
    model.go()
    assert model.cursors == {
        "lab": len(model.said["lab"]),
        "alice": len(model.said["talk"]),
        "bob": len(model.said["talk"]),
    }
    for topic, where in (
        ("chat/channels/lab/text", "lab"), ("chat/channels/lab", "lab"),
        ("chat/to/alice/msg/bob", "talk"), ("chat/to/bob/msg/alice", "talk"),
    ):  # fmt: skip
        heard = model.heard.get(topic, [])
        for said in model.said[where]:
            assert any(said in each for each in heard), f"{said} did not come on {topic}"


def test_the_two_users_of_a_private_log_have_cursors_of_their_own() -> None:
    model = Model(V5, None)
    model.say("talk", 3)
    assert len({packet.packet_id for packet in model.wire.flying}) == 6
    assert model.cursors == {"lab": 0, "alice": 0, "bob": 0}
    while [packet for packet in model.wire.flying if packet.topic == "chat/to/bob/msg/alice"]:
        at = next(n for n, packet in enumerate(model.wire.flying) if packet.topic == "chat/to/bob/msg/alice")
        model.acknowledge([at])
    model.acknowledge([0])
    assert model.cursors["alice"] == 1
    model.acknowledge([0, 0])
    assert model.cursors == {"lab": 0, "alice": 3, "bob": 3}
    model.go()


def test_a_broker_that_takes_far_too_little_is_hung_up_on() -> None:
    """Answers wait in memory, entries do not. One large answer is no reason, if not too much waits before it."""
    model = Model(V5, None)
    model.wire.room = 0
    piece = b"x" * Limits().backlog
    for _ in range(16):
        model.reader.reply_bytes(piece)
    model.reader.reply_bytes(b"x")
    assert not model.wire.ended
    model.reader.reply_bytes(b"x")
    assert model.wire.ended


def test_clients_of_the_server_are_sent_an_entry_before_the_broker() -> None:
    model = Model(V5, None)
    client = MqttReader[Log](Wire(V5), cast("Any", None), lambda log: None, 1 << 16)
    for log in model.logs.values():
        log.attach(client)
        assert log.followers == (client, model.reader)


def test_a_closed_reader_follows_no_log() -> None:
    model = Model(V5, None)
    model.go()
    assert [log.followers for log in model.logs.values()] == [(), ()]
