"""Floor 0: every limit, with its default and its reason; the config file's `limits` section has the same keys."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

AtLeastOne: TypeAlias = Annotated[int, Meta(ge=1)]
OrNone: TypeAlias = Annotated[int, Meta(ge=0)]


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one peer may ask of the server. Zero means "no limit" where the comment says so."""

    line: AtLeastOne = 16_384  # bytes of one line, text or JSON, without its line end; so also the longest message
    payload: OrNone = 1_048_576  # raw bytes after one JSON frame
    backlog: AtLeastOne = 262_144  # bytes of answers that wait for one peer before its own requests wait
    connections: AtLeastOne = 10_000  # at once
    connections_per_address: OrNone = 0  # at once from one IP address; 0: no limit
    posts_per_second: OrNone = 0  # of one connection, in bursts of a second's worth; 0: no limit
    login_seconds: AtLeastOne = 60  # until a connection has a name
    session_days: AtLeastOne = 90  # until the session of an MQTT client that is away is forgotten, at the latest
    password_tries: AtLeastOne = 3  # wrong ones before the connection ends
    channels: AtLeastOne = 1_000  # that one user may be in
    lag: OrNone = 100_000  # entries that a reader may fall behind in one log before it is told of a gap and moved on
    missed: OrNone = 500  # entries of one channel that are replayed to a returning user who did not say `since`
    page: AtLeastOne = 1_000  # entries of one answer to `history`
    cache: OrNone = 67_108_864  # bytes of recent entries kept in memory for readers that lag a little
    queue: OrNone = 262_144  # bytes of posts that wait for the store before their senders are read slower
    presence: OrNone = 200  # members online in a channel up to which they are told who comes and goes

    file_size: OrNone = 4_294_967_296  # bytes of one file; 0: no limit
    files_per_user: OrNone = 8_589_934_592  # bytes of all files that one user offers at a time; 0: no limit
    files: OrNone = 34_359_738_368  # bytes of all files that are offered at a time; 0: no limit
    file_days: AtLeastOne = 7  # days until a file that is offered is removed
    chunk: AtLeastOne = 262_144  # bytes of a file in one answer

    @property
    def after_gap(self) -> int:
        """Entries that are sent to a reader that has fallen too far behind, after the notice of the gap."""
        return min(self.lag, self.missed)
