"""Floor 0: every limit, with its default and its reason; the config file's `limits` section has the same keys."""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one peer may ask of the server. Zero means "no limit" where the comment says so."""

    line: int = 16_384  # bytes of one line, text or JSON, without its line end; so also the longest message
    payload: int = 1_048_576  # raw bytes after one JSON frame
    backlog: int = 262_144  # bytes of answers that wait for one peer before its own requests wait
    connections: int = 10_000  # at once
    connections_per_address: int = 0  # at once from one IP address; 0: none
    posts_per_second: int = 0  # of one connection, with a second's worth of burst; above it is read slower; 0: none
    login_seconds: int = 60  # until a connection has a name
    password_tries: int = 3  # wrong ones before the connection ends
    channels: int = 1_000  # that one user may be in
    lag: int = 100_000  # entries that a reader may fall behind in one log before it is told of a gap and moved on
    missed: int = 500  # entries of one log that are replayed to a returning user who did not say `since`
    page: int = 1_000  # entries of one answer to `history`
    cache: int = 67_108_864  # bytes of recent entries kept in memory for readers that lag a little
    queue: int = 262_144  # bytes of posts that wait for the store before their senders are read slower
    presence: int = 200  # members online in a channel up to which they are told who comes and goes
