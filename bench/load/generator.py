"""The interface of both load generators."""

from __future__ import annotations

from typing import Protocol

from bench.socket.dialects import Dialect
from bench.socket.load import Outcome
from bench.socket.pool import ClientPool


class Generator(Protocol):
    """Runs loads. Every method raises RunFailed if a delivery is lost or doubled, or a connection ends."""

    @property
    def title(self) -> str:
        """For the head of the table."""

    def saturated(self, pool: ClientPool, window: int, seconds: float, posts: int = 0) -> Outcome:
        """Post for `seconds`, or else `posts` times in each channel, at most `window` ahead of its slowest reader."""

    def one_at_a_time(self, pool: ClientPool, seconds: float) -> Outcome:
        """Send each message when every member has the last one."""

    def paced(self, pool: ClientPool, seconds: float, rate: int) -> Outcome:
        """Send `rate` messages a second, without waiting for deliveries; measure the latency of each delivery."""

    def logins(self, port: int, dialect: Dialect, names: list[str], at_once: int) -> float:
        """Log the clients in, so many at a time, then disconnect them; return the seconds until the last answer."""

    def returns(self, port: int, dialect: Dialect, logins: list[bytes], missed: int, size: int) -> float:
        """Connect all clients at once with these requests; return the seconds until each has what it missed."""
