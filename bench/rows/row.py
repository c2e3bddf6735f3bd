"""A row of the table: one load, its metrics and their targets; and the plan, the sizes of all loads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

from bench.load import Generator, generator
from bench.meter import Usage
from bench.peers import Peer

WINDOW_BYTES = 8 << 20  # of texts, which limits the window of long messages
LEAST_WINDOW = 64  # messages


@dataclass(frozen=True)
class Plan:
    """The sizes of all loads."""

    rounds: int = 3
    seconds: float = 3.0  # of each run
    size: int = 100  # bytes of a message's text
    subscribers: int = 100
    rate: int = 200  # messages a second in row d
    channels: int = 100  # in row b
    idle: int = 5_000  # connections in row e
    logins: int = 1_000  # logins in rows f and m6, each time
    connected: int = 4_000  # clients that are connected before the second time
    crowd: int = 5_000  # clients in rows h and m7
    storm: int = 200  # users who log in at once in row j
    entries: int = 1_000_000  # in the log of row g
    mqtt_rate: int = 100  # messages a second in row m3
    mqtt_idle: int = 5_000  # connections in row m4
    backlog: int = 100_000  # entries in row n3
    file_mib: int = 1_024  # in rows f0, f1, f4 and f5
    returning: int = 1_000  # clients in rows i and m8
    missed: int = 500  # messages that each of them missed
    window: int | None = None  # undelivered messages in all channels together, instead of the peer's own window
    patience: float = 0.0  # seconds to wait for an idle machine before each run, and to repeat a disturbed one
    generator: str = ""  # c or python; empty: c if a compiler is there

    def window_of(self, peer: Peer) -> int:
        """Return the undelivered messages in all channels together that a saturated run of this peer may have."""
        return self.window or min(peer.window, max(WINDOW_BYTES // self.size, LEAST_WINDOW))

    def load(self) -> Generator:
        """Return the load generator."""
        return generator(self.generator)


QUICK = Plan(
    rounds=1,
    seconds=0.3,
    subscribers=20,
    channels=10,
    idle=200,
    logins=100,
    connected=200,
    crowd=200,
    storm=10,
    returning=50,
    missed=20,
    entries=2_000,
    mqtt_idle=2_000,
    backlog=2_000,
    file_mib=64,
)  # for a check that a row works

BEST = "best peer"  # a target
SELF = "itself"


@dataclass(frozen=True)
class Metric:
    """One number. `targets` maps a peer to the factor that Partyline has to reach, or SELF to a bound."""

    name: str
    unit: str
    per_unit: float = 1.0  # base units (1/s, s, bytes) in one `unit`
    more_is_better: bool = True
    targets: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Measured:
    """The result of one run: the numbers in the order of the row's metrics."""

    values: tuple[float, ...]
    usage: Usage | None = None


class Installed(Protocol):
    """A program that a row needs beside the measured server."""

    def find(self) -> str | None:
        """Return where it is, None if it is not installed."""


@dataclass(frozen=True)
class Row:
    """One load. `title` has fields of the plan in braces."""

    key: str
    title: str
    metrics: tuple[Metric, ...]
    run: Callable[[Peer, Path, Plan], Measured]
    partyline_only: bool = False
    peers: frozenset[str] = frozenset()  # that can take part; empty: all
    needs: Installed | None = None  # a further program; such a row is for Partyline only

    def fits(self, peer: Peer) -> bool:
        """Return True if the server takes part."""
        if self.needs is not None:
            return peer.name == "Partyline" and self.needs.find() is not None
        return peer.name in self.peers if self.peers else peer.name == "Partyline" or not self.partyline_only

    def titled(self, plan: Plan) -> str:
        """Return the key and the title with the plan's values."""
        return f"({self.key}) {self.title.format_map(asdict(plan))}"


LOGINS = (
    Metric("logins, nobody connected", "1/s"),
    Metric("logins, many connected", "1/s", targets={SELF: 700.0}),
    Metric("ratio", "x", targets={SELF: 0.8}),
)
CROWD = (
    Metric("memory", "x", more_is_better=False, targets={SELF: 1.1}),
    Metric("threads", "x", more_is_better=False, targets={SELF: 1.1}),
    Metric("file descriptors", "x", more_is_better=False, targets={SELF: 1.1}),
    Metric("memory before", "MiB", 1 << 20, more_is_better=False),
)
