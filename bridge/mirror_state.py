"""Floor 3: how the mirror gets on with its broker, for `/status` and, a line for each state, for the log."""

from __future__ import annotations

import logging

import msgspec

from wire.clock import now
from wire.frames import BridgeStatus
from wire.mqtt_codes import V5, V311

log_ = logging.getLogger("partyline.bridge")

_VERSIONS = {V5: "5", V311: "3.1.1"}


class MirrorState:
    """Changed by the mirror's thread; any thread may read `status`."""

    def __init__(self, broker: str) -> None:
        """`broker` is its address."""
        self._broker = broker
        self.complaint = ""  # what the broker does not let us do, said once a connection
        self._reason = ""  # why the last connection ended or did not come about
        self._told = False  # the log says that there is one
        self._at_once = False  # the last one ended soon after it had begun
        self._flapping = False  # it ends again and again for the same reason: the log has said so
        self.status = BridgeStatus(broker, connected=False, since=now(), error="It has not been tried yet.")

    def up(self, version: int, behind: int) -> None:
        """The broker has taken us, by that version of MQTT; so many entries are to be caught up with."""
        said, self.complaint = _VERSIONS[version], ""
        self.status = msgspec.structs.replace(self.status, connected=True, since=now(), error="", version=said)
        if not self._flapping:
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
        if not self._flapping:
            log_.warning("%s has forgotten us: what was published there while we were away is lost", self._broker)

    def complain(self, sentence: str) -> None:
        """The broker does not let us do all that we want; said once a connection."""
        if self.complaint:
            return
        self.complaint = self.status.error = f"{self._broker} {sentence}."
        if not self._flapping:
            log_.warning("%s", self.complaint)

    def closed(self) -> str:
        """Why the broker has closed a connection without a word; at the second time in a row, a guess."""
        if self.complaint:
            return self.complaint
        if not self._at_once:
            return f"{self._broker} has closed the connection."
        return (
            f"{self._broker} has closed the connection again: another Partyline may mirror there with our root, or we "
            "have no right to publish what we do (server.py acl)."
        )

    def down(self, error: str, *, steady: bool, quiet: bool) -> None:
        """We are not connected, and why; `steady` if we have been for some time, `quiet` if that is no news.

        One line in the log for a state, not for an attempt, nor for a connection that ends at once like the last one.
        """
        before, again = self.status, error == self._reason
        if not quiet and (self._told or not again):
            log_.warning("not mirroring: %s", error)
        self._at_once = before.connected and not steady
        self._flapping = self._at_once and again
        self._reason, self._told = error, False
        since = now() if before.connected else before.since
        self.status = msgspec.structs.replace(before, connected=False, since=since, error=error)
