"""The server encodes the entries that many readers missed once, and the memory of these pages has a bound in bytes."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.clients.encoding import PublishEncoding
from channels.encoded_pages import EncodedPages
from server import Server
from tests.support.clients import Json, Text
from tests.support.fixtures import StartServer
from tests.support.mqtt import MqttLine
from tests.support.stores.filled import fill
from wire.frames import Entry, Join, Say
from wire.jsonlines import JsonLines
from wire.limits import Limits
from wire.text import TextLines

MISSED = 300
READERS = 8

_SIZES = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3_000)), max_size=60)


@given(limit=st.integers(0, 20_000), pages=_SIZES)
def test_pages_take_no_more_memory_than_the_limit(limit: int, pages: list[tuple[int, int]]) -> None:
    kept = EncodedPages(limit)
    for number, size in pages:
        kept.keep(("lab", number, "json"), bytes(size), number + 1)
        assert kept.size <= limit
        assert kept.size >= sum(len(data) for data, _ in kept._pages.values())


def test_the_page_that_was_not_used_for_longest_goes_first() -> None:
    kept = EncodedPages(8_000)
    for number in range(4):
        kept.keep(("lab", number, "json"), bytes(1_500), number)
    assert kept.find(("lab", 0, "json")) == (bytes(1_500), 0)
    kept.keep(("lab", 4, "json"), bytes(1_500), 4)
    assert [number for _, number, _ in kept._pages] == [2, 3, 0, 4]
    assert kept.find(("lab", 1, "json")) is None
    assert kept.find(("lab", 0, "text")) is None, "another encoding"
    kept.keep(("lab", 5, "json"), bytes(3_000), 5)
    assert kept.find(("lab", 5, "json")) is None, "it would take the place of too many"


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[str, int]]:
    """Count how often each entry is encoded, by dialect and number."""
    found: Counter[tuple[str, int]] = Counter()

    def counted(kind: str, encode: Callable[..., bytes]) -> Callable[..., bytes]:
        def call(entries: Sequence[Entry], *rest: Any, **options: Any) -> bytes:
            found.update((kind, entry.number) for entry in entries)
            return encode(entries, *rest, **options)

        return call

    monkeypatch.setattr(TextLines, "encode_entries", staticmethod(counted("text", TextLines.encode_entries)))
    publish = PublishEncoding.encode_entries

    def encode(self: PublishEncoding, entries: Sequence[Entry], *rest: Any, **options: Any) -> bytes:
        found.update(("mqtt", entry.number) for entry in entries)
        return publish(self, entries, *rest, **options)

    monkeypatch.setattr(PublishEncoding, "encode_entries", encode)
    return found


@pytest.mark.parametrize("cache", [Limits().cache, 0], ids=["in memory", "in the store"])
def test_what_many_people_missed_is_encoded_once(
    start_server: StartServer, dial: Callable[..., Text], encoded: Counter[tuple[str, int]], cache: int
) -> None:
    server = start_server(limits=Limits(cache=cache or 1 << 20))
    people = [dial(server.address, f"user{n}") for n in range(READERS)]
    for person in people:
        person.send("/join lab", "exit")
        person.until_closed()
        person.close()
    _post_one_by_one(server, MISSED)
    if not cache:
        server.chat.journal._kept.clear()
        server.chat.known_channel("lab")._recent.clear()
    encoded.clear()
    for n in range(READERS):
        person = dial(server.address, f"user{n}")
        for number in (1, MISSED):
            assert f"number {number - 1}" in person.expect(f"number {number - 1}")
    assert set(encoded.values()) == {1}
    assert len(encoded) == MISSED


def test_what_many_devices_missed_is_encoded_once(
    server: Server, mqtt: Callable[..., MqttLine], encoded: Counter[tuple[str, int]]
) -> None:
    kept = {"clean": False, "version": 4}
    for n in range(READERS):
        with mqtt(server.address, f"oven{n}", **kept) as oven:
            oven.subscribe("chat/channels/lab")
    _post_one_by_one(server, MISSED)
    encoded.clear()
    for n in range(READERS):
        oven = mqtt(server.address, f"oven{n}", **kept)
        oven.hear("lab", f"number {MISSED - 1}")
        assert oven.texts("lab") == [f"number {n}" for n in range(MISSED)]
    assert set(encoded.values()) == {1}


def _post_one_by_one(server: Server, count: int) -> None:
    with Json(server.address, "poster") as poster:
        poster.request(Join("lab"))
        for n in range(count):
            poster.request(Say(f"number {n}", "lab"))


def test_the_cache_takes_as_much_memory_as_its_limit_says(
    start_server: StartServer, connect: Callable[..., Json], dial: Callable[..., Text], mqtt: Callable[..., MqttLine]
) -> None:
    """Lone posts took five times as much: their objects, and their encodings, were not counted."""
    limits = Limits(cache=1 << 20)
    server = start_server(limits=limits)
    alice, nick, oven = connect(server.address, "alice"), dial(server.address, "nick"), mqtt(server.address, "oven")
    alice.request(Join("lab"))
    nick.send("/join lab")
    nick.expect("You are in lab")
    oven.subscribe("chat/channels/lab")
    for n in range(1_500):
        alice.request(Say(f"number {n}", "lab"))
    nick.expect("number 1499")
    fill(server, 1, "é" * 200)
    journal, taken = server.chat.journal, 0
    seen: set[int] = set()
    for _, block in journal._kept:
        taken += _deep_size(block, seen)
    limit = limits.cache - limits.cache_of_pages
    assert taken < limit, f"{taken} bytes of objects, {limit} are allowed"
    assert taken > limit // 2, "it is used"
    assert len(journal._kept) > 300
    assert server.chat._pages.size <= limits.cache_of_pages


def _deep_size(each: Any, seen: set[int]) -> int:
    """Return the bytes of an object and of what it alone refers to: of blocks, batches, entries and their encodings."""
    if id(each) in seen:
        return 0
    seen.add(id(each))
    return sys.getsizeof(each) + sum(_deep_size(part, seen) for part in _parts(each))


def _parts(each: Any) -> Iterator[Any]:
    if isinstance(each, dict):
        yield from each.values()
    elif isinstance(each, list | tuple):
        yield from each
    elif isinstance(each, msgspec.Struct):
        yield from (getattr(each, name) for name in each.__struct_fields__)
    elif type(each).__name__ in ("Block", "Batch"):
        yield from (getattr(each, name) for name in type(each).__slots__ if name not in ("log", "_encodings"))


def test_a_lone_post_is_kept_in_bytes_of_its_length(server: Server, connect: Callable[..., Json]) -> None:
    """The encoder returns a buffer of a kilobyte for a line of a hundred bytes."""
    alice = connect(server.address, "alice")
    alice.request(Join("lab"))
    alice.request(Say("hello", "lab"))
    alice.expect(Entry)
    (_, block) = server.chat.journal._kept[-1]
    (data,) = (block._encoded or {}).values()
    assert data == JsonLines.encode_entries(block.batches[0].entries)
    assert data is not block.encode(JsonLines())
