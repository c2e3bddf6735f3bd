"""Floor 1: the contract of what nobody uses: empty logs, and guests of whom nothing is kept, leave the store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from .logs import LogRow


class Unused(Protocol):
    """Finds and removes what nobody uses. All times are in milliseconds since 1970."""

    def empty_logs(self, before: int) -> Sequence[LogRow]:
        """Return the logs that `remove_empty_log` would remove, except the newest log."""

    def remove_empty_log(self, log: LogRow, before: int) -> bool:
        """Remove a log with its memberships and cursors. Return False and do nothing unless it is empty.

        It is empty if it never had an entry, if no file is offered in it, if its creation and, for a channel, the last
        leave and change of the topic were before `before`, and if a channel has no members.
        """

    def idle_guests(self, before: int, limit: int) -> Sequence[str]:
        """Return the keys of at most `limit` guests whom `forget_guest` would remove."""

    def forget_guest(self, key: str, before: int) -> Sequence[int] | None:
        """Remove the account of a guest, with memberships in channels and ids of posts.

        Return the ids of those channels. Return None and do nothing if the user has a password, was connected or
        created after `before`, or has a private log, a session of a client, or a file that is offered.
        """

    def opened_logs(self, user: str, *, private: bool) -> int:
        """Return how many channels, or else private logs, exist that this user has opened."""
