"""Floor 3: entries as PUBLISH packets: as JSON, as text or both, at the QoS and in the version of a subscriber.

All readers of a channel whose encodings have the same key are sent the same bytes. That holds for QoS 1, too, as packet
identifiers are made from the entry's number in the journal: odd ones for JSON, even ones for text. The lowest two are
for requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from wire.frames import Entry
from wire.jsonlines import JsonLines
from wire.limits import Limits
from wire.mqtt import Publisher
from wire.topics import Topics, partner, text_payloads

# Packet identifiers of the mirror's requests. RabbitMQ 3.10 goes on counting at the number of a SUBSCRIBE for its own
# packets, and its session crashes if that leads it to a packet that is in flight: {key_exists,1} after 0xFFFF.
SUBSCRIBE_ID, UNSUBSCRIBE_ID = 1, 2

SPAN = 32_766  # journal numbers whose packet identifiers are all different

_LARGEST = 6  # bytes of an entry's JSON for a byte of its text, at most: \u0001
_AROUND = 1_024  # bytes of an entry's packet beside its text, at most

_publisher = lru_cache(maxsize=4096)(Publisher)


def packet_ids(seq: int, count: int, *, text: bool) -> Sequence[int]:
    """Return the packet identifiers of `count` entries, the last of which has number `seq` in the journal."""
    offset = UNSUBSCRIBE_ID + (2 if text else 1)
    first = (seq - count + 1) % SPAN
    if first + count <= SPAN:
        return range(2 * first + offset, 2 * (first + count) + offset, 2)
    return [2 * (number % SPAN) + offset for number in range(seq - count + 1, seq + 1)]


def largest_packet(limits: Limits) -> int:
    """Return the size in bytes of the largest packet that an entry can become."""
    return _LARGEST * limits.line + _AROUND


class PublishEncoding:
    """The PUBLISH packets of one kind of log for one kind of subscriber.

    `json_qos` and `text_qos` are the QoS of each form; None: that form is not sent.

    `me` is the client's name as it writes it; it is set for private logs only, whose topics differ by reader.
    `limit` is the client's Maximum Packet Size, 0 if it takes every entry. `without` is the sender whose entries a No
    Local subscriber does not get. `even` gives JSON the packet identifiers of text, for the second of two encodings
    without text that go to one peer. `forms` is the number of packets for each entry that the client acknowledges, and
    `at_qos_1` is True if it acknowledges any.
    """

    __slots__ = (
        "_even", "_limit", "_me", "_topics", "_version", "_without", "at_qos_1", "forms", "json_qos", "key",
        "text_qos",
    )  # fmt: skip

    def __init__(
        self, topics: Topics, version: int, json_qos: int | None, text_qos: int | None, *,
        me: str = "", limit: int = 0, without: str = "", even: bool = False,
    ) -> None:  # fmt: skip
        self._topics = topics
        self._version = version
        self.json_qos = json_qos
        self.text_qos = text_qos
        self._me = me
        self._limit = limit
        self._without = without
        self._even = even
        self.forms = bool(json_qos) + bool(text_qos)
        self.at_qos_1 = self.forms > 0
        self.key = f"mqtt {version} {json_qos} {text_qos} {me} {limit} {without} {even}"

    def encode_entries(self, entries: Sequence[Entry], seq: int = 0, *, past: bool = False, dup: bool = False) -> bytes:
        """Return PUBLISH packets: all entries as JSON, then as text. `dup`: they may have been sent before."""
        if self._limit or self._without:
            return self._encode_some(entries, seq, dup=dup)
        pieces: list[bytes] = []
        entry = entries[0]
        if self.json_qos is not None:
            payloads = JsonLines.encode_entries(entries).split(b"\n")
            payloads.pop()
            pieces.append(self._publish(self._topic(entry), payloads, seq, self.json_qos, text=self._even, dup=dup))
        if self.text_qos is not None:
            payloads = text_payloads(entries)
            topic = self._topics.channel_text(entry.channel or "")
            pieces.append(self._publish(topic, payloads, seq, self.text_qos, text=True, dup=dup))
        return b"".join(pieces)

    def _topic(self, entry: Entry) -> str:
        if entry.channel is not None:
            return self._topics.channel(entry.channel)
        return self._topics.message(self._me, partner(entry, self._me) or "")

    def _publish(self, topic: str, payloads: list[bytes], seq: int, qos: int, *, text: bool, dup: bool) -> bytes:
        publisher = _publisher(topic, self._version, qos)
        if not qos:
            return publisher.encode(payloads)
        return publisher.encode_with_ids(payloads, packet_ids(seq, len(payloads), text=text), dup=dup)

    def _encode_some(self, entries: Sequence[Entry], seq: int, *, dup: bool) -> bytes:
        """Encode entry by entry, without those that this client must not get."""
        return b"".join([packet for _, packets in self._kept(entries, seq, dup=dup) for _, packet in packets])

    def _kept(
        self, entries: Sequence[Entry], seq: int, *, dup: bool = False
    ) -> list[tuple[bool, list[tuple[Entry, bytes]]]]:
        """Return, by form (True: text), the entries that this client may get ([MQTT-3.1.2-24], [MQTT-3.8.3-3])."""
        forms: list[tuple[bool, list[tuple[Entry, bytes]]]] = []
        for text, json, qos in ((False, self.json_qos, self.json_qos), (True, None, self.text_qos)):
            if qos is None:
                continue
            encoding = PublishEncoding(
                self._topics, self._version, json, qos if text else None, me=self._me, even=self._even
            )
            packets = [
                (entry, encoding.encode_entries([entry], at, dup=dup))
                for at, entry in enumerate(entries, seq - len(entries) + 1)
                if entry.sender != self._without
            ]
            forms.append((text, [pair for pair in packets if not self._limit or len(pair[1]) <= self._limit]))
        return forms

    def expected(self, entries: Sequence[Entry], seq: int) -> list[tuple[Sequence[int], Sequence[int]]]:
        """Return what the client will acknowledge, in order: packet identifiers and the numbers of their entries.

        The list has a pair for each form that is acknowledged.
        """
        first, count = entries[0].number, len(entries)
        pairs: list[tuple[Sequence[int], Sequence[int]]] = []
        if not self._limit and not self._without:
            if self.json_qos:
                pairs.append((packet_ids(seq, count, text=self._even), range(first, first + count)))
            if self.text_qos:
                pairs.append((packet_ids(seq, count, text=True), range(first, first + count)))
            return pairs
        start = seq - count + 1
        for text, kept in self._kept(entries, seq):
            if self.text_qos if text else self.json_qos:
                numbers = [entry.number for entry, _ in kept]
                ids = [packet_ids(start + number - first, 1, text=text or self._even)[0] for number in numbers]
                pairs.append((ids, numbers))
        return pairs
