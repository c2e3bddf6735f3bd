"""Floor 3: how the mirror gets on with its broker, for `/status` and, a line for each state, for the log."""

from __future__ import annotations

import logging
import time

import msgspec

from wire.clock import now
from wire.frames import BridgeStatus
from wire.mqtt import V5, V311

log_ = logging.getLogger("partyline.bridge")

_STEADY = 10.0  # seconds that a connection has to last for all to begin anew: what is worth a line, and the pauses
_VERSIONS = {V5: "5", V311: "3.1.1"}


class MirrorState:
    """Changed by the mirror's thread; any thread may read `status`."""

    def __init__(self, broker: str) -> None:
        """`broker` is its address."""
        self._broker = broker
        self.complaint = ""  # what the broker does not let us do, said once a connection
        self._began = 0.0  # when the broker took us
        self._told = False  # the log says that there is a connection
        self._at_once = False  # the last one ended soon after it had begun
        self._warned: set[str] = set()  # what the log says of those since one that lasted
        self.status = BridgeStatus(broker, connected=False, since=now(), error="It has not been tried yet.")

    def up(self, version: int, behind: int) -> None:
        """The broker has taken us, by that version of MQTT; so many entries are to be caught up with."""
        said, self._began = _VERSIONS[version], time.monotonic()
        self.status = msgspec.structs.replace(self.status, connected=True, since=now(), error="", version=said)
        if not self._at_once:
            self.tell(behind)

    def tell(self, behind: int) -> None:
        """Have the log say that we are connected, if it has not yet: it lasts."""
        if self._told or not self.status.connected:
            return
        self._told = True
        rest = f"; {behind} {'entry' if behind == 1 else 'entries'} to catch up with" if behind else ""
        log_.info("mirroring to %s over MQTT %s%s", self._broker, self.status.version, rest)

    def forgotten(self) -> None:
        """The broker has not kept our session."""
        self._warn(f"{self._broker} has forgotten us: what was published there while we were away is lost")

    def complain(self, sentence: str) -> None:
        """The broker does not let us do all that we want; said once a connection."""
        if self.complaint:
            return
        self.complaint = self.status.error = f"{self._broker} {sentence}."
        self._warn(self.complaint)

    @property
    def _steady(self) -> bool:
        """Whether we are connected, and have been for some time."""
        return self.status.connected and time.monotonic() - self._began > _STEADY

    def closed(self) -> str:
        """Why the broker has closed a connection without a word; at the second time in a row, a guess."""
        if self.complaint and not self._steady:
            return self.complaint
        if not self._at_once:
            return f"{self._broker} has closed the connection."
        return (
            f"{self._broker} has closed the connection again: another Partyline may mirror there with our root, or we "
            "have no right to publish what we do (server.py acl)."
        )

    def down(self, error: str, *, quiet: bool) -> bool:
        """We are not connected, and why, `quiet` if that is no news; whether we have been for some time.

        One line in the log for a state, not for an attempt, nor for a connection that ends at once like the last one.
        """
        before, steady = self.status, self._steady
        if steady:
            self._warned.clear()
        if not quiet:
            self._warn(f"not mirroring: {error}", again=self._told)
        self._at_once, self._told, self.complaint = before.connected and not steady, False, ""
        since = now() if before.connected else before.since
        self.status = msgspec.structs.replace(before, connected=False, since=since, error=error)
        return steady

    def _warn(self, line: str, *, again: bool = False) -> None:
        """Have the log say it, once until a connection has lasted; or `again`, as it has said otherwise meanwhile."""
        if again or line not in self._warned:
            self._warned.add(line)
            log_.warning("%s", line)
