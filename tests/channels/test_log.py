"""A log: its followers in order, and no block that waits for the next one."""

from __future__ import annotations

import threading
from typing import Any

from channels.log import Block, Log
from store import Batch, LogRow
from tests.support.waiting import DEADLINE
from wire.frames import Entry, Frame


class Follower:
    """Notes the blocks that it is offered."""

    def __init__(self, *, told_last: bool = False) -> None:
        self.told_last = told_last
        self.user_key = ""
        self.blocks: list[tuple[int, int]] = []

    def offer(self, log: Log, block: Block) -> None:
        self.blocks.append((block.first, block.last))

    def catch_up(self) -> None:
        raise AssertionError("each block is told")

    def notify(self, frame: Frame, log: Log | None = None) -> None:
        raise AssertionError("a log sends no notices")

    def hang_up(self) -> None:
        raise AssertionError("no offer has failed")


def _log() -> Log:
    return Log(LogRow(2, "channel", "lab", "lab", "", "", 0))


def _publish(log: Log) -> None:
    number = log.tail + 1
    log.publish(Block(Batch(log.row, number, number, number, [Entry(number, 0, "ann", "x", "lab")], 1)))


def test_a_block_that_comes_as_the_baton_is_released_is_delivered() -> None:
    """The thread that brings it finds the baton taken and goes on, so the holder has to look again."""
    log, follower = _log(), Follower()
    log.attach(follower)
    baton: Any = log._baton

    class Baton:
        """Lets another thread come just before it is released for the first time."""

        def __init__(self) -> None:
            self.released = False

        def acquire(self, *, blocking: bool) -> bool:
            taken: bool = baton.acquire(blocking=blocking)
            return taken

        def release(self) -> None:
            if not self.released:
                self.released = True
                _publish(log)
                thread = threading.Thread(target=log.deliver)
                thread.start()
                thread.join(DEADLINE)
                assert not thread.is_alive(), "it waits for the baton"
            baton.release()

    log._baton = Baton()  # type: ignore[assignment]
    _publish(log)
    log.deliver()
    assert follower.blocks == [(1, 1), (2, 2)]


def test_blocks_that_wait_go_as_one() -> None:
    log, follower = _log(), Follower()
    log.attach(follower)
    for _ in range(3):
        _publish(log)
    log.deliver()
    assert follower.blocks == [(1, 3)]


def test_a_follower_that_is_told_last_comes_after_all_others() -> None:
    log = _log()
    followers = [Follower(told_last=last) for last in (False, True, False, True, False)]
    for follower in (*followers, *followers):
        log.attach(follower)
    assert log.followers == tuple(followers[at] for at in (0, 2, 4, 1, 3))
    log.detach(followers[2])
    assert log.followers == tuple(followers[at] for at in (0, 4, 1, 3))


def test_the_first_number_in_memory() -> None:
    """It is the one after the tail while memory holds nothing."""
    log = Log(LogRow(2, "channel", "lab", "lab", "", "", 7))
    assert log.oldest_recent() == 8
    _publish(log)
    assert log.oldest_recent() == 8
    _publish(log)
    assert log.oldest_recent() == 8


class Incomparable(Follower):
    """A follower that is never compared with another one."""

    __hash__ = Follower.__hash__

    def __eq__(self, other: object) -> bool:
        raise AssertionError("a login costs those who are there")


def test_who_comes_or_goes_is_not_compared_with_all_others() -> None:
    log = _log()
    for _ in range(50):
        log.attach(Incomparable())
    late = Incomparable()
    log.attach(late)
    assert log.follower_count == len(log.followers) == 51
    log.detach(late)
    assert log.follower_count == len(log.followers) == 50
