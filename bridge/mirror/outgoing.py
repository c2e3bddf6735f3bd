"""Floor 3: the reader of the mirror: it publishes every channel, and the private logs of the users on the broker.

It is the reader of one connection to the broker, like that of an MQTT client, with the broker's PUBACKs in place of the
client's. A private log of two users on the broker is published for each of them, from that user's own cursor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from bridge.clients import MqttReader, PublishEncoding, largest_packet
from channels import Block, Log, Outlet
from store import Batch, Entries, LogRow
from wire.dialect import EntryEncoding
from wire.frames import Entry, Frame
from wire.limits import Limits
from wire.mqtt import Properties
from wire.topics import Topics

_STUCK = 16  # times the limit of unsent bytes after which the broker counts as dead
_NO_LAG = 1 << 62  # entries: the broker gets all of them, however long it was away


class Recipient(Protocol):
    """A user on the broker whose private logs are published: `me` is the name as the user's client writes it.

    `acknowledged` is how far the broker has acknowledged each private log since the user entered. `closed` is True once
    the user has left: it is set before `MirrorReader.drop_recipient` is called.
    """

    acknowledged: dict[Log, int]
    closed: bool
    me: str
    user_key: str


class UserLog:
    """A private log as one of its two users is sent it, so that it has a cursor of its own. A ReadableLog."""

    __slots__ = ("recipient", "row", "whole")

    channel = None
    pages = None

    def __init__(self, whole: Log, recipient: Recipient) -> None:
        self.whole = whole
        self.row: LogRow = whole.row
        self.recipient = recipient

    @property
    def tail(self) -> int:
        """The last committed number."""
        return self.whole.tail

    def partner(self, user_key: str) -> str | None:
        """Return the name of the partner of the user with that key."""
        return self.whole.partner(user_key)

    def attach(self, follower: object) -> None:
        """No-op: the reader follows the whole log, which may be there for both users."""

    def detach(self, follower: object) -> None:
        """No-op, as `attach`."""

    def recent(self, after: int, dialect: EntryEncoding, *, past: bool) -> tuple[bytes, int] | None:
        """See `ReadableLog.recent`."""
        return self.whole.recent(after, dialect, past=past)

    def following(self, store: Entries, after: int, limit: int) -> list[Batch]:
        """See `ReadableLog.following`."""
        return self.whole.following(store, after, limit)

    def oldest_recent(self) -> int:
        """See `ReadableLog.oldest_recent`."""
        return self.whole.oldest_recent()

    def encoding(self, topics: Topics, version: int, limit: int) -> PublishEncoding:
        """Return the encoding for this user. The log's second user gets the packet identifiers that text has."""
        second = not self.row.key.startswith(f"{self.recipient.user_key}:")
        return PublishEncoding(topics, version, 1, None, me=self.recipient.me, limit=limit, even=second)


class _NoNotices:
    """The encoding of notices, such as joins and leaves: the broker gets none of them."""

    key = "mirror"
    acknowledges = True
    shows_time = False
    free_text = False
    largest = 0

    @staticmethod
    def encode(_frame: Frame) -> bytes:
        return b""

    @staticmethod
    def encode_apart(_frame: Frame) -> tuple[bytes, bytes]:
        return b"", b""

    @staticmethod
    def encode_entries(entries: Sequence[Entry], seq: int = 0, *, past: bool = False) -> bytes:
        raise AssertionError("each log has an encoding of its own")


class MirrorReader(MqttReader[Log | UserLog]):
    """Publishes all channels as JSON and as text, and private logs as JSON, at QoS 1."""

    told_last = True  # clients of this server do not wait for the broker
    __slots__ = ("_recipients", "_user_logs")

    def __init__(self, outlet: Outlet, topics: Topics, version: int, limits: Limits, told: Properties) -> None:
        """`told` are the properties of the broker's CONNACK."""
        limit = told.maximum_packet_size or 0
        limit = 0 if limit >= largest_packet(limits) else limit
        one_at_a_time = told.receive_maximum == 1  # an entry is two packets, and both could not be in flight
        channels = PublishEncoding(topics, version, 1, 0 if one_at_a_time else 1, limit=limit)

        def encoding_of(log: Log | UserLog) -> PublishEncoding:
            return log.encoding(topics, version, limit) if isinstance(log, UserLog) else channels

        super().__init__(outlet, _NoNotices(), encoding_of, limits.backlog)
        if told.receive_maximum:
            self.limit_flight(told.receive_maximum)
        self._user_logs: dict[Log, tuple[UserLog, ...]] = {}  # by the whole log; changed under the lock
        self._recipients: dict[Recipient, dict[Log, UserLog]] = {}  # the same by user and whole log

    @property
    def in_flight(self) -> int:
        """The number of packets that the broker has not acknowledged."""
        return self._in_flight

    @property
    def window(self) -> int:
        """The number of packets that may be in flight."""
        return self._window

    def follow_private(self, whole: Log, recipient: Recipient, after: int) -> None:
        """Publish a private log for one of its users, after number `after`. No-op if it is published already.

        A thread that delivers the log calls it with a cursor that it has read from the store some time before. Since
        then, the broker may have acknowledged more, and the user may have left.
        """
        with self._lock:
            if self._closed or recipient.closed or self.follows_private(whole, recipient):
                return
            log = UserLog(whole, recipient)
            self._recipients.setdefault(recipient, {})[whole] = log
            self._user_logs[whole] = (*self._user_logs.get(whole, ()), log)
            self._place_locked(log, max(after, recipient.acknowledged.get(whole, 0)), None)
        self._attach_whole(log)

    def _attach_whole(self, log: UserLog) -> None:
        log.whole.attach(self)
        with self._lock:
            closed = self._closed
            if not closed and log.tail > self._cursors.get(log, log.tail):
                self._fall_behind_locked()
        if closed:  # by another thread meanwhile
            log.whole.detach(self)

    def follows_private(self, whole: Log, recipient: Recipient) -> bool:
        """Return True if the private log is published for that user."""
        return whole in self._recipients.get(recipient, ())

    def drop_recipient(self, recipient: Recipient) -> None:
        """Publish nothing more for a user who has left the broker."""
        with self._lock:
            dropped = self._recipients.pop(recipient, {})
            for whole, user_log in dropped.items():
                self._user_logs[whole] = tuple([log for log in self._user_logs[whole] if log is not user_log])
                if not self._user_logs[whole]:
                    del self._user_logs[whole]
                for kept in (self._cursors, self._acknowledged, self._encodings, self._resent):
                    kept.pop(user_log, None)
        for whole in dropped:
            self._detach_idle(whole)

    def _detach_idle(self, whole: Log) -> None:
        """Follow a private log no longer that no user on the broker has, so that it can leave memory."""
        if whole in self._user_logs:
            return
        whole.detach(self)
        for user_log in self._user_logs.get(whole, ()):  # another thread has had it published meanwhile
            self._attach_whole(user_log)

    def offer(self, log: Log | UserLog, block: Block) -> None:
        """Publish a new block; of a private log, for each of its users who is on the broker."""
        if log.channel is not None:
            super().offer(log, block)
            return
        assert isinstance(log, Log)
        for user_log in self._user_logs.get(log, ()):
            super().offer(user_log, block)

    def walk(self, store: Entries, limits: Limits) -> None:
        """Publish more entries on the way to the tails, without leaving any out."""
        super().walk(store, msgspec.structs.replace(limits, lag=_NO_LAG))

    def reply_bytes(self, data: bytes, payload: bytes = b"") -> None:
        """Send packets that carry no entry, after everything that waits. Hang up if far too much waits."""
        if self._waiting > _STUCK * self._drop_above:  # without these packets: one large answer is no reason
            self._outlet.hang_up()
        super().reply_bytes(data, payload)

    def close(self) -> None:
        """Send nothing more."""
        super().close()
        for whole in list(self._user_logs):
            whole.detach(self)
