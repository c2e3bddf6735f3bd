"""Notices survive the way as text, in order, in messages of a bounded size."""

from __future__ import annotations

import msgspec
import pytest

from channels.ring import Came, Joined, LookAgain, Moved, Notice, Wanted, Went, channel_ids
from channels.ring.notices import decode, encode
from store import MESSAGE

EACH: list[Notice] = [
    Moved([(7, 42, ""), (9, 3, "alice:bob")]),
    Joined(7, "alice", "Alice"),
    Came(3, "alice", "Alice", "socket", "::1", 1, [7, 8], [(2, 9)]),
    Went(3, "alice"),
    Wanted(2, "alice"),
    LookAgain(),
]


def test_notices_survive_the_way() -> None:
    ((message, count),) = encode(EACH)
    assert count == len(EACH)
    assert [msgspec.json.encode(each) for each in decode(message)] == [msgspec.json.encode(each) for each in EACH]


def test_many_notices_become_several_messages_in_order() -> None:
    notices = [Joined(number, "a" * 32, "A" * 32) for number in range(1_000)]
    messages = list(encode(notices))
    assert len(messages) > 5
    assert all(len(message.encode()) <= MESSAGE for message, _ in messages)
    assert sum(count for _, count in messages) == 1_000
    assert [each.log for message, _ in messages for each in decode(message) if isinstance(each, Joined)] == [
        *range(1_000)
    ]


def test_the_largest_notices_fit_into_a_message() -> None:
    name = "x" * 32
    most = channel_ids(range(10**11, 10**11 + 200))
    came = Came(2**53, name, name, "socket", "f" * 45, 2**53, most, [(2**53, 2**53)])
    moved = Moved([(2**40, 2**40, "x" * 65)] * 50)
    assert [count for _, count in encode([came, moved])] == [1, 1]
    assert all(len(message) <= MESSAGE for message, _ in encode([came, moved]))
    assert channel_ids(range(201)) is None


def test_what_a_newer_server_tells_is_no_message() -> None:
    with pytest.raises(msgspec.DecodeError):
        decode('[["teleported",1]]')
