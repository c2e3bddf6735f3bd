"""The bytes that wait for one address: the sum over its readers, and threads that wait for room."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import pytest

from channels.waiting import AddressBytes, WaitingBytes
from tests.support.waiting import DEADLINE, eventually


@dataclass(eq=False)
class Peer:
    """A reader that has so many unsent bytes."""

    waiting: int = 0


def _entered(count: int, most: int = 100) -> tuple[AddressBytes, list[Peer]]:
    """Return an address with so many readers."""
    waiting_bytes, peers = WaitingBytes(most), [Peer() for _ in range(count)]
    for peer in peers:
        account = waiting_bytes.enter("10.0.0.1", peer)
    return account, peers


def _in_thread(account: AddressBytes, peer: Peer, size: int) -> tuple[threading.Thread, list[bool]]:
    """Reserve in another thread; return it once it waits."""
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(account.reserve(peer, size, DEADLINE)), daemon=True)
    thread.start()
    eventually(lambda: bool(account._queue), lambda: "no thread waits")
    return thread, found


def test_the_address_is_full_when_its_readers_have_too_much_together() -> None:
    account, (one, other) = _entered(2)
    one.waiting, other.waiting = 60, 40
    assert not account.is_full()
    other.waiting = 41
    assert account.is_full()


def test_without_a_limit_nothing_is_full() -> None:
    account, (one, other) = _entered(2, most=0)
    one.waiting = 1 << 40
    assert not account.is_full()
    assert account.reserve(other, 1 << 40, 0.0)


@pytest.mark.parametrize(("size", "there"), [(50, True), (51, False)])
def test_what_is_reserved_and_what_waits_count_together(size: int, there: bool) -> None:
    account, (one, two, three) = _entered(3)
    one.waiting = 20
    assert account.reserve(two, 30, 0.0)
    assert account.reserve(three, size, 0.0) is there


def test_a_reader_reserves_instead_of_what_it_had_reserved() -> None:
    account, (one,) = _entered(1)
    assert account.reserve(one, 90, 0.0)
    assert account.reserve(one, 100, 0.0)


def test_more_than_all_room_may_wait_alone() -> None:
    account, (one, other) = _entered(2)
    assert account.reserve(one, 1_000, 0.0)
    assert not account.reserve(other, 1, 0.0)


def test_a_thread_waits_until_another_reader_releases() -> None:
    account, (one, other) = _entered(2)
    account.reserve(one, 90, 0.0)
    thread, found = _in_thread(account, other, 90)
    account.release(one)
    thread.join(DEADLINE)
    assert found == [True]


def test_a_thread_waits_until_bytes_are_sent() -> None:
    account, (one, other) = _entered(2)
    one.waiting = 90
    thread, found = _in_thread(account, other, 90)
    one.waiting = 0
    account.freed()
    thread.join(DEADLINE)
    assert found == [True]


def test_each_thread_that_finds_room_lets_the_next_one_look() -> None:
    account, (one, two, three) = _entered(3)
    account.reserve(one, 100, 0.0)
    first, found = _in_thread(account, two, 50)
    last = threading.Thread(target=lambda: found.append(account.reserve(three, 50, DEADLINE)), daemon=True)
    last.start()
    eventually(lambda: len(account._queue) == 2, lambda: "not both threads wait")
    account.release(one)
    for thread in (first, last):
        thread.join(DEADLINE)
    assert found == [True, True]


def test_a_reader_that_leaves_ends_the_wait_of_its_own_thread() -> None:
    account, (one, other) = _entered(2)
    account.reserve(one, 90, 0.0)
    thread, found = _in_thread(account, other, 90)
    account.leave(other)
    thread.join(DEADLINE)
    assert found == [False]


def test_a_reader_that_leaves_makes_room() -> None:
    account, (one, other) = _entered(2)
    one.waiting = 90
    thread, found = _in_thread(account, other, 90)
    account.leave(one)
    thread.join(DEADLINE)
    assert found == [True]


def test_an_address_is_forgotten_when_its_last_reader_has_left() -> None:
    waiting_bytes, one, other = WaitingBytes(100), Peer(), Peer()
    accounts = [waiting_bytes.enter("10.0.0.1", peer) for peer in (one, other)]
    waiting_bytes.enter("10.0.0.2", Peer())
    assert accounts[0] is accounts[1]
    for peer in (one, one, other):  # to leave twice is to leave once
        accounts[0].leave(peer)
    assert len(waiting_bytes) == 1
