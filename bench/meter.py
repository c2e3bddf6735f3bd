"""The processor time of a run: of the server, of the load generator, and of all other processes."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from .peers import RunningPeer

TICKS = os.sysconf("SC_CLK_TCK")
DISTURBED = 0.15  # of a core: a run during which other processes use as much is disturbed
POLL_SECONDS = 0.4
SETTLED = 4  # polls without a change
SETTLE_SECONDS = 60.0


@dataclass(frozen=True)
class Usage:
    """Shares of one core: on a machine with two cores they add up to 2.0 at most."""

    generator: float
    server: float
    others: float


class Meter:
    """Measures from its creation until `read`. The C load generator is a child process that has ended by then."""

    def __init__(self, *servers: RunningPeer) -> None:
        """`Usage.server` is the sum of these servers."""
        self._servers = servers
        self._start = self._now()

    def read(self) -> Usage:
        """Return the usage since the creation."""
        wall, own, server, everything = (now - then for now, then in zip(self._now(), self._start, strict=True))
        wall = max(wall, 1e-6)
        return Usage(own / wall, server / wall, max(0.0, everything - own - server) / wall)

    def _now(self) -> tuple[float, float, float, float]:
        return time.perf_counter(), sum(os.times()[:4]), sum(each.cpu() for each in self._servers), _busy()


def wait_until_idle(seconds: float) -> None:
    """Wait until other processes leave the machine idle, for `seconds` at most. The kernel does not notify, so poll."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        before = _busy()
        time.sleep(POLL_SECONDS)
        if (_busy() - before) / POLL_SECONDS < DISTURBED:
            return


def wait_until_settled(server: RunningPeer) -> tuple[int, int, int]:
    """Return memory in bytes, threads and file descriptors once they stay the same, or after SETTLE_SECONDS. Polls."""
    end, same = time.monotonic() + SETTLE_SECONDS, 0
    last = server.resources()
    while same < SETTLED and time.monotonic() < end:
        time.sleep(POLL_SECONDS)
        now = server.resources()
        same = same + 1 if now == last else 0
        last = now
    return last


def _busy() -> float:
    """Return the seconds of processor time used on this machine, or taken from it by its host (proc(5))."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(
        int, Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    )
    return (user + nice + system + irq + softirq + steal) / TICKS
