"""PublishEncoding and Subscriptions, without a connection: packets of an entry, their identifiers and receivers."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.clients.encoding import SPAN, UNSUBSCRIBE_ID, PublishEncoding, packet_ids
from bridge.clients.filter_budget import FilterBudget
from bridge.clients.filter_tree import FilterTree
from bridge.clients.interest import Interest, InterestIndex
from bridge.clients.registry import ConnectedClient
from bridge.clients.subscriptions import Subscriptions
from channels.log import Log
from store import Account, LogRow
from tests.support.mqtt.samples import VERSIONS
from wire.frames import Entry
from wire.limits import Limits
from wire.mqtt import V5, V311, MqttPackets, Publish, Reason, Subscription, matches
from wire.topics import Topics

CHAT = Topics()
ALICE = Account("alice", "Alice", None, 0)
QOS = st.sampled_from([None, 0, 1])


def channel(name: str = "lab") -> Log:
    return Log(LogRow(1, "channel", name.lower(), name, "", "", 0))


def conversation(peer: str = "bob") -> Log:
    one, other = sorted(("Alice", peer), key=str.lower)
    return Log(LogRow(2, "direct", f"{one}:{other}".lower(), one, other, "", 0))


def entries(*texts: str, first: int = 1, sender: str = "bob") -> list[Entry]:
    return [Entry(number, 1_000, sender, text, "lab") for number, text in enumerate(texts, first)]


def parse(data: bytes, version: int) -> list[Publish]:
    items = MqttPackets(1 << 28, version=version).receive(data)
    assert all(isinstance(item, Publish) for item in items), items
    return items  # type: ignore[return-value]


def subscriptions() -> Subscriptions:
    client = cast("ConnectedClient", object())
    presence, channels = Interest(InterestIndex(), client), Interest(InterestIndex(), client)
    return Subscriptions(CHAT, Limits(), FilterBudget(Limits(), lambda key: None), presence, channels)


def subscribed(*filters: str | Subscription, me: str = "alice", version: int = V5, **options: Any) -> Subscriptions:
    made = subscriptions()
    made.open(version, me, ALICE, options.pop("limit", 0), **options)
    for each in filters:
        assert made.add(each if isinstance(each, Subscription) else Subscription(each, 1)) < 0x80
    return made


# Packet identifiers


@given(seq=st.integers(1, 10**12), count=st.integers(1, 1_000), text=st.booleans())
def test_packet_ids_are_legal_and_depend_on_the_journal_number_alone(seq: int, count: int, text: bool) -> None:
    ids = list(packet_ids(seq, count, text=text))
    assert len(ids) == count
    assert all(UNSUBSCRIBE_ID < each <= 0xFFFF for each in ids), "the lowest ones are for the mirror's requests"
    assert ids == [packet_ids(number, 1, text=text)[0] for number in range(seq - count + 1, seq + 1)]


def test_packet_ids_differ_within_the_span() -> None:
    for seq in (SPAN, 10 * SPAN + 5):
        both = [*packet_ids(seq, SPAN, text=False), *packet_ids(seq, SPAN, text=True)]
        assert len(set(both)) == 2 * SPAN


# Bytes


@given(
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), min_size=1, max_size=5),
    version=st.sampled_from(VERSIONS),
    qos_json=QOS,
    qos_text=QOS,
    seq=st.integers(10, 10**6),
    dup=st.booleans(),
    limit=st.sampled_from([0, 120]),
    without=st.sampled_from(["", "bob", "carol"]),
)
def test_expected_acknowledgements_are_those_of_the_packets_sent(
    texts: list[str], version: int, qos_json: int | None, qos_text: int | None, seq: int, dup: bool, limit: int,
    without: str,
) -> None:  # fmt: skip
    said = entries(*texts, first=3)
    encoding = PublishEncoding(CHAT, version, qos_json, qos_text, limit=limit, without=without)
    packets = parse(encoding.encode_entries(said, seq, dup=dup), version)
    acknowledged = [packet for packet in packets if packet.qos]
    expected = encoding.expected(said, seq)
    assert [packet.packet_id for packet in acknowledged] == [id for ids, _ in expected for id in ids]
    assert len(expected) == encoding.forms
    for ids, numbers in expected:
        assert len(ids) == len(numbers)
        assert list(numbers) == sorted(numbers)
    assert all(packet.dup == dup for packet in acknowledged)
    assert encoding.at_qos_1 == bool(qos_json or qos_text)
    if not limit and without != "bob":
        assert len(packets) == len(texts) * sum(qos is not None for qos in (qos_json, qos_text))
    in_json = [json.loads(packet.payload) for packet in packets if packet.topic == "chat/channels/lab"]
    assert [body["text"] for body in in_json] == [each.text for each in said if each.number in _numbers(in_json)]
    assert {packet.qos for packet in packets if packet.topic.endswith("/text")} <= {qos_text}
    if without == "bob":
        assert not packets


def _numbers(bodies: list[dict[str, Any]]) -> set[int]:
    return {body["number"] for body in bodies}


@pytest.mark.parametrize("version", VERSIONS)
def test_text_is_one_line_without_control_characters(version: int) -> None:
    encoding = PublishEncoding(CHAT, version, None, 0)
    packets = parse(encoding.encode_entries(entries("hello", "two\nlines", "\x1b[31mred\u202e"), 3), version)
    assert [packet.payload for packet in packets] == [b"bob: hello", b"bob: two\n    lines", b"bob: [31mred"]
    assert {packet.topic for packet in packets} == {"chat/channels/lab/text"}


@pytest.mark.parametrize(("sender", "to"), [("bob", "Alice"), ("Alice", "bob")])
def test_a_private_message_has_one_topic_for_both_directions(sender: str, to: str) -> None:
    """The topic has the client's name as the client writes it, not as the chat shows it."""
    encoding = PublishEncoding(CHAT, V5, 1, None, me="alice")
    [packet] = parse(encoding.encode_entries([Entry(1, 0, sender, "psst", None, to)], 1), V5)
    assert packet.topic == "chat/to/alice/msg/bob"


@pytest.mark.parametrize("limit", [0, 1_000])
def test_the_second_encoding_for_one_peer_has_the_packet_identifiers_of_text(limit: int) -> None:
    encoding = PublishEncoding(CHAT, V5, 1, None, me="alice", even=True, limit=limit)
    said = [Entry(number, 0, "bob", "psst", None, "alice") for number in (1, 2)]
    ids = list(packet_ids(9, 2, text=True))
    assert [packet.packet_id for packet in parse(encoding.encode_entries(said, 9), V5)] == ids
    assert [list(expected) for expected, _ in encoding.expected(said, 9)] == [ids]
    assert encoding.key != PublishEncoding(CHAT, V5, 1, None, me="alice", limit=limit).key


def test_packets_over_the_limit_are_not_sent() -> None:
    encoding = PublishEncoding(CHAT, V311, 1, 1, limit=150)
    said = entries("short", "x" * 100, "short, too")
    packets = parse(encoding.encode_entries(said, 3), V311)
    assert [packet.payload[:8] for packet in packets if packet.topic.endswith("/text")] == [
        b"bob: sho", b"bob: xxx", b"bob: sho",
    ]  # fmt: skip
    assert [json.loads(packet.payload)["number"] for packet in packets if packet.topic.endswith("lab")] == [1, 3]
    assert [numbers for _, numbers in encoding.expected(said, 3)] == [[1, 3], [1, 2, 3]]


# Subscriptions


@pytest.mark.parametrize(
    ("filters", "qos"),
    [
        ([], None),
        (["chat/channels/hall"], None),
        (["chat/channels/lab"], (1, None)),
        (["chat/channels/LAB"], None),
        (["chat/channels/lab/text"], (None, 1)),
        (["chat/channels/+"], (1, None)),
        (["chat/channels/+/text"], (None, 1)),
        (["chat/channels/#"], (1, 1)),
        (["#"], (1, 1)),
        (["+/+/lab"], (1, None)),
        (["chat/channels/lab/#"], (1, 1)),
        ([Subscription("chat/channels/lab", 2), Subscription("chat/channels/lab/text", 0)], (1, 0)),
        ([Subscription("#", 0), "chat/channels/lab"], (1, 0)),
        (["$SYS/#", "chat/presence/+"], None),
    ],
)
def test_qos_of_each_form_of_a_channel(
    filters: list[str | Subscription], qos: tuple[int | None, int | None] | None
) -> None:
    encoding = subscribed(*filters).encoding_of(channel())
    assert (None if encoding is None else (encoding.json_qos, encoding.text_qos)) == qos


@pytest.mark.parametrize(
    ("topic_filter", "reads"),
    [
        ("chat/to/alice/msg/bob", True),
        ("chat/to/alice/msg/+", True),
        ("chat/to/alice/#", True),
        ("chat/to/+/msg/bob", True),
        ("#", True),
        ("chat/to/alice/msg/carol", False),
        ("chat/to/alice/stored", False),
        ("chat/channels/#", False),
    ],
)
def test_filters_that_match_a_conversation(topic_filter: str, reads: bool) -> None:
    encoding = subscribed(topic_filter).encoding_of(conversation())
    assert (encoding is not None) is reads
    if encoding is not None:
        [packet] = parse(encoding.encode_entries([Entry(1, 0, "bob", "psst", None, "Alice")], 1), V5)
        assert packet.topic == "chat/to/alice/msg/bob"


@pytest.mark.parametrize(
    ("subscription", "reason"),
    [
        (Subscription("chat/channels/lab", 0), 0),
        (Subscription("chat/channels/lab", 1), 1),
        (Subscription("chat/channels/lab", 2), 1),
        (Subscription("$share/group/chat/channels/lab", 1), Reason.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED),
        (Subscription("$share/group/#", 1), Reason.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED),
        (Subscription("$share/group/chat/to/bob/#", 1), Reason.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED),
        (Subscription("chat/to/bob/#", 1), Reason.NOT_AUTHORIZED),
    ],
)
def test_reasons_of_a_suback(subscription: Subscription, reason: int) -> None:
    subscriptions = subscribed()
    assert subscriptions.add(subscription) == reason
    assert (subscriptions.get(subscription.filter) == subscription) is (reason < 0x80)


def test_the_number_of_filters_is_limited() -> None:
    subscriptions = subscribed(*[f"chat/{n}/+" for n in range(Limits().filters)])
    assert subscriptions.add(Subscription("one/more/#")) == Reason.QUOTA_EXCEEDED
    assert subscriptions.add(Subscription("chat/7/+", 1)) == 1, "an existing filter may be changed"
    assert subscriptions.remove("chat/3/+") == Reason.SUCCESS
    assert subscriptions.remove("chat/3/+") == Reason.NO_SUBSCRIPTION_EXISTED
    assert subscriptions.add(Subscription("one/more")) == 0


_level = st.sampled_from(["a", "b", "$c", "", "+"])
_some_filters = st.lists(_level, min_size=1, max_size=4).flatmap(
    lambda levels: st.sampled_from(["/".join(levels), "/".join([*levels[:-1], "#"])])
)


@given(
    steps=st.lists(st.tuples(st.booleans(), _some_filters.filter(bool)), max_size=12),
    topics=st.lists(st.lists(st.sampled_from(["a", "b", "$c", ""]), min_size=1, max_size=5).map("/".join), max_size=8),
)
def test_the_filter_tree_finds_what_matches_finds(steps: list[tuple[bool, str]], topics: list[str]) -> None:
    tree, plain = FilterTree(), dict[str, Subscription]()
    for adds, topic_filter in steps:
        if adds:
            plain[topic_filter] = Subscription(topic_filter, len(plain) % 3)
            tree.add(plain[topic_filter])
        elif topic_filter in plain:
            del plain[topic_filter]
            tree.remove(topic_filter)
    assert (tree.all(), len(tree)) == (list(plain.values()), len(plain))
    for topic in filter(bool, topics):
        wanted = sorted(key for key in plain if matches(key, topic))
        assert sorted(each.filter for each in tree.matching(topic)) == wanted
    for topic_filter in plain:
        assert topic_filter in tree
        tree.remove(topic_filter)
    assert tree._root.empty, "no level is left"
    assert tree.bytes == 0


@pytest.mark.parametrize(
    "topic_filter", ["{0:x}", "chat/presence/user{0}", "chat/channels/{0}/text", "{0}" + "/" * 31, "{0}" + "/+" * 31,
                     "é名" * 100 + "{0}", "😀/" * 30 + "{0}/#"]
)  # fmt: skip
def test_filters_take_no_more_memory_than_is_counted(topic_filter: str) -> None:
    for count in (50, 1_000):
        tracemalloc.start()
        made = subscriptions()
        start = tracemalloc.get_traced_memory()[0]
        for n in range(count):
            made.add(Subscription(topic_filter.format(n)))
        taken = tracemalloc.get_traced_memory()[0] - start
        tracemalloc.stop()
        assert taken <= made._filters.bytes < 5 * taken


def test_no_local_leaves_out_the_client_s_own_posts() -> None:
    quiet = Subscription("chat/#", 1, no_local=True)
    for log, mine, theirs in (
        (channel(), Entry(1, 0, "Alice", "mine", "lab"), Entry(1, 0, "bob", "theirs", "lab")),
        (conversation(), Entry(1, 0, "Alice", "mine", None, "bob"), Entry(1, 0, "bob", "theirs", None, "Alice")),
    ):
        encoding = subscribed(quiet).encoding_of(log)
        assert encoding is not None
        assert encoding.encode_entries([mine], 1) == b""
        assert b"theirs" in encoding.encode_entries([theirs], 1)
        loud = subscribed(quiet, "chat/channels/lab", "chat/to/alice/msg/bob").encoding_of(log)
        assert loud is not None
        assert b"mine" in loud.encode_entries([mine], 1), "the other subscription is without No Local"


def test_a_receive_maximum_of_1_makes_one_packet_of_an_entry() -> None:
    both = subscribed("#", one_at_a_time=True).encoding_of(channel())
    assert both is not None
    assert (both.json_qos, both.text_qos, both.forms) == (1, 0, 1)
    text = subscribed("chat/channels/+/text", one_at_a_time=True).encoding_of(channel())
    assert text is not None
    assert (text.json_qos, text.text_qos) == (None, 1)


def test_subscriptions_outlive_the_connection() -> None:
    options = Subscription("chat/to/alice/#", 1, no_local=True, retain_as_published=True, retain_handling=2)
    after = subscribed()
    kept = {each.filter: each.options for each in (options, Subscription("chat/channels/lab", 1))}
    assert after.restore(kept) == []
    assert after.matching("chat/to/alice/msg/bob") == [options]
    assert after.is_subscribed("chat/channels/lab")
    assert not after.is_subscribed("chat/channels/hall")
    bob = subscriptions()
    bob.open(V5, "bob", Account("bob", "bob", None, 0), 0)
    assert bob.restore(kept) == ["chat/to/alice/#"]
    assert not bob.is_subscribed("chat/to/alice/stored"), "a subscription to what the user may not read is not restored"


def test_clients_with_the_same_encoding_get_the_same_bytes() -> None:
    """A block is encoded once for all of them."""
    one = subscribed("chat/channels/+", me="alice").encoding_of(channel())
    other = subscribed("#", "chat/channels/lab", me="carol").encoding_of(channel())
    third = subscribed("chat/channels/lab", me="dave").encoding_of(channel())
    assert one is not None
    assert other is not None
    assert third is not None
    assert one.key == third.key != other.key
    said = entries("hello", "again")
    assert one.encode_entries(said, 9) == third.encode_entries(said, 9)
