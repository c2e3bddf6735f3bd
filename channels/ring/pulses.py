"""Floor 2: pulses: each server tells all servers once a second how it is, and so measures how long news take.

A pulse goes the way of all notices: through the outbox, the store, and the inbox, also back to the server that has sent
it. That server measures the time on its own clock, and tells it with the next pulse, so no two clocks are compared. An
older server passes over what it does not know in a pulse.
"""

from __future__ import annotations

import time

import msgspec

from store import Servers
from wire import VERSION
from wire.frames import ServerInfo

from ..locks import leaf

_SILENT = 3.0  # seconds without a pulse from which on a server is called silent


class Pulse(msgspec.Struct, omit_defaults=True, gc=False):
    """One pulse. `count` counts those of one server; `lag` is in microseconds, None if it was not measured yet."""

    count: int
    name: str = ""
    address: str = ""
    version: str = ""
    connections: int = 0
    lag: int | None = None


_decode = msgspec.json.Decoder(Pulse).decode
_encode = msgspec.json.Encoder().encode


def is_pulse(message: str) -> bool:
    """Return True for a pulse, False for notices, which are an array."""
    return message.startswith("{")


class Pulses:
    """What the servers have told of themselves. Any thread may call any method."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._lock = leaf()
        self._heard: dict[int, tuple[Pulse, float]] = {}  # by the server's number: its last one, and when it came
        self._name = self._address = ""
        self._count = 0
        self._under_way: tuple[int, float] | None = None  # the pulse that is measured, and when it was made
        self._lag: int | None = None  # microseconds

    def introduce(self, name: str, address: str) -> None:
        """Set what the pulses of this server say of it."""
        with self._lock:
            self._name, self._address = name, address

    def beat(self, connections: int) -> str:
        """Return the next pulse of this server."""
        with self._lock:
            self._count += 1
            if self._under_way is None:
                self._under_way = self._count, time.monotonic()
            pulse = self._own_locked(connections)
        return _encode(pulse).decode()

    def _own_locked(self, connections: int) -> Pulse:
        lag = self._lag
        if self._under_way is not None:  # what has not come yet takes as long as that at least
            waited = _microseconds(time.monotonic() - self._under_way[1])
            if waited > (_microseconds(_SILENT) if lag is None else lag):
                lag = waited
        return Pulse(self._count, self._name, self._address, VERSION, connections, lag)

    def heard(self, server: int, message: str) -> None:
        """Note a pulse, when it was heard. What is no pulse is passed over: it is of a newer server."""
        try:
            pulse = _decode(message)
        except msgspec.DecodeError:
            return
        at = time.monotonic()
        with self._lock:
            if server != self._servers.here:
                self._heard[server] = pulse, at
            elif self._under_way is not None and pulse.count >= self._under_way[0]:
                if pulse.count == self._under_way[0]:  # else it was lost
                    self._lag = _microseconds(at - self._under_way[1])
                self._under_way = None

    def gone(self, server: int) -> None:
        """Forget a server that is gone."""
        with self._lock:
            self._heard.pop(server, None)

    def keep(self, servers: set[int]) -> None:
        """Forget all other servers but these."""
        with self._lock:
            self._heard = {number: heard for number, heard in self._heard.items() if number in servers}

    def servers(self, connections: int) -> list[ServerInfo]:
        """Return all servers with this one, sorted by number; none if the store is for one server."""
        if self._servers.alone:
            return []
        here, at = self._servers.here, time.monotonic()
        with self._lock:
            found = {**self._heard, here: (self._own_locked(connections), at)}
        return [_info(number, *found[number], at, here=number == here) for number in sorted(found)]


def _microseconds(seconds: float) -> int:
    return round(seconds * 1_000_000)


def _info(number: int, pulse: Pulse, heard: float, at: float, *, here: bool) -> ServerInfo:
    silent = at - heard
    return ServerInfo(
        number=number,
        name=pulse.name,
        address=pulse.address,
        version=pulse.version,
        connections=pulse.connections,
        here=here,
        lag=pulse.lag,
        silent=int(silent) if silent >= _SILENT else 0,
    )
