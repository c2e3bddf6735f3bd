"""Floor 4: the servers of one chat as a link connects to them, and the order in which it does."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field

_ROUND = 10.0  # seconds for one attempt with each server, at most
_LEAST = 2.0  # seconds for one attempt, at least: a lost SYN is repeated after one second
_STEADY = 5.0  # seconds of a connection after which its loss begins a new round


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One server. `name` is what the user calls it; `exposed`: what is sent goes to another machine without TLS."""

    host: str
    port: int
    tls: ssl.SSLContext | None = field(default=None, repr=False, compare=False)
    name: str = "the server"
    exposed: bool = False


def attempt_seconds(servers: int) -> float:
    """Return how long one attempt may take, so that one server that does not answer does not hold up the others."""
    return max(_LEAST, _ROUND / servers)


class Rounds:
    """The order in which a link tries its servers: as they are listed, on from the last one, and round again.

    A round is one attempt with each server. Pauses are between rounds only. The loss of a connection counts as the
    first attempt of a new round, unless the connection was so short that this would have no end without a pause.
    """

    def __init__(self, servers: int) -> None:
        self.at = 0  # the index of the server to try now
        self._servers = servers
        self._left = servers  # attempts of this round, the present one among them

    def ended(self, lasted: float | None) -> bool:
        """Go to the next server after an attempt or a connection. Return True if the round is over.

        `lasted` is how many seconds ago the server let us in; None if it did not.
        """
        if lasted is not None and lasted >= _STEADY:
            self._left = self._servers
        self._left -= 1
        over = self._left == 0
        if over:
            self._left = self._servers
        self.at = (self.at + 1) % self._servers
        return over
