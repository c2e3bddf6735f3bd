"""Floor 2: the reader of a connection, as sessions, the chat and the file requests see it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from wire.dialect import Encoding
from wire.frames import Frame, Gap

from .log import Log
from .waiting import WaitingBytes


class SessionReader(Protocol):
    """Sends entries of logs, answers to requests, and notices to the peer of one connection.

    `Reader` sends all of it to one peer. An object that shares a line with others may pass some of it on, or drop it.
    Any thread may call a method that does not name a thread.
    """

    user_key: str  # of the user who has logged in; empty before

    @property
    def dialect(self) -> Encoding:
        """The encoding of what the peer is sent."""

    def count_for(self, waiting_bytes: WaitingBytes, address: str) -> None:
        """Count the unsent bytes with those of the other connections of an address, instead of an earlier one."""

    def hold(self) -> None:
        """Send no entry and no notice until `begin`: the peer has not been welcomed yet."""

    def begin(self, starts: Sequence[tuple[Log, int, int | None]]) -> None:
        """Follow these logs, each as `follow` does, and those that other threads had it follow since `hold`."""

    def follow(self, log: Log, after: int, acknowledged: int | None = None) -> None:
        """Send the entries of a log that follow number `after`. No-op for a log that is followed already.

        `acknowledged` is the stored cursor, if it differs from `after`.
        """

    def membership_ended(self, log: Log) -> None:
        """The user has left a channel. Send nothing more of it, unless the peer reads it without being a member."""

    def follows(self, log: Log) -> bool:
        """Return True if the log is followed."""

    def acknowledge(self, log: Log, number: int) -> int | None:
        """Note that the peer has the entries up to `number`; return how far to move its stored cursor, if at all."""

    def newly_read(self) -> tuple[list[tuple[Log, int]], bool]:
        """Return the logs, with numbers, that a peer without acknowledgements has read further since the last call.

        The second value is True if the peer's machine has not acknowledged all that was sent.
        """

    def gap(self, log: Log, after: int, to: int) -> Gap:
        """Return the notice that the entries after number `after`, up to `to`, are left out."""

    def reply(self, frame: Frame) -> None:
        """Send an answer, after everything that waits already."""

    def reply_bytes(self, data: bytes, payload: bytes = b"") -> None:
        """Send encoded answers, after everything that waits already, and a payload after them."""

    def notify(self, frame: Frame, log: Log | None = None) -> None:
        """Send a notice, or drop it if the peer is behind, or if `log` is given and is not followed."""

    def wait_for_room(self, limit: int, timeout: float | None = None) -> bool:
        """Wait until at most `limit` bytes are unsent, none if the connections of the address have too many together.

        Return False after `timeout` seconds. Own thread only.
        """

    def wait_for_page(self) -> None:
        """Wait until nothing is unsent and the connection takes more, before a long answer is made. Own thread only."""

    def reserve(self, size: int) -> bool:
        """Keep room free for an answer of `size` bytes, beside what others of the address have not read.

        Return False if there is none after a minute. Own thread only.
        """

    def release(self) -> None:
        """Keep no room free any longer: the answer was sent, or it waits."""

    def wait_until_level(self, timeout: float) -> None:
        """Wait until everything is sent, at most `timeout` seconds. Own thread only."""

    def peer_has_ended(self) -> bool:
        """Return True if the peer has ended its side of the connection, whether that was read yet or not."""

    def is_broken(self) -> bool:
        """Return True if the connection has failed, so that the peer gets no answer any more."""

    def hang_up(self) -> None:
        """Have the connection's own thread read nothing more from the peer and end the connection."""

    def close(self) -> None:
        """Send nothing more."""
