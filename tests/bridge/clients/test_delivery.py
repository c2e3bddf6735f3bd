"""MqttReader against a model: any mix of commits, full sockets and acknowledgements, and the packets that arrive.

The tests need no socket and no thread: the outlet takes as many bytes as a test lets it, and the test is the pump.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bridge.clients.delivery import WINDOW, MqttReader
from bridge.clients.encoding import SPAN, PublishEncoding
from channels.log import Block, Log
from store import Batch, LogRow, Store
from tests.support.examples import examples
from wire.frames import Entry
from wire.limits import Limits
from wire.mqtt import V311, MqttPackets, Publish
from wire.topics import Topics

CHAT = Topics()
NAMES = ("lab", "hall", "attic")
_NO_LIMIT = 1 << 40


class Line:
    """An outlet that takes `room` bytes; `wanted` is True if the pump is to walk the reader."""

    def __init__(self) -> None:
        self.room = 0
        self.wanted = False
        self._packets = MqttPackets(version=V311)
        self.arrived: list[Publish] = []

    def transmit(self, data: bytes | memoryview, *, answered: bool = False) -> int:
        taken = min(len(data), self.room)
        self.room -= taken
        self.arrived += cast("list[Publish]", self._packets.receive(bytes(data[:taken])))
        return taken

    def when_writable(self) -> None:
        self.wanted = True

    def hang_up(self) -> None:
        raise AssertionError("nobody hangs up here")

    def peer_has_ended(self) -> bool:
        return False

    def is_broken(self) -> bool:
        return False

    def unacknowledged(self) -> int:
        return 0


class Shelf:
    """The one method of the store that a reader needs."""

    def __init__(self) -> None:
        self.entries: dict[int, list[tuple[int, Entry]]] = {}

    def read_batches(self, row: LogRow, after: int, limit: int, size: int | None = None) -> list[Batch]:
        found = [pair for pair in self.entries.get(row.id, []) if pair[1].number > after][:limit]
        return [Batch(row, entry.number, entry.number, seq, [entry], 100) for seq, entry in found]


class Client:
    """A client: the packets that have arrived and are not acknowledged. Asserts the rules of MQTT."""

    def __init__(self, window: int) -> None:
        self._window = window
        self.last: dict[tuple[str, bool], int] = {}  # by channel and form; True: text
        self.jumps: dict[str, dict[int, int]] = {name: {} for name in NAMES}  # the numbers before and at a gap's end
        self.flying: list[tuple[int, str, int]] = []  # identifier, channel, number
        self.at_qos_1: dict[str, int] = {}  # by channel: the last number that came at QoS 1

    def take(self, packet: Publish) -> None:
        levels = packet.topic.split("/")
        name, text = levels[2], len(levels) == 4
        number = int(packet.payload.split()[1]) if text else json.loads(packet.payload)["number"]
        before = self.last[name, text]
        while before in self.jumps[name]:
            before = self.jumps[name][before]
        assert number == before + 1, f"{packet.topic}: {number} after {before}"
        self.last[name, text] = number
        if packet.qos:
            assert packet.packet_id not in [id for id, _, _ in self.flying], "a packet identifier is in flight twice"
            self.flying.append((packet.packet_id, name, number))
            assert len(self.flying) <= self._window, "more packets are in flight than the client takes"
            self.at_qos_1[name] = number


class Reading(RuleBasedStateMachine):
    """Three channels, one reader."""

    @initialize(
        window=st.integers(1, 6) | st.just(WINDOW),
        forms=st.tuples(*[st.sampled_from([(1, None), (None, 1), (0, 1), (1, 1), (0, 0), (0, None)])] * 3),
        seq=st.sampled_from([0, SPAN - 3, 5 * SPAN - 1]),
    )
    def open(self, window: int, forms: Sequence[tuple[int | None, int | None]], seq: int) -> None:
        self.seq, self.other_seq = seq, 1_000 * SPAN + 7
        self.shelf = Shelf()
        self.line = Line()
        self.client = Client(window)
        self.one_at_a_time = window == 1
        self.encodings: dict[str, PublishEncoding | None] = {}
        self.reader = MqttReader[Log](self.line, cast("Any", None), lambda log: self.encodings[log.row.name], 1 << 16)
        self.reader.limit_flight(window)
        self.moved: dict[str, int] = {}
        self.logs = [Log(LogRow(at, "channel", name, name, "", "", 0)) for at, name in enumerate(NAMES)]
        for log, form in zip(self.logs, forms, strict=True):
            self._subscribe(log, *form)

    def _subscribe(self, log: Log, in_json: int | None, in_text: int | None) -> None:
        if self.one_at_a_time and in_json and in_text:
            in_text = 0
        name = log.row.name
        self.encodings[name] = PublishEncoding(CHAT, V311, in_json, in_text)
        for text, qos in ((False, in_json), (True, in_text)):
            if qos is not None:
                self.client.last.setdefault((name, text), log.tail)
        self.reader.follow(log, log.tail)

    def _arrive(self) -> None:
        arrived, self.line.arrived = self.line.arrived, []
        for packet in arrived:
            self.client.take(packet)

    def _pump(self) -> None:
        while self.line.wanted and self.line.room:
            self.line.wanted = False
            self.reader.walk(cast("Store", self.shelf), Limits())
            self._arrive()

    @rule(at=st.integers(0, 2), count=st.integers(1, 5), deliver=st.booleans(), forget=st.booleans())
    def commit(self, at: int, count: int, deliver: bool, forget: bool) -> None:
        log = self.logs[at]
        numbers = range(log.tail + 1, log.tail + count + 1)
        entries = [Entry(number, 0, "bob", str(number), log.row.name) for number in numbers]
        shelf = self.shelf.entries.setdefault(log.row.id, [])
        shelf += [(self.seq + at, entry) for at, entry in enumerate(entries, 1)]
        self.seq += count
        block = Block(Batch(log.row, numbers[0], numbers[-1], self.seq, entries, 100))
        log.publish(block)
        if deliver:
            log.deliver()
        if forget:
            log.forget(log._recent[0])
        self._arrive()

    @rule(at=st.integers(0, 2))
    def deliver(self, at: int) -> None:
        self.logs[at].deliver()
        self._arrive()

    @rule(count=st.sampled_from([1, 40, 5_000, SPAN // 2, SPAN - 1]))
    def others_talk(self, count: int) -> None:
        """Commit entries of channels that this client does not read."""
        self.seq += count

    @rule()
    def another_server_writes(self) -> None:
        """Its numbers of the journal are far from those before, and may be lower."""
        self.seq, self.other_seq = self.other_seq, self.seq

    @rule(room=st.sampled_from([1, 20, 70, 200, 2_000, _NO_LIMIT]))
    def line_has_room(self, room: int) -> None:
        self.line.room = room
        self._pump()

    @rule()
    def line_is_full(self) -> None:
        self.line.room = 0

    @precondition(lambda self: self.client.flying)
    @rule(count=st.integers(1, 10), at_once=st.booleans())
    def acknowledge(self, count: int, at_once: bool) -> None:
        taken, self.client.flying = self.client.flying[:count], self.client.flying[count:]
        ids = [id for id, _, _ in taken]
        for run in [ids] if at_once else [[id] for id in ids]:
            self._take_pubacks(run)

    @precondition(lambda self: self.client.flying)
    @rule(data=st.data())
    def acknowledge_in_any_order(self, data: st.DataObject) -> None:
        order = data.draw(st.permutations(range(min(5, len(self.client.flying)))))
        ids = [self.client.flying[at][0] for at in order]
        self.client.flying = self.client.flying[len(ids) :]
        self._take_pubacks(ids)

    @rule(id=st.integers(1, 20) | st.integers(2 * SPAN - 10, 0xFFFF))
    def acknowledge_a_packet_that_was_never_sent(self, id: int) -> None:
        if not any(id in flight.ids[flight.at :] for flight in self.reader._flights):
            self._take_pubacks([id])

    def _take_pubacks(self, ids: list[int]) -> None:
        for log, number in self.reader.take_pubacks(ids).items():
            name = log.row.name
            assert number >= self.moved.get(name, 0), "a cursor moved backwards"
            assert number <= self.client.at_qos_1[name], "a cursor passed the last entry sent"
            self.moved[name] = number
            left = [flying for flying in self.client.flying if flying[1] == name and flying[2] <= number]
            assert not left, f"{name} is acknowledged up to {number}, and {left} is not"
        self._pump()

    @rule(at=st.integers(0, 2))
    def unsubscribe_and_subscribe(self, at: int) -> None:
        log = self.logs[at]
        sent, encoding = self.reader.sent()[log.row.id], self.encodings[log.row.name]
        assert encoding is not None
        self.encodings[log.row.name] = None
        self.reader.refresh(log)
        assert log not in self.reader.followed()
        if log.tail > sent:
            self.client.jumps[log.row.name][sent] = log.tail
        self._subscribe(log, encoding.json_qos, encoding.text_qos)
        self._arrive()

    @rule(at=st.integers(0, 2), one=st.integers(0, 1), other=st.integers(0, 1))
    def change_qos(self, at: int, one: int, other: int) -> None:
        log = self.logs[at]
        encoding = self.encodings[log.row.name]
        assert encoding is not None
        in_json, in_text = None if encoding.json_qos is None else one, None if encoding.text_qos is None else other
        if self.one_at_a_time and in_json and in_text:
            in_text = 0
        self.encodings[log.row.name] = PublishEncoding(CHAT, V311, in_json, in_text)
        self.reader.refresh(log)

    @invariant()
    def only_committed_entries_are_sent(self) -> None:
        for log in getattr(self, "logs", ()):
            assert self.reader.sent()[log.row.id] <= log.tail

    def teardown(self) -> None:
        """Everything arrives when the socket takes everything and the client acknowledges everything."""
        if not hasattr(self, "logs"):
            return
        self.line.room = _NO_LIMIT
        for log in self.logs:
            log.deliver()
        self._arrive()
        self._pump()
        while self.client.flying:
            taken, self.client.flying = self.client.flying, []
            self._take_pubacks([id for id, _, _ in taken])
        for (name, text), first in self.client.last.items():
            last = first
            while last in self.client.jumps[name]:
                last = self.client.jumps[name][last]
            log = self.logs[NAMES.index(name)]
            assert last == log.tail, f"{name} {text}: {last} of {log.tail}"
            if self.client.at_qos_1.get(name) == log.tail:
                assert self.moved.get(name) == log.tail


TestReading = Reading.TestCase
TestReading.settings = settings(max_examples=examples(2), stateful_step_count=40, deadline=None)


def reading(*forms: tuple[int | None, int | None], window: int = WINDOW) -> Reading:
    """A model whose socket takes everything, for a test that makes the steps."""
    made = Reading()
    made.open(window=window, forms=(*forms, *[(0, None)] * (3 - len(forms))), seq=0)
    made.line_has_room(room=_NO_LIMIT)
    return made


def say(made: Reading, count: int = 1) -> None:
    made.commit(at=0, count=count, deliver=True, forget=False)
    made._pump()


def test_a_packet_identifier_is_free_when_it_is_acknowledged() -> None:
    made = reading((1, None))
    say(made)
    made.others_talk(count=SPAN - 1)
    say(made)
    assert made.client.last["lab", False] == 1, "the second packet would have the identifier of the first"
    made.acknowledge(count=1, at_once=True)
    assert made.client.last["lab", False] == 2
    made.teardown()


def test_packet_identifiers_of_entries_that_are_far_apart_in_the_journal() -> None:
    """A client that was away reads a hundred entries from the store."""
    made = reading((1, 1))
    made.line_is_full()
    for _ in range(100):
        say(made)
        made.others_talk(count=SPAN // 30)
    made.line_has_room(room=_NO_LIMIT)
    assert 1 < len(made.client.flying) < 100
    made.teardown()
    assert made.moved["lab"] == 100


def test_packet_identifiers_of_blocks_whose_numbers_are_in_disorder() -> None:
    """As several servers write them: a block of batches far apart from each other is sent in parts."""
    made = reading((1, None), (1, None), (1, None))
    made.line_has_room(_NO_LIMIT)
    made.commit(0, count=3, deliver=False, forget=False)
    made.another_server_writes()
    made.commit(0, count=3, deliver=False, forget=False)
    made.another_server_writes()
    made.commit(0, count=3, deliver=True, forget=False)
    made.line_has_room(_NO_LIMIT)
    assert len(made.client.flying) < 9
    made.teardown()


def test_an_acknowledgement_of_no_packet_does_not_count_for_a_later_one() -> None:
    made = reading((1, None))
    say(made, 2)
    assert [id for id, _, _ in made.client.flying] == [5, 7]
    made.client.flying.pop(1)
    made._take_pubacks([11, 11, 7])  # 11 was never sent, and 5 was sent before 7
    assert made.moved == {}
    made.others_talk(count=1)
    say(made)
    assert [id for id, _, _ in made.client.flying] == [5, 11]
    made.acknowledge(count=1, at_once=True)
    assert made.moved == {"lab": 2}
    made.teardown()


def test_a_packet_that_is_acknowledged_twice_counts_once() -> None:
    made = reading((1, None), window=2)
    say(made, 5)
    for _ in range(5):
        ids = [id for id, _, _ in made.client.flying]
        made.client.flying.clear()
        made._take_pubacks(ids + ids)
    assert made.client.last["lab", False] == 5
    assert made.moved == {"lab": 5}


def test_acknowledgements_in_reverse_order() -> None:
    made = reading((1, 1))
    say(made, 5)
    ids = [id for id, _, _ in made.client.flying]
    made.client.flying.clear()
    for id in reversed(ids[1:]):
        made._take_pubacks([id])
    assert made.moved == {}
    made._take_pubacks(ids[:1])
    assert made.moved == {"lab": 5}


def test_acknowledgements_in_reverse_order_make_room_in_the_window() -> None:
    made = reading((1, None), window=4)
    for round in range(1, 6):
        say(made, 4)
        assert made.client.last["lab", False] == 4 * round, "the window is full of acknowledged packets"
        ids = [id for id, _, _ in made.client.flying]
        made.client.flying.clear()
        for id in reversed(ids):
            made._take_pubacks([id])
    assert made.reader._in_flight == 0
    assert made.moved == {"lab": 20}


def test_acknowledgements_of_packets_that_were_never_sent_are_forgotten() -> None:
    made = reading((1, None))
    say(made)
    [(id, _, _)] = made.client.flying
    made.client.flying.clear()
    made._take_pubacks([id + 2, id + 4, id])
    assert not made.reader._early


def test_a_no_local_reader_moves_past_its_own_posts() -> None:
    """Its own posts are not sent to it, so it does not acknowledge them either."""
    made = reading((1, None))
    made.encodings["lab"] = PublishEncoding(CHAT, V311, 1, None, without="bob")
    made.reader.refresh(made.logs[0])
    for _ in range(2 * SPAN // 1_000):
        made.others_talk(count=990)
        say(made, 10)
    assert not made.reader._flights
    assert made.reader.sent()[0] == made.logs[0].tail
    assert {log.row.name: number for log, number in made.reader.take_pubacks(()).items()} == {
        "lab": made.logs[0].tail
    }, "the stored cursor follows"


def test_a_client_that_never_acknowledges_costs_little_memory() -> None:
    made = reading((1, None), window=100)
    for _ in range(1_000):
        say(made, 5)
    assert len(made.client.flying) == 100
    assert len(made.reader._flights) <= 100
    made.client.flying.clear()
    made.reader.close()


def test_entries_that_were_sent_before_are_sent_as_duplicates() -> None:
    """From the stored cursor up to the last entry that the earlier connection sent; later ones are new."""
    made = reading((1, None))
    made.line_is_full()
    say(made, 10)
    reader = MqttReader[Log](made.line, cast("Any", None), lambda log: made.encodings[log.row.name], 1 << 16)
    reader.resume(made.logs[0], 3, 6)
    made.line.room = _NO_LIMIT
    while made.line.wanted:
        made.line.wanted = False
        reader.walk(cast("Store", made.shelf), Limits())
    numbers = [(json.loads(packet.payload)["number"], packet.dup) for packet in made.line.arrived if packet.qos]
    assert numbers == [(number, number <= 6) for number in range(4, 11)]
