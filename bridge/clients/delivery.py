"""Floor 3: the delivery of entries to one MQTT client: sent as PUBLISH packets, acknowledged by PUBACKs.

At QoS 1 the reader is behind not only when its socket is full, but also when the client has as many packets in flight
as it may have. Then its next PUBACK lets the pump walk on. No packet is queued: of a packet in flight the reader keeps
its numbers, and the log has its text.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from channels import Block, Outlet, ReadableLog, Reader
from store import Batch, Entries
from wire.dialect import Encoding
from wire.limits import Limits

from .encoding import SPAN, PublishEncoding

L = TypeVar("L", bound=ReadableLog)

WINDOW = 16_384  # packets in flight to a client without a Receive Maximum; less than SPAN
_PAGE = 256  # entries read from the store at once
_TURN = 16  # pages sent to one client before the pump turns to the next one
_LONG = 16_384  # bytes of a packet that is dropped if too many bytes wait for the address
_RUN = 256  # acknowledgements compared at once


@dataclass(slots=True)
class _Flight(Generic[L]):
    """The packets of one form of one batch, by their packet identifiers; `ids[at]` is the first unacknowledged one.

    `numbers` are the entries' numbers in the log. Their numbers in the journal are greater than `low` and at most
    `high`. `last` is the number that the log's cursor moves to when all packets are acknowledged; 0 if the packets of
    another form follow.
    """

    log: L
    ids: Sequence[int]
    numbers: Sequence[int]
    low: int
    high: int
    last: int
    at: int = 0


class MqttReader(Reader[L]):
    """A reader with an encoding for each log, which follows what the client has subscribed to.

    `encoding_of` returns a log's encoding, None if no subscription matches it. It is called with the lock held, so that
    the last change of the subscriptions counts, and must take no lock.
    """

    __slots__ = (
        "_drop_above",
        "_early",
        "_encoding_of",
        "_encodings",
        "_flights",
        "_high",
        "_in_flight",
        "_low",
        "_moved",
        "_resent",
        "_starts",
        "_unread",
        "_window",
    )  # fmt: skip

    def __init__(
        self, outlet: Outlet, dialect: Encoding, encoding_of: Callable[[L], PublishEncoding | None], backlog: int
    ) -> None:
        """`backlog` is the number of unsent bytes above which `send_or_drop` drops messages."""
        super().__init__(outlet, dialect)
        self._encoding_of = encoding_of
        self._drop_above = backlog
        self._encodings: dict[L, PublishEncoding] = {}  # of every log that has a cursor
        self._flights: deque[_Flight[L]] = deque()
        self._in_flight = 0  # packets
        self._low = 0  # at most the lowest `low` of the flights
        self._high = 0  # at least the highest `high` of the flights
        self._early: set[int] = set()  # packet identifiers acknowledged before those sent earlier
        self._moved: dict[L, int] = {}  # cursors moved by acknowledgements, until `take_pubacks` returns them
        self._starts: dict[L, tuple[int, int]] = {}  # by channel: the cursor to begin at, and its `_resent`
        self._resent: dict[L, int] = {}  # an earlier connection may have sent entries up to this number
        self._window = WINDOW
        self._unread = False  # an entry of a private log was sent at QoS 0 since the last `newly_read`

    def limit_flight(self, receive_maximum: int) -> None:
        """Limit the packets in flight to the client's Receive Maximum (5 §3.1.2.11.3)."""
        self._window = min(receive_maximum, WINDOW)

    def _place_locked(self, log: L, after: int, acknowledged: int | None) -> bool:
        """Read a log that a subscription matches. `after` counts for a private log only.

        A channel is read from where `resume` has set, else from its tail: membership and subscription are independent.
        """
        encoding, resent = self._encoding_of(log), 0
        if log.channel is not None:
            after, resent = self._starts.pop(log, (log.tail, 0))
        else:  # the client may have acknowledged more since the caller has read the stored cursor
            had = self._acknowledged.get(log, 0)
            acknowledged = max(after if acknowledged is None else acknowledged, had)
            after = max(after, had)
        if encoding is None or not super()._place_locked(log, after, acknowledged):
            return False
        self._encodings[log], self._resent[log] = encoding, resent
        return True

    def resume(self, log: L, after: int, resent: int = 0) -> None:
        """Read a channel from the entry after number `after`. Entries up to `resent` are sent as duplicates."""
        with self._lock:
            self._starts[log] = after, resent
        self.follow(log, after)

    def membership_ended(self, log: L) -> None:
        """Read a channel as the subscriptions have it now: to leave it ends no subscription."""
        self.refresh(log)

    def drop(self, log: L) -> None:
        """Forget a channel that has left the store. It never had an entry."""
        with self._lock:
            for kept in (self._cursors, self._acknowledged, self._encodings, self._resent, self._starts):
                kept.pop(log, None)
        log.detach(self)

    def refresh(self, log: L) -> None:
        """Read a log as the subscriptions have it now; stop reading it if none of them matches."""
        with self._lock:
            encoding = self._encoding_of(log)
            if encoding is not None:
                self._encodings[log] = encoding
                self._unread = self._unread or log.channel is None
                return
            self._encodings.pop(log, None)
            self._cursors.pop(log, None)
        log.detach(self)

    def reads_at_qos_1(self, log: L) -> bool:
        """Return True if the log is read at QoS 1."""
        with self._lock:
            return self._at_qos_1_locked(log)

    def _at_qos_1_locked(self, log: L) -> bool:
        encoding = self._encodings.get(log)
        return encoding is not None and encoding.at_qos_1

    def newly_read(self) -> tuple[list[tuple[L, int]], bool]:
        """Return the private logs, with numbers, that a client at QoS 0 has read further since the last call.

        Its machine has acknowledged all that was sent; else the list is empty and the second value True.
        """
        if not self._unread:
            return [], False
        with self._lock:
            if self._waiting or self._outlet.unacknowledged():
                return [], True
            moved = [
                (log, number)
                for log, number in self._cursors.items()
                if number > self._acknowledged.get(log, 0) and log.channel is None and not self._at_qos_1_locked(log)
            ]
            self._acknowledged.update(moved)
            self._unread = False
            return moved, False

    def sent(self) -> dict[int, int]:
        """Return the number up to which each log has been sent, by the log's id."""
        with self._lock:
            return {log.row.id: number for log, number in self._cursors.items()}

    def send_or_drop(self, data: bytes) -> None:
        """Send a packet that is no entry, after everything that waits; drop it if more than `backlog` bytes wait.

        Drop a long packet, and one for a client that is behind, if too many bytes wait for the address.
        """
        with self._lock:
            if self._held is not None or self._waiting > self._drop_above:
                return
            if (self._waiting or len(data) > _LONG) and self._is_full():
                return
            self._send_locked(data)

    def offer(self, log: L, block: Block) -> None:
        """Send a new block, if the reader is level and has room in flight. One thread at a time calls it for a log."""
        with self._lock:
            if self._behind or self._closed:
                return
            cursor = self._cursors.get(log)
            if cursor is None or cursor >= block.last:
                return
            encoding = self._encodings[log]
            fits = not encoding.at_qos_1 or (self._room_locked(block.batches) >= encoding.forms * (block.last - cursor))
            if cursor + 1 != block.first or not fits:
                self._fall_behind_locked()
                return
            data = block.encoded(encoding)
            self._cursors[log] = block.last
            if not encoding.at_qos_1:
                self._unread = self._unread or log.channel is None
            else:
                for batch in block.batches:
                    self._fly_locked(log, encoding, batch)
            taken = self._outlet.transmit(data, answered=encoding.at_qos_1)  # no backlog: the reader is level
            if taken < len(data):
                self._keep_locked(data, taken, shared=True)

    def _room_locked(self, batches: Sequence[Batch]) -> int:
        """Return how many more packets may be in flight, if these batches are to be among them."""
        first = batches[0].seq - len(batches[0].entries)
        last = batches[-1].seq
        if len(batches) > 1:  # not ascending if several servers have written them
            first = min([batch.seq - len(batch.entries) for batch in batches])
            last = max([batch.seq for batch in batches])
        if not self._flights:
            self._low, self._high = first, last
        elif max(self._high, last) - min(self._low, first) > SPAN:
            # A packet identifier could be in flight twice: compute the exact span. It is not computed again soon.
            self._low = min(flight.low for flight in self._flights)
            self._high = max(flight.high for flight in self._flights)
            if max(self._high, last) - min(self._low, first) > SPAN // 4 * 3:
                return 0
        return self._window - self._in_flight if last - first <= SPAN else 0

    def _fly_locked(self, log: L, encoding: PublishEncoding, batch: Batch) -> None:
        """Note the packets of a batch that the client will acknowledge, in the order in which they are sent."""
        pairs = encoding.expected(batch.entries, batch.seq)
        low, flights = batch.seq - len(batch.entries), self._flights
        self._low = min(self._low, low) if flights else low
        self._high = max(self._high, batch.seq) if flights else batch.seq
        for at, (ids, numbers) in enumerate(pairs):
            last = batch.last if at == len(pairs) - 1 else 0
            flights.append(_Flight(log, ids, numbers, low, batch.seq, last))
            self._in_flight += len(ids)
            if self._early:
                self._early.difference_update(ids)  # those acknowledgements were for other packets
        if not flights[0].ids:
            self._settle_locked()

    def walk(self, store: Entries, limits: Limits) -> None:
        """Send entries up to the tails, as far as the socket and the client's window allow. Called by the pump only."""
        for _ in range(_TURN):
            with self._lock:
                if self._closed or not self._flush_locked():
                    return
                log = self._next_locked()
                if log is None:
                    self._behind = any(cursor < log.tail for log, cursor in self._cursors.items())
                    if self._room is not None and not self._behind:
                        self._room[1].set()
                    return
                cursor, encoding, resent = self._cursors[log], self._encodings[log], self._resent.get(log, 0)
                room = self._window - self._in_flight if encoding.at_qos_1 else _PAGE
            if log.tail - cursor > limits.lag:
                self._skip(log, cursor, log.tail - limits.after_gap)
                continue
            page = _PAGE - cursor % _PAGE  # pages end at the same entries, wherever a client began
            limit = min(page, max(1, room // max(1, encoding.forms)), resent - cursor if cursor < resent else _PAGE)
            tail = log.tail
            batches = log.following(store, cursor, limit)
            if not batches or batches[0].first > cursor + 1:  # what is between them is damaged
                self._skip(log, cursor, batches[0].first - 1 if batches else tail)
                continue
            packets = self._encode(log, encoding, batches, dup=cursor < resent)
            with self._lock:
                if self._cursors.get(log) == cursor:
                    self._send_batches_locked(log, encoding, packets)
                    if self._cursors[log] == cursor:
                        return  # the window is full: the next acknowledgement goes on
        with self._lock:
            self._fall_behind_locked()

    def _next_locked(self) -> L | None:
        """Return a log with unsent entries that may be in flight."""
        for log, cursor in self._cursors.items():
            if cursor >= log.tail:
                continue
            encoding = self._encodings[log]
            if not encoding.at_qos_1 or not self._flights or self._in_flight + 2 <= self._window:
                return log
        return None

    @staticmethod
    def _encode(log: L, encoding: PublishEncoding, batches: Sequence[Batch], *, dup: bool) -> list[tuple[Batch, bytes]]:
        """Return the batches with their packets; clients that lag alike share the bytes."""
        pages, form = log.pages, f"{encoding.key} dup" if dup else encoding.key
        packets: list[tuple[Batch, bytes]] = []
        for batch in batches:
            key = (log, batch.first - 1, f"{form} {batch.last}")
            page = pages.find(key) if pages is not None else None
            data = encoding.encode_entries(batch.entries, batch.seq, dup=dup) if page is None else page[0]
            if pages is not None and page is None:
                pages.keep(key, data, batch.last)
            packets.append((batch, data))
        return packets

    def _send_batches_locked(self, log: L, encoding: PublishEncoding, packets: Sequence[tuple[Batch, bytes]]) -> None:
        pieces: list[bytes] = []
        cursor = self._cursors.pop(log)  # put back at the end, so that the other logs have their turn
        for batch, data in packets:
            if batch.first != cursor + 1:
                break  # the entries before it are damaged: the next turn skips them
            if encoding.at_qos_1 and self._flights and self._room_locked([batch]) <= 0:
                break
            if encoding.at_qos_1:
                self._fly_locked(log, encoding, batch)
            pieces.append(data)
            cursor = batch.last
        self._cursors[log] = cursor
        self._unread = self._unread or (log.channel is None and not encoding.at_qos_1)
        self._send_locked(b"".join(pieces))

    def _skip(self, log: L, cursor: int, to: int) -> None:
        self.reply(self.gap(log, cursor, to))
        with self._lock:
            if self._cursors.get(log) == cursor:
                self._cursors[log] = to

    def acknowledge(self, log: L, number: int) -> int | None:
        """Note that the user has seen a log's entries up to `number`, by a subscription or in its history.

        Return how far to move the user's cursor; None if it was moved so far before. In a private log, the
        other user is told of each move.
        """
        with self._lock:
            number = min(number, log.tail)
            if log.channel is None:
                if number <= self._acknowledged.get(log, 0):
                    return None
                self._acknowledged[log] = number
            return number

    def take_pubacks(self, ids: Sequence[int]) -> dict[L, int]:
        """Take the client's acknowledgements. Return the cursors that have moved since the last call."""
        with self._lock:
            at = 0
            while at < len(ids) and self._flights:
                at += self._land_locked(ids, at)
                self._settle_locked()
            if not self._flights:
                self._early.clear()  # these packets were never sent
            if self._behind and self._in_flight <= self._window // 2:
                self._outlet.when_writable()
            moved, self._moved = self._moved, {}
        return moved

    def _land_locked(self, ids: Sequence[int], at: int) -> int:
        """Take acknowledgements from `at` on, for the first flight or before their turn. Return how many were taken."""
        flight = self._flights[0]
        wanted = flight.ids[flight.at : flight.at + _RUN]
        if ids[at] != wanted[0]:
            if len(self._early) < WINDOW:
                self._early.add(ids[at])
            return 1
        given = ids[at : at + len(wanted)]
        count = len(given)
        if tuple(wanted[:count]) != tuple(given):
            count = next(n for n in range(count) if given[n] != wanted[n])
        flight.at += count
        self._in_flight -= count
        return count

    def _settle_locked(self) -> None:
        """Drop acknowledged packets in the order of sending, and note how far the cursors move."""
        flights = self._flights
        while flights:
            flight = flights[0]
            while self._early and flight.at < len(flight.ids) and flight.ids[flight.at] in self._early:
                self._early.discard(flight.ids[flight.at])
                flight.at += 1
                self._in_flight -= 1
            done = flight.at >= len(flight.ids)
            if flight.last and (done or flight.at):
                self._moved[flight.log] = flight.last if done else flight.numbers[flight.at - 1]
            if not done:
                return
            flights.popleft()
