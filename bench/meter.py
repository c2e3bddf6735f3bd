"""Who used the processor during a run: the server, this generator, and anybody else, who would spoil the numbers."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from .peers import RunningPeer

TICKS = os.sysconf("SC_CLK_TCK")
DISTURBED = 0.15  # of a core that somebody else uses: enough to spoil a run
LOOK_SECONDS = 0.4


@dataclass(frozen=True)
class Usage:
    """Shares of one core, so a machine with two cores has 2.0 to give."""

    generator: float
    server: float
    others: float


class Meter:
    """Runs from its creation until `read`."""

    def __init__(self, *servers: RunningPeer) -> None:
        """Of several servers that work together, the sum is what `server` says."""
        self._servers = servers
        self._start = self._now()

    def read(self) -> Usage:
        """What was used since."""
        wall, own, server, everything = (now - then for now, then in zip(self._now(), self._start, strict=True))
        wall = max(wall, 1e-6)
        return Usage(own / wall, server / wall, max(0.0, everything - own - server) / wall)

    def _now(self) -> tuple[float, float, float, float]:
        return time.perf_counter(), time.process_time(), sum(each.cpu() for each in self._servers), _busy()


def wait_until_quiet(seconds: float) -> None:
    """Wait, for so long at most, until nobody else keeps this machine busy. The kernel does not tell, so look."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        before = _busy()
        time.sleep(LOOK_SECONDS)
        if (_busy() - before) / LOOK_SECONDS < DISTURBED:
            return


def _busy() -> float:
    """Seconds of processor time that were used on this machine, or taken from it by its host (proc(5))."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(
        int, Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    )
    return (user + nice + system + irq + softirq + steal) / TICKS
