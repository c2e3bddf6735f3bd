"""Floor 3: whose turn it is to run the mirror, of several servers on one store that have one at the same root."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from store import Servers, StoreError

_FRESH = 1.0  # seconds for which `elsewhere_now` gives the same answer


class MirrorTurn:
    """Any thread may call it, but `wait` and `pause`, which only the mirror's thread calls.

    `number` is that of the turn which this server has; 0 while it has none. Each turn has another number. `closing` is
    True after `close`.
    """

    def __init__(self, servers: Servers, root: str, lost: Callable[[], None]) -> None:
        """`lost` is called at the end of a turn, unless this side has ended it. It returns at once."""
        self.number = 0
        self.closing = False
        self._servers = servers
        self._duty = f"mirror {root}"
        self._lost = lost
        self._count = 0
        self._changed = threading.Event()
        self._elsewhere: tuple[float, str] = (0.0, "")  # by time.monotonic, when that was so

    def share(self) -> None:
        """Have this server, or another one, run the mirror."""
        self._servers.share(self._duty, self._change)

    def _change(self, ours: bool) -> None:
        if ours:
            self._count += 1
            self.number = self._count
        else:
            self.number = 0
            self._lost()
        self._changed.set()

    def give_up(self) -> None:
        """Let another server run the mirror."""
        self._servers.give_up(self._duty)

    def is_lost(self, turn: int) -> bool:
        """Return True if another server may have the next turn already."""
        return self.number != turn

    def is_over(self, turn: int) -> bool:
        """Return True if that turn is lost, or `close` was called."""
        return self.closing or self.is_lost(turn)

    def wait(self) -> int:
        """Wait until it is this server's turn. Return its number; 0 after `close`, or if it is over already."""
        self._changed.clear()
        if not self.number and not self.closing:
            self._changed.wait()
        return 0 if self.closing else self.number

    def pause(self, turn: int, seconds: float) -> None:
        """Wait for so many seconds, or until the turn is over."""
        self._changed.clear()
        if not self.is_over(turn):
            self._changed.wait(seconds)

    def close(self) -> None:
        """End the waits of the mirror's thread. The turn is this server's until `give_up`."""
        self.closing = True
        self._changed.set()

    def elsewhere(self) -> str | None:
        """Return the name of the server that runs the mirror if another one does. Raises StoreError."""
        row = self._servers.on_duty(self._duty)
        return None if row is None or row.number == self._servers.here else row.name or f"number {row.number}"

    def elsewhere_now(self) -> str:
        """Return the same, or an answer of less than a second ago; empty if it is none or unknown."""
        at, name = self._elsewhere
        if time.monotonic() - at > _FRESH or not at:
            try:
                name = self.elsewhere() or ""
            except StoreError:
                name = ""
            self._elsewhere = time.monotonic(), name
        return name
