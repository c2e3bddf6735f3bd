"""Floor 1: the contract of members: which logs exist, who is in them, and how far each member has read."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from .accounts import Account
from .logs import LogRow


@dataclass(frozen=True, slots=True)
class Membership:
    """One user in one log, with the number of the last entry that the user acknowledged."""

    log: LogRow
    cursor: int


class Members(Protocol):
    """Channels and private logs, their members, and the cursors. A user is given by name in any spelling."""

    def channels(self) -> list[LogRow]:
        """Return every channel."""

    def log(self, id: int) -> LogRow | None:
        """Return the log with that id, None if it does not exist."""

    def logs(self, ids: Collection[int]) -> list[LogRow]:
        """Return the logs with those ids, without those that do not exist."""

    def open_channel(self, name: str, opener: str = "") -> LogRow:
        """Return the channel of that name; create it for the user `opener` if it does not exist."""

    def open_private_log(self, one: str, other: str) -> LogRow:
        """Return the private log of two users. Create it, with both as members, and their accounts if missing.

        Then `one` is who has opened it.
        """

    def find_private_log(self, one: str, other: str) -> LogRow | None:
        """Return the private log of two users, None if it does not exist."""

    def set_topic(self, log: LogRow, topic: str) -> None:
        """Store a channel's topic."""

    def join(self, log: LogRow, user: str) -> tuple[int, bool]:
        """Make a user a member with the cursor at the tail; a member keeps the present cursor.

        Return the cursor, and True if the user was not a member before.
        """

    def leave(self, log: LogRow, user: str) -> bool:
        """End a membership. Return False and do nothing if the user is not a member."""

    def memberships(self, user: str) -> list[Membership]:
        """Return a user's channels and the private logs with entries above the cursor, in the order of joining."""

    def members(self, log: LogRow, after: str = "", limit: int | None = None) -> list[Account]:
        """Return the accounts of a log's members who follow the name `after`, sorted by key; at most `limit`."""

    def member_counts(self, ids: Collection[int] | None = None) -> dict[int, int]:
        """Return the number of members of each channel by its log id, without the channels that have no member.

        With `ids`, only those of the channels with these ids.
        """

    def joined_channels(self, users: Collection[str]) -> dict[str, list[int]]:
        """Return the log ids of the channels of each user, by key, without the users who are in no channel."""

    def unread_private_logs(self, users: Collection[str]) -> list[int]:
        """Return the ids of the private logs with entries above the cursor of one of these users, by key."""

    def cursor(self, log: LogRow, user: str) -> int | None:
        """Return the number of the last entry that the user acknowledged; None if the user is not a member."""

    def move(self, cursors: Mapping[tuple[int, str], int], seen: Mapping[str, int]) -> None:
        """Move cursors forwards and set when users were last seen, in one transaction.

        `cursors` maps (log id, user key or client key) to a number; a cursor that is further already stays, and so
        does that of a user who is not a member. `seen` maps user keys to milliseconds since 1970.
        """
