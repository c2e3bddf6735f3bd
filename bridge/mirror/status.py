"""Floor 3: the state of the mirror: for `/status`, and one line of the log for each change."""

from __future__ import annotations

import time

import msgspec

from reporting import events, report
from wire.clock import now
from wire.frames import BridgeStatus
from wire.mqtt import V5, V311

_STEADY = 10.0  # seconds after which a connection counts as stable: pauses and log lines begin anew
_VERSIONS = {V5: "5", V311: "3.1.1"}


class MirrorStatus:
    """Changed by the mirror's thread. Any thread may call `report`.

    `sent` counts packets that the broker has acknowledged, `received` messages that it has brought, `refused` those of
    them that were not accepted.
    """

    def __init__(self, broker: str) -> None:
        """`broker` is its address."""
        self._broker = broker
        self._complaint = ""  # what the broker does not allow, reported once a connection
        self._began = 0.0  # time.monotonic when the broker accepted the connection
        self._logged = False  # the last line of the log says that the mirror is connected
        self._unstable = False  # the last connection ended soon after it began
        self._warned: set[str] = set()  # warnings logged since the last stable connection
        self._state = BridgeStatus(broker, connected=False, since=now(), error="Not connected yet.")
        self.sent = 0
        self.received = 0
        self.refused = 0

    def report(self, behind: int) -> BridgeStatus:
        """Return the state; `behind` is the number of entries that the broker has not acknowledged."""
        return msgspec.structs.replace(
            self._state, behind=behind, sent=self.sent, received=self.received, refused=self.refused
        )

    def elsewhere(self, server: str) -> BridgeStatus:
        """Return the state at a server that does not run the mirror; `server` runs it, or none does if it is empty."""
        error = "" if server else "No server runs the mirror at this moment."
        return BridgeStatus(self._broker, connected=False, since=self._state.since, error=error, server=server)

    def connected(self, version: int, behind: int) -> None:
        """The broker has accepted the connection, in that version of MQTT."""
        self._began = time.monotonic()
        self._state = msgspec.structs.replace(
            self._state, connected=True, since=now(), error="", version=_VERSIONS[version]
        )
        if not self._unstable:
            self.log_connected(behind)

    def log_connected(self, behind: int) -> None:
        """Log that the mirror is connected, unless the log says so already."""
        if self._logged or not self._state.connected:
            return
        self._logged = True
        report(events.MirrorConnected(self._broker, self._state.version, behind))

    def session_lost(self) -> None:
        """The broker has not kept the mirror's session."""
        self._warn(events.MirrorSessionLost(self._broker))

    def complain(self, problem: str) -> None:
        """Report what the broker does not allow; only the first time in a connection. `problem` follows its address."""
        if self._complaint:
            return
        self._complaint = self._state.error = f"{self._broker} {problem}."
        self._warn(events.MirrorRefused(self._broker, self._complaint))

    @property
    def _steady(self) -> bool:
        """True if the mirror has been connected for some time."""
        return self._state.connected and time.monotonic() - self._began > _STEADY

    def explain_close(self) -> str:
        """Return why the broker has closed the connection without a reason: the second time in a row, a guess."""
        if self._complaint and not self._steady:
            return self._complaint
        if not self._unstable:
            return f"{self._broker} closed the connection."
        return (
            f"{self._broker} closed the connection again. Another Partyline server may use the same root there, or our "
            "user may not publish these topics (see server.py acl)."
        )

    def disconnected(self, error: str, *, quiet: bool) -> bool:
        """The mirror is not connected, because of `error`. Return True if the last connection was stable.

        Logs one line for each state, not for each attempt, nor for a connection that ends as soon as the last one did;
        nothing if `quiet`.
        """
        before, steady = self._state, self._steady
        if steady:
            self._warned.clear()
        if not quiet:
            self._warn(events.MirrorDisconnected(self._broker, error), repeat=self._logged)
        self._unstable, self._logged, self._complaint = before.connected and not steady, False, ""
        since = now() if before.connected else before.since
        self._state = msgspec.structs.replace(before, connected=False, since=since, error=error)
        return steady

    def _warn(self, event: events.Event, *, repeat: bool = False) -> None:
        """Report a problem, once until a connection was stable, or again if `repeat`."""
        line = str(event)
        if repeat or line not in self._warned:
            self._warned.add(line)
            report(event)
