"""One reader, rule by rule, without threads: an outlet that takes as many bytes as the test says."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Sequence
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from channels.log import Block, Log
from channels.reader import Reader
from channels.waiting import WaitingBytes
from store import Batch, Entries, LogRow
from tests.support.journal import FakeStore
from tests.support.waiting import DEADLINE, eventually
from wire.dialect import Encoding
from wire.frames import Entry, Frame, Gap, Pong, Presence
from wire.jsonlines import JsonLines
from wire.limits import Limits
from wire.text import TextLines


class Outlet:
    """Takes `room` bytes. `unread` is what the kernel says that the peer's machine has not acknowledged."""

    def __init__(self) -> None:
        self.taken = b""
        self.room = 1 << 30
        self.unread = 0
        self.asked = 0  # how often the write pump was asked for

    def transmit(self, data: bytes | memoryview, *, answered: bool = False) -> int:
        taken = bytes(data[: self.room])
        self.room -= len(taken)
        self.taken += taken
        return len(taken)

    def when_writable(self) -> None:
        self.asked += 1

    def hang_up(self) -> None:
        """Nothing to do."""

    def peer_has_ended(self) -> bool:
        return False

    def is_broken(self) -> bool:
        return False

    def unacknowledged(self) -> int:
        return self.unread

    def frames(self) -> list[Frame]:
        lines: list[Any] = JsonLines(client=True).receive(self.taken)
        return lines


class Setting:
    """A log, and a reader of it on an outlet."""

    def __init__(self, dialect: Encoding | None = None) -> None:
        self.log = Log(LogRow(2, "channel", "lab", "lab", "", "", 0))
        self.outlet = Outlet()
        self.reader = Reader[Log](self.outlet, dialect or JsonLines())
        self.store = cast("Entries", FakeStore())

    def post(self, *texts: str) -> None:
        """Have entries committed and delivered."""
        first = self.log.tail + 1
        entries = [Entry(first + at, 0, "ann", text, "lab") for at, text in enumerate(texts)]
        last = first + len(texts) - 1
        self.log.publish(Block(Batch(self.log.row, first, last, last, entries, 100 * len(texts))))
        self.log.deliver()

    def walk(self, limits: Limits | None = None) -> None:
        """Let the outlet take everything, as the write pump does when the socket is writable."""
        self.outlet.room = 1 << 30
        self.reader.walk(self.store, limits or Limits())


def _numbers(frames: Sequence[Frame]) -> list[int]:
    return [frame.number for frame in frames if isinstance(frame, Entry)]


def test_entries_are_read_when_the_peer_s_machine_has_acknowledged_them() -> None:
    made = Setting(TextLines())
    made.reader.follow(made.log, 0)
    made.post("hello")
    made.outlet.unread = 1
    assert made.reader.newly_read() == ([], True)
    made.outlet.unread = 0
    assert made.reader.newly_read() == ([(made.log, 1)], False)
    assert made.reader.newly_read() == ([], False)


def test_entries_that_wait_for_the_outlet_are_not_read() -> None:
    made = Setting(TextLines())
    made.reader.follow(made.log, 0)
    made.outlet.room = 3
    made.post("hello")
    assert made.reader.newly_read() == ([], True)
    made.walk()
    assert made.reader.newly_read() == ([(made.log, 1)], False)


def test_a_peer_that_acknowledges_reads_only_what_it_acknowledges() -> None:
    made = Setting()
    made.reader.follow(made.log, 0)
    made.post("hello", "again")
    assert made.reader.newly_read() == ([], False)
    assert made.reader.acknowledge(made.log, 5) == 2
    assert made.reader.acknowledge(made.log, 1) is None


def test_neither_an_entry_nor_a_notice_comes_before_the_welcome() -> None:
    made = Setting()
    made.reader.hold()
    made.reader.follow(made.log, 0)
    made.reader.notify(Presence("bob", "online"))
    made.post("hello")
    assert made.outlet.taken == b""
    made.reader.reply(Pong())
    made.reader.begin([])
    made.walk()
    made.reader.notify(Presence("bob", "offline"))
    assert [type(frame) for frame in made.outlet.frames()] == [Pong, Entry, Presence]


def test_a_notice_of_a_log_that_is_not_followed_is_dropped() -> None:
    made = Setting()
    made.reader.notify(Presence("bob", "join", "lab"), made.log)
    assert made.outlet.taken == b""
    made.reader.follow(made.log, 0)
    made.reader.notify(Presence("bob", "leave", "lab"), made.log)
    assert [type(frame) for frame in made.outlet.frames()] == [Presence]


def test_after_a_gap_come_the_last_entries() -> None:
    made, limits = Setting(), Limits(lag=10, missed=4)
    made.reader.follow(made.log, 0)
    made.outlet.room = 0
    for n in range(31):
        made.post(f"{n}")
    made.outlet.taken = b""
    made.walk(limits)
    entry, gap = made.outlet.frames()[:2]
    assert isinstance(entry, Entry), "the one that was on its way"
    assert isinstance(gap, Gap)
    assert (gap.first, gap.last) == (2, 31 - limits.after_gap)
    assert limits.after_gap > 0
    assert _numbers(made.outlet.frames()) == [1, *range(gap.last + 1, 32)]


def test_a_wait_for_room_that_is_over_in_time_has_no_room() -> None:
    made = Setting()
    made.outlet.room = 10
    made.reader.reply(Pong(payload=b"x" * 1_000))
    assert not made.reader.wait_for_room(0, 0.001)
    assert not made.reader.wait_for_room(500, 0.001)
    assert made.reader.wait_for_room(5_000, 0.001)
    made.walk()
    assert made.reader.wait_for_room(0, 0.001)


def test_a_wait_for_room_ends_when_just_the_limit_waits() -> None:
    made = Setting()
    made.outlet.room = 0
    made.reader.reply(Pong(payload=b"x" * 1_000))
    waiting = made.reader._waiting
    found: list[bool] = []
    waiter = threading.Thread(target=lambda: found.append(made.reader.wait_for_room(waiting - 10)), daemon=True)
    waiter.start()
    eventually(lambda: made.reader._room is not None, lambda: "the thread does not wait")
    made.outlet.room = 10
    made.reader.walk(made.store, Limits())
    waiter.join(DEADLINE)
    assert found == [True]


def test_a_log_that_grows_while_it_is_attached_is_sent() -> None:
    """An entry that is committed after the cursor was set, and before the log knows the follower, is not lost."""
    made = Setting()

    class Growing(Log):
        def attach(self, follower: Any) -> None:
            made.log = log
            made.post("meanwhile")
            super().attach(follower)

    log = Growing(made.log.row)
    made.reader.follow(log, 0)
    assert made.outlet.asked == 1
    made.walk()
    assert _numbers(made.outlet.frames()) == [1]


def test_a_reader_that_is_closed_while_it_attaches_is_detached() -> None:
    made = Setting()

    class Closing(Log):
        def attach(self, follower: Any) -> None:
            made.reader.close()
            super().attach(follower)

    log = Closing(made.log.row)
    made.reader.follow(log, 0)
    assert log.followers == ()


def test_small_answers_that_wait_take_little_more_than_their_bytes() -> None:
    """A quarter of a megabyte of two bytes each took 24 MB."""
    made = Setting()
    made.outlet.room = 1
    answer, count = b"\xd0\x00", 100_000
    tracemalloc.start()
    for _ in range(count):
        made.reader.reply_bytes(answer)
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert taken < 3 * count * len(answer)
    made.walk()
    assert made.outlet.taken == answer * count


@given(
    sizes=st.lists(st.sampled_from([1, 2, 30, 1_024, 1_025, 20_000]), max_size=60),
    rooms=st.lists(st.integers(0, 30_000)),
)
def test_what_waits_is_sent_whole_and_in_order(sizes: list[int], rooms: list[int]) -> None:
    made = Setting()
    expected = b""
    for at, size in enumerate(sizes):
        made.outlet.room = rooms[at] if at < len(rooms) else 0
        if at % 3 == 2:
            made.reader.walk(made.store, Limits())
        answer = bytes([at]) * size
        expected += answer
        made.reader.reply_bytes(answer)
        assert made.outlet.taken == expected[: len(made.outlet.taken)]
        assert made.reader._waiting == len(expected) - len(made.outlet.taken)
    made.walk()
    assert made.outlet.taken == expected


def _waits_for_page(made: Setting) -> threading.Thread:
    """Return a thread that waits for room for a page."""
    asked = made.outlet.asked
    waiter = threading.Thread(target=made.reader.wait_for_page, daemon=True)
    waiter.start()
    eventually(lambda: made.outlet.asked > asked, lambda: "the write pump was not asked")
    assert waiter.is_alive()
    return waiter


def test_a_page_waits_for_an_outlet_that_is_full() -> None:
    """Bytes that the peer's machine has not acknowledged fill the socket."""
    made = Setting()
    made.outlet.unread = 100_000
    made.reader.wait_for_page()
    made.outlet.unread = 1_000_000
    waiter = _waits_for_page(made)
    made.walk()
    waiter.join(DEADLINE)
    assert not waiter.is_alive()


def test_a_page_waits_until_all_answers_are_sent() -> None:
    made = Setting()
    made.outlet.room = 10
    made.reader.reply_bytes(b"x" * 100)
    waiter = _waits_for_page(made)
    made.outlet.room = 50
    made.reader.walk(made.store, Limits())
    assert waiter.is_alive()
    made.walk()
    waiter.join(DEADLINE)
    assert not waiter.is_alive()


def test_a_page_waits_for_no_reader_that_is_closed() -> None:
    made = Setting()
    made.outlet.unread = 1_000_000
    waiter = _waits_for_page(made)
    made.reader.close()
    waiter.join(DEADLINE)
    assert not waiter.is_alive()
    made.reader.wait_for_page()


def _beside(made: Setting, waiting: int, most: int) -> None:
    """Count the reader for an address of which another connection has so many unsent bytes."""
    address, other = WaitingBytes(most), Setting()
    for setting in (made, other):
        setting.reader.count_for(address, "10.0.0.1")
    other.outlet.room = 0
    other.reader.reply_bytes(b"x" * waiting)


def test_a_peer_of_a_full_address_is_not_read_while_anything_waits_for_it() -> None:
    made = Setting()
    _beside(made, waiting=200, most=200)
    assert made.reader.wait_for_room(1_000, 0.0)
    made.outlet.room = 0
    made.reader.reply_bytes(b"x")
    assert not made.reader.wait_for_room(1_000, 0.0)
    made.walk()
    assert made.reader.wait_for_room(1_000, 0.0)


def test_an_answer_has_room_beside_what_others_of_the_address_have_not_read() -> None:
    made = Setting()
    assert made.reader.reserve(1_000)
    _beside(made, waiting=100, most=200)
    assert made.reader.reserve(100)
    account = made.reader._account
    assert account is not None
    assert not account.reserve(made.reader, 101, 0.0)
    made.reader.close()
    assert not account.reserve(made.reader, 1, 0.0)


def test_what_waits_keeps_no_memory_of_what_was_sent() -> None:
    made = Setting()
    made.outlet.room = 900_000
    made.reader.reply_bytes(b"x" * 1_000_000)
    backlog = made.reader._backlog
    assert backlog is not None
    assert [len(cast("bytes", cast("memoryview", piece).obj)) for piece in backlog] == [100_000]
    made.outlet.room = 60_000
    made.reader.walk(made.store, Limits())
    assert [len(cast("bytes", cast("memoryview", piece).obj)) for piece in backlog] == [40_000]
    made.walk()
    assert made.outlet.taken == b"x" * 1_000_000
