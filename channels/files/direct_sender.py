"""Floor 2: the sender of a file who listens for its receiver, so that the file need not pass the server."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

from ..session_reader import SessionReader


@dataclass(frozen=True, slots=True)
class DirectSender:
    """A sender that listens at `host` and `port`, and the SHA-256 of its file. `reader` is told of each receiver.

    `fingerprint` is that of the certificate with which it listens in TLS; empty if it listens without.
    """

    reader: SessionReader
    host: str
    port: int
    sha256: str
    fingerprint: str = ""
    visitors: Iterator[int] = field(default_factory=itertools.count)  # counts the receivers that asked for the way
