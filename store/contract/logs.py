"""Floor 1: a log as stored: the row of a channel or of a private conversation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from wire.names import fold

Kind = Literal["channel", "direct"]  # "direct" is the kind of a private log, as databases have it


@dataclass(frozen=True, slots=True)
class LogRow:
    """A log as stored. `tail` is the number of its last entry, 0 in an empty log.

    A channel's `name` is spelled as it was first written, its `key` is the folded name. A private log has the names of
    its two users in `name` and `other`, sorted by their keys, and `private_key` as its `key`.
    """

    id: int
    kind: Kind
    key: str
    name: str
    other: str
    topic: str
    tail: int

    @property
    def is_channel(self) -> bool:
        """True for a channel, False for a private log."""
        return self.kind == "channel"


def log_title(id: int, kind: str, name: str) -> str:
    """Return a log in words, for the operator. They do not say who talks to whom in private."""
    return f"the channel {name}" if kind == "channel" else f"a private conversation (log {id})"


def private_key(one: str, other: str) -> str:
    """Return the key of two users' private log: their keys, sorted, with a colon between. No name has a colon."""
    return ":".join(sorted((fold(one), fold(other))))
