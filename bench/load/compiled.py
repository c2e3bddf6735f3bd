"""The load generator in C, as a child process that gets the sockets of the connected clients."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence

from bench.load.compiler import find_compiler, program
from bench.load.description import Load, describe, text_size
from bench.mqtt.load import IN_FLIGHT
from bench.socket.dialects import Dialect
from bench.socket.load import Outcome
from bench.socket.pool import Channel, ClientPool, RunFailed


class CompiledGenerator:
    """Runs loads by the C program."""

    @property
    def title(self) -> str:
        return f"C, compiled by {find_compiler()}"

    def saturated(self, pool: ClientPool, window: int, seconds: float, posts: int = 0) -> Outcome:
        """Post for `seconds`, or else `posts` times in each channel, at most `window` ahead of its slowest reader."""
        each = -(-posts // len(pool.channels[0].publishers))
        in_flight = IN_FLIGHT if any(map(_is_acknowledged, pool.channels)) else 0
        return _on(pool, Load("saturated", seconds, each, window=window, in_flight=in_flight))

    def one_at_a_time(self, pool: ClientPool, seconds: float) -> Outcome:
        """Send each message when every member has the last one."""
        return _on(pool, Load("one-at-a-time", seconds))

    def paced(self, pool: ClientPool, seconds: float, rate: int) -> Outcome:
        """Send `rate` messages a second, without waiting for deliveries; measure the latency of each delivery."""
        return _on(pool, Load("paced", seconds, rate=rate))

    def logins(self, port: int, dialect: Dialect, names: list[str], at_once: int) -> float:
        """Log the clients in, so many at a time, then disconnect them; return the seconds until the last answer."""
        clients = [(dialect, dialect.login(name)) for name in names]
        load = Load("logins", port=port, at_once=at_once, welcomed=dialect.welcomed)
        return _run(describe(load, (), clients)).seconds

    def returns(self, port: int, dialect: Dialect, logins: list[bytes], missed: int, size: int) -> float:
        """Connect all clients at once with these requests; return the seconds until each has what it missed."""
        load = Load("logins", port=port, at_once=len(logins), missed=missed, text_size=size)
        return _run(describe(load, (), [(dialect, login) for login in logins])).seconds


def _is_acknowledged(channel: Channel) -> bool:
    return any(each.client.dialect.framing == "mqtt" and each.feed.post[0] & 6 for each in channel.publishers)


def _on(pool: ClientPool, load: Load) -> Outcome:
    pool.prepare(sample=False)
    described = Load(**{**vars(load), "text_size": text_size(pool.channels[0])})
    with pool.lent() as fds:
        return _run(describe(described, pool.channels, ()), fds)


def _run(description: bytes, fds: Sequence[int] = ()) -> Outcome:
    """Run the program. Raises RunFailed with its last words."""
    run = subprocess.run([program()], check=False, input=description, capture_output=True, pass_fds=fds)
    if run.returncode:
        raise RunFailed(run.stderr.decode(errors="replace") or f"the load generator ended with {run.returncode}")
    return Outcome(**json.loads(run.stdout))
