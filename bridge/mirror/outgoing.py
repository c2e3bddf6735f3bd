"""Floor 3: what the mirror reads: every channel, and the direct conversations of those who are on the broker.

It is the reader of one connection to the broker, like that of an MQTT client, with the broker's PUBACKs in place of the
client's. A conversation between two people on the broker is sent to each of them, from where each has come to.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from bridge.clients import MqttReader, PublishEncoding, largest_packet
from channels.log import Block, Log
from channels.reader import Outlet
from store import Batch, Entries
from wire.frames import Entry, Frame
from wire.limits import Limits
from wire.mqtt import Properties
from wire.topics import Topics

_STUCK = 16  # times the limit of bytes that may wait: a broker that takes nothing is as good as gone
_NO_LAG = 1 << 62  # entries: the broker is told of everything, however long it was away


class Half(Log):
    """A direct conversation as one of the two reads it: the entries are those of the `whole` log."""

    __slots__ = ("me", "user_key", "whole")

    def __init__(self, whole: Log, user_key: str, me: str) -> None:
        """`me` is the user's name as that client writes it."""
        super().__init__(whole.row)
        self.whole = whole
        self.user_key = user_key
        self.me = me

    def following(self, store: Entries, after: int, limit: int) -> list[Batch]:
        """See `Log.following`."""
        return self.whole.following(store, after, limit)

    def encoding(self, topics: Topics, version: int, limit: int) -> PublishEncoding:
        """How that one gets it. The two of them have packet identifiers of their own, as JSON and text have."""
        second = not self.row.key.startswith(f"{self.user_key}:")
        return PublishEncoding(topics, version, 1, None, me=self.me, limit=limit, even=second)


class _Silence:
    """The dialect of what nobody on the broker is told: who comes and goes in channels, and the like."""

    key = "mirror"
    acknowledges = True
    shows_time = False
    free_text = False

    @staticmethod
    def encode(_frame: Frame) -> bytes:
        """Nothing."""
        return b""

    @staticmethod
    def encode_apart(_frame: Frame) -> tuple[bytes, bytes]:
        """Nothing."""
        return b"", b""

    @staticmethod
    def encode_entries(entries: Sequence[Entry], seq: int = 0, *, past: bool = False) -> bytes:
        """Entries go out in an encoding."""
        raise AssertionError("entries go out in an encoding")


class MirrorReader(MqttReader[Log]):
    """All channels as JSON and as text, and halves of direct conversations, at QoS 1."""

    told_last = True  # nobody on a door is to wait for it
    __slots__ = ("_halves",)

    def __init__(self, outlet: Outlet, topics: Topics, version: int, limits: Limits, told: Properties) -> None:
        """`told` is what the broker's CONNACK says that it can take."""
        limit = told.maximum_packet_size or 0
        limit = 0 if limit >= largest_packet(limits) else limit
        one_at_a_time = told.receive_maximum == 1  # an entry is two packets, and both could not be in flight
        channels = PublishEncoding(topics, version, 1, 0 if one_at_a_time else 1, limit=limit)

        def encoding_of(log: Log) -> PublishEncoding:
            return log.encoding(topics, version, limit) if isinstance(log, Half) else channels

        super().__init__(outlet, _Silence(), encoding_of, limits.backlog)
        if told.receive_maximum:
            self.limit_flight(told.receive_maximum)
        self._halves: dict[Log, list[Half]] = {}  # by the whole log

    @property
    def in_flight(self) -> int:
        """Packets that the broker has not acknowledged."""
        return self._in_flight

    @property
    def window(self) -> int:
        """How many packets may be in flight."""
        return self._window

    def follow_half(self, whole: Log, user_key: str, me: str, after: int) -> None:
        """Send a direct conversation to one of the two, from after number `after` on. No harm if that is so already."""
        with self._lock:
            halves = self._halves.setdefault(whole, [])
            if self._closed or any(half.user_key == user_key for half in halves):
                return
            half = Half(whole, user_key, me)
            halves.append(half)
        whole.attach(self)
        with self._lock:
            half.tail = whole.tail
        self.follow(half, after)

    def has_half(self, whole: Log, user_key: str) -> bool:
        """Whether a direct conversation is sent to that one of the two."""
        return any(half.user_key == user_key for half in self._halves.get(whole, ()))

    def drop_halves(self, user_key: str) -> None:
        """Send a user nothing more, who has left the broker."""
        with self._lock:
            for whole, halves in self._halves.items():
                for half in halves:
                    if half.user_key == user_key:
                        for kept in (self._cursors, self._acknowledged, self._encodings, self._resent, self._moved):
                            kept.pop(half, None)
                self._halves[whole] = [half for half in halves if half.user_key != user_key]

    def offer(self, log: Log, block: Block) -> None:
        """Send a new block to the broker; of a direct conversation, to each of the two who is there."""
        if log.channel is not None:
            super().offer(log, block)
            return
        with self._lock:
            halves = list(self._halves.get(log, ()))
            for half in halves:
                half.tail = block.last
        for half in halves:
            super().offer(half, block)

    def walk(self, store: Entries, limits: Limits) -> None:
        """Go on towards the tails; nothing is left out."""
        super().walk(store, msgspec.structs.replace(limits, lag=_NO_LAG))

    def reply_bytes(self, data: bytes, payload: bytes = b"") -> None:
        """Send what is no entry, after whatever waits already; a broker that takes nothing is given up."""
        super().reply_bytes(data, payload)
        if self._waiting > _STUCK * self._most:
            self._outlet.hang_up()

    def close(self) -> None:
        """Read nothing more."""
        super().close()
        for whole in list(self._halves):
            whole.detach(self)
