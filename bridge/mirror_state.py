"""Floor 3: how the mirror gets on with its broker, for `/status` and, a line for each state, for the log."""

from __future__ import annotations

import logging
import time

import msgspec

from wire.frames import BridgeStatus
from wire.mqtt_codes import V5, V311

log_ = logging.getLogger("partyline.bridge")

_VERSIONS = {V5: "5", V311: "3.1.1"}


class MirrorState:
    """Changed by the mirror's thread; any thread may read `status`."""

    def __init__(self, broker: str) -> None:
        """`broker` is its address."""
        self._broker = broker
        self.status = BridgeStatus(broker, connected=False, since=_now(), error="It has not been tried yet.")

    def up(self, version: int, behind: int) -> None:
        """The broker has taken us, by that version of MQTT; so many entries are to be caught up with."""
        said = _VERSIONS[version]
        self.status = msgspec.structs.replace(self.status, connected=True, since=_now(), error="", version=said)
        rest = f"; {behind} entries to catch up with" if behind else ""
        log_.info("mirroring to %s over MQTT %s%s", self._broker, said, rest)

    def complain(self, sentence: str) -> None:
        """The broker does not let us do all that we want; said once a connection."""
        if not self.status.error:
            self.status.error = f"It {sentence}."
            log_.warning("%s %s", self._broker, sentence)

    def down(self, error: str, *, quiet: bool) -> None:
        """We are not connected, and why; nothing is said if it was so before, or if it is no news (`quiet`)."""
        before = self.status
        if not quiet and (before.connected or before.error != error):
            log_.warning("not mirroring: %s", error)
        since = _now() if before.connected else before.since
        self.status = msgspec.structs.replace(before, connected=False, since=since, error=error)


def _now() -> int:
    return time.time_ns() // 1_000_000
