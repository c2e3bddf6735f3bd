"""MqttReader, one rule each: what it sends, drops and counts as read; test_delivery.py has it against a model."""

from __future__ import annotations

import json
import threading
from typing import Any, cast

import pytest

from bridge.clients.delivery import MqttReader
from bridge.clients.encoding import PublishEncoding
from channels.log import Block, Log
from store import Batch, LogRow, Store
from tests.support.waiting import DEADLINE, ended, eventually
from wire.frames import Entry
from wire.limits import Limits
from wire.mqtt import V311, MqttPackets, Publish
from wire.topics import Topics

TOPICS = Topics()
BACKLOG = 100  # bytes


class Pipe:
    """An outlet that takes `room` bytes."""

    def __init__(self) -> None:
        self.room = 1 << 20
        self.sent = b""
        self.unread = 0  # bytes that the peer's machine has not acknowledged

    def transmit(self, data: bytes | memoryview, *, answered: bool = False) -> int:
        taken = min(len(data), self.room)
        self.room -= taken
        self.sent += bytes(data[:taken])
        return taken

    def when_writable(self) -> None:
        """No-op: no pump walks the reader."""

    def hang_up(self) -> None:
        raise AssertionError("the reader does not hang up")

    def peer_has_ended(self) -> bool:
        return False

    def is_broken(self) -> bool:
        return False

    def unacknowledged(self) -> int:
        return self.unread


class Desk:
    """A channel, a private log, and a reader of both; `qos` is that of both, None without a subscription."""

    def __init__(self, qos: int | None = 0) -> None:
        self.qos = qos
        self.pipe = Pipe()
        self.reader = MqttReader[Log](self.pipe, cast("Any", None), self.encoding_of, BACKLOG)
        self.lab = Log(LogRow(1, "channel", "lab", "lab", "", "", 0))
        self.private = Log(LogRow(2, "direct", "alice:bob", "alice", "bob", "", 0))
        self.seq = 0

    def encoding_of(self, log: Log) -> PublishEncoding | None:
        if self.qos is None:
            return None
        return PublishEncoding(TOPICS, V311, self.qos, None, me="" if log.channel else "alice")

    def follow(self) -> None:
        for log in (self.lab, self.private):
            self.reader.follow(log, log.tail)

    def post(self, log: Log, text: str = "hello") -> Block:
        """Commit an entry of bob and deliver it."""
        self.seq += 1
        number = log.tail + 1
        channel = log.channel
        entry = Entry(number, 1_000, "bob", text, channel, None if channel else "alice")
        block = Block(Batch(log.row, number, number, self.seq, [entry], 100))
        log.publish(block)
        log.deliver()
        return block

    def packets(self) -> list[Publish]:
        """Return the packets sent."""
        return [cast("Publish", each) for each in MqttPackets(version=V311).receive(self.pipe.sent)]

    def topics(self) -> list[str]:
        """Return the topics of the packets sent."""
        return [packet.topic for packet in self.packets()]


@pytest.fixture
def desk() -> Desk:
    """A reader that follows both logs at QoS 0."""
    made = Desk()
    made.follow()
    return made


def test_a_closed_reader_sends_nothing(desk: Desk) -> None:
    """A delivery that has begun may still offer it a block."""
    block = desk.post(desk.lab)
    sent = desk.pipe.sent
    desk.reader.close()
    desk.reader.offer(desk.lab, desk.post(desk.lab))
    desk.reader.offer(desk.lab, block)
    desk.reader.send_or_drop(b"x")
    desk.reader.reply_bytes(b"x")
    assert desk.pipe.sent == sent


def test_a_block_is_sent_once(desk: Desk) -> None:
    block = desk.post(desk.lab)
    desk.reader.offer(desk.lab, block)
    assert desk.topics() == ["chat/channels/lab"]


@pytest.mark.parametrize("waiting", [BACKLOG, BACKLOG + 1])
def test_a_message_is_dropped_if_too_much_waits(desk: Desk, waiting: int) -> None:
    desk.pipe.room = 0
    desk.reader.reply_bytes(b"." * waiting)
    desk.reader.send_or_drop(b"message")
    assert desk.reader._waiting == waiting + (len(b"message") if waiting <= BACKLOG else 0)


def test_a_message_is_dropped_before_the_client_is_accepted(desk: Desk) -> None:
    desk.reader.hold()
    desk.reader.send_or_drop(b"early")
    desk.reader.begin([])
    desk.reader.send_or_drop(b"late")
    assert desk.pipe.sent == b"late"


def test_a_user_who_leaves_a_channel_still_reads_it_by_a_subscription(desk: Desk) -> None:
    desk.reader.membership_ended(desk.lab)
    desk.post(desk.lab)
    assert desk.topics() == ["chat/channels/lab"]
    desk.qos = None
    desk.reader.membership_ended(desk.lab)
    desk.post(desk.lab)
    assert desk.topics() == ["chat/channels/lab"]
    assert not desk.reader.follows(desk.lab)


def test_a_log_without_a_subscription_is_not_followed() -> None:
    desk = Desk(qos=None)
    desk.follow()
    desk.post(desk.lab)
    assert desk.reader.followed() == []
    assert desk.pipe.sent == b""


def test_a_private_log_at_qos_0_is_read_when_the_client_s_machine_has_it(desk: Desk) -> None:
    desk.post(desk.lab)
    desk.post(desk.private)
    desk.pipe.unread = 1
    assert desk.reader.newly_read() == ([], True)
    desk.pipe.unread = 0
    assert desk.reader.newly_read() == ([(desk.private, 1)], False)
    assert desk.reader.newly_read() == ([], False)
    desk.post(desk.private)
    desk.pipe.room = 0
    desk.reader.reply_bytes(b"waits")
    desk.post(desk.private)
    assert desk.reader.newly_read() == ([], True)


def test_a_private_log_at_qos_1_is_read_when_it_is_acknowledged() -> None:
    desk = Desk(qos=1)
    desk.follow()
    desk.post(desk.private)
    assert desk.reader.newly_read() == ([], False)
    assert desk.reader.reads_at_qos_1(desk.private)
    assert desk.reader.take_pubacks([desk.packets()[0].packet_id]) == {desk.private: 1}
    assert desk.reader.take_pubacks([]) == {}


def test_a_cursor_moves_once_and_not_past_the_tail(desk: Desk) -> None:
    for log in (desk.private, desk.private, desk.lab):
        desk.post(log)
    assert desk.reader.acknowledge(desk.private, 1) == 1
    assert desk.reader.acknowledge(desk.private, 1) is None, "the other user was told of it"
    assert desk.reader.acknowledge(desk.private, 9) == 2
    assert desk.reader.acknowledge(desk.private, 2) is None
    assert desk.reader.acknowledge(desk.lab, 9) == 1


def test_a_late_follow_does_not_send_what_was_acknowledged() -> None:
    """The client unsubscribes and subscribes again while another thread delivers with a cursor that it read before."""
    desk = Desk(qos=1)
    desk.follow()
    desk.post(desk.private)
    assert desk.reader.take_pubacks([desk.packets()[0].packet_id]) == {desk.private: 1}
    assert desk.reader.acknowledge(desk.private, 1) == 1
    desk.qos = None
    desk.reader.refresh(desk.private)
    desk.qos = 1
    desk.reader.follow(desk.private, 0)
    desk.reader.walk(cast("Store", None), Limits())
    desk.post(desk.private, "new")
    assert [json.loads(packet.payload)["number"] for packet in desk.packets()] == [1, 2]


def test_a_late_follow_does_not_forget_what_was_acknowledged() -> None:
    """Else the other user would be told of the same move again."""
    desk = Desk(qos=0)
    desk.follow()
    desk.post(desk.private)
    assert desk.reader.newly_read() == ([(desk.private, 1)], False)
    desk.qos = None
    desk.reader.refresh(desk.private)
    desk.qos = 0
    desk.reader.begin([(desk.private, 0, 0)])
    assert desk.reader.newly_read() == ([], False)
    assert desk.reader.acknowledge(desk.private, 1) is None


def test_the_logs_of_a_reader_that_is_behind_take_turns() -> None:
    desk = Desk(qos=1)
    desk.reader.limit_flight(1)
    desk.follow()
    for log in (desk.lab, desk.lab, desk.lab, desk.private, desk.private, desk.private):
        desk.post(log)
    for _ in range(5):
        desk.reader.take_pubacks([desk.packets()[-1].packet_id])
        desk.reader.walk(cast("Store", None), Limits())
    lab, private = "chat/channels/lab", "chat/to/alice/msg/bob"
    assert desk.topics() == [lab, lab, private, lab, private, private]


def test_sent_has_the_cursor_of_each_log(desk: Desk) -> None:
    for log in (desk.lab, desk.lab, desk.private):
        desk.post(log)
    assert desk.reader.sent() == {1: 2, 2: 1}


@pytest.mark.parametrize("qos", [0, 1])
def test_a_wait_until_level_ends_when_the_last_entry_is_sent(qos: int) -> None:
    """At QoS 1, the second entry needs the acknowledgement of the first: the client takes one packet at a time."""
    desk = Desk(qos)
    desk.reader.limit_flight(1)
    desk.follow()
    desk.pipe.room = 0
    desk.post(desk.lab)
    desk.post(desk.lab)
    waiter = threading.Thread(target=desk.reader.wait_until_level, args=(DEADLINE,))
    waiter.start()
    try:
        eventually(lambda: desk.reader._room is not None, lambda: "the thread does not wait")
        room = desk.reader._room
        assert room is not None
        desk.pipe.room = 1 << 20
        desk.reader.walk(cast("Store", None), Limits())
        if qos:
            assert not room[1].is_set()
            desk.reader.take_pubacks([desk.packets()[0].packet_id])
            desk.reader.walk(cast("Store", None), Limits())
        assert len(desk.packets()) == 2
        assert room[1].is_set()
    finally:
        desk.reader.close()
        ended([waiter], desk.topics)
