"""Floor 3: the reader of one user on the broker; it sends by the one connection that all of them share."""

from __future__ import annotations

from collections.abc import Sequence

from channels import Log, WaitingBytes
from wire.dialect import Encoding
from wire.frames import Frame, Gap

from .sender import MirrorSender


class UserReader:
    """A SessionReader and a Recipient. The broker gets every channel, so only private logs are followed for a user."""

    __slots__ = ("_sender", "acknowledged", "closed", "dialect", "me", "user_key")

    def __init__(self, sender: MirrorSender, dialect: Encoding, me: str) -> None:
        """`me` is the user's name as the client on the broker writes it."""
        self._sender = sender
        self.acknowledged: dict[Log, int] = {}
        self.closed = False
        self.dialect = dialect
        self.me = me
        self.user_key = ""

    def count_for(self, waiting_bytes: WaitingBytes, address: str) -> None:
        """No-op: the server does not know the user's address."""

    def hold(self) -> None:
        """No-op: nobody knows the user before its session has entered."""

    def begin(self, starts: Sequence[tuple[Log, int, int | None]]) -> None:
        """Follow these logs."""
        for log, after, _ in starts:
            self.follow(log, after)

    def follow(self, log: Log, after: int, acknowledged: int | None = None) -> None:
        """Publish a private log for the user, after number `after`."""
        if log.channel is None:
            self._sender.follow_private(log, self, after)

    def membership_ended(self, log: Log) -> None:
        """No-op: the broker gets every channel, whoever is a member."""

    def follows(self, log: Log) -> bool:
        """Return True if the broker gets the log."""
        return log.channel is not None or self._sender.follows_private(log, self)

    def acknowledge(self, log: Log, number: int) -> int | None:
        """Return how far to move the user's stored cursor: to what the client says it has seen."""
        return min(number, log.tail)

    def newly_read(self) -> tuple[list[tuple[Log, int]], bool]:
        """Return nothing: the broker acknowledges what it has."""
        return [], False

    def gap(self, log: Log, after: int, to: int) -> Gap:
        """Return the notice that the entries after number `after`, up to `to`, are left out."""
        return Gap(first=after + 1, last=to, channel=log.channel, user=log.partner(self.user_key))

    def reply(self, frame: Frame) -> None:
        """Send an answer."""
        data, payload = self.dialect.encode_apart(frame)
        if data:
            self.reply_bytes(data, payload)

    def reply_bytes(self, data: bytes, payload: bytes = b"") -> None:
        """Send encoded answers."""
        if not self.closed:
            self._sender.send(data + payload)

    def notify(self, frame: Frame, log: Log | None = None) -> None:
        """Send a notice."""
        self.reply_bytes(self.dialect.encode(frame))

    def wait_for_room(self, limit: int, timeout: float | None = None) -> bool:
        """Wait for the connection that all users share; return True."""
        self._sender.wait_for_room()
        return True

    def wait_for_page(self) -> None:
        """Wait for the connection that all users share."""
        self._sender.wait_for_room()

    def reserve(self, size: int) -> bool:
        """Return True: the connection that all users share has its own limit."""
        return True

    def release(self) -> None:
        """No-op: see `reserve`."""

    def wait_until_level(self, timeout: float) -> None:
        """No-op: the connection outlives the user."""

    def peer_has_ended(self) -> bool:
        """Return False: the mirror ends the user's session."""
        return False

    def is_broken(self) -> bool:
        """Return False: the connection outlives the user."""
        return False

    def hang_up(self) -> None:
        """No-op: the connection is not this user's alone."""

    def close(self) -> None:
        """Send nothing more."""
        self.closed = True
        self._sender.drop_recipient(self)
