"""Floor 2: the inbox: what the other servers have told, merged, until the thread `ring-in` has it done.

Once a second the thread also looks for what nobody has told: a server may have died between a commit and its notice.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from reporting import events, report
from store import StoreAway, StoreError

from ..locks import leaf
from .notices import Live, Moved, Notice, decode
from .pulses import is_pulse

PERIOD = 1.0  # seconds from one look at the store to the next one
_LIVE = 4 << 20  # bytes of live messages that wait; further ones are lost
_MOST = 20_000  # notices that wait; if there are more, the server looks at everything instead


@dataclass(slots=True)
class Heard:
    """The news from other servers since the inbox was last emptied.

    `notices` has each with its server, and None for a server that is gone, in the order in which they were told; the
    notices that logs have moved are merged in `tails`, by log id: the tail, and the key of a private log. `stale` are
    the ids of channels whose topic and members have changed; `pulses` has the last pulse of each server. `missed`:
    messages may have been lost, and the holdings of this server; `overflowed`: there were notices that are not here.
    `live` has the live messages, each with its server, and `live_size` how many bytes they take.
    """

    notices: list[tuple[int, Notice | None]] = field(default_factory=list)
    tails: dict[int, tuple[int, str]] = field(default_factory=dict)
    stale: set[int] = field(default_factory=set)
    pulses: dict[int, str] = field(default_factory=dict)
    missed: bool = False
    overflowed: bool = False
    live: list[tuple[int, Live]] = field(default_factory=list)
    live_size: int = 0


class Inbox:
    """Owns the thread `ring-in`. Any thread may call any method."""

    def __init__(self, do: Callable[[Heard], None], look: Callable[[], None]) -> None:
        """`do` does what was heard; `look` is called once a second. Both are called by the thread, and may fail."""
        self._do = do
        self._look = look
        self._lock = leaf()
        self._heard = Heard()
        self._failing = False
        self._wake = threading.Event()
        self._over = False
        self._thread = threading.Thread(target=self._run, name="ring-in", daemon=True)

    def start(self) -> None:
        """Begin to do what is heard."""
        self._thread.start()

    def hear(self, server: int, message: str) -> None:
        """Take a message of another server, or a pulse of this one, too.

        It may be of a newer version, so what is unknown leads to a look.
        """
        if is_pulse(message):
            with self._lock:
                self._heard.pulses[server] = message
            self._wake.set()
            return
        try:
            notices = decode(message)
        except msgspec.DecodeError:
            self._look_later()
            self._wake.set()
            return
        with self._lock:
            for notice in notices:
                if isinstance(notice, Moved):
                    self._move_locked(notice)
                elif isinstance(notice, Live):
                    self._keep_live_locked(server, notice)
                else:
                    self._add_locked(server, notice)
        self._wake.set()

    def gone(self, server: int) -> None:
        """A server is gone."""
        with self._lock:
            self._add_locked(server, None)
        self._wake.set()

    def missed(self) -> None:
        """Messages may have been lost."""
        with self._lock:
            self._heard.missed = True
        self._wake.set()

    def changed(self, log: int) -> None:
        """This server has changed the topic or the members of a channel: look at them after what was heard by now."""
        with self._lock:
            self._heard.stale.add(log)
        self._wake.set()

    def _move_locked(self, notice: Moved) -> None:
        tails = self._heard.tails
        for log, tail, key in notice.logs:
            if log not in tails or tails[log][0] < tail:
                tails[log] = tail, key

    def _keep_live_locked(self, server: int, message: Live) -> None:
        heard = self._heard
        if heard.live_size + message.size <= _LIVE:  # else it is lost, as on a line that is too slow for it
            heard.live.append((server, message))
            heard.live_size += message.size

    def _add_locked(self, server: int, notice: Notice | None) -> None:
        if len(self._heard.notices) >= _MOST:
            self._heard.notices.clear()
            self._heard.overflowed = True
        self._heard.notices.append((server, notice))

    def _run(self) -> None:
        next_look = time.monotonic() + PERIOD
        while True:
            self._wake.wait(max(0.0, next_look - time.monotonic()))
            self._wake.clear()
            if self._over:
                return
            self._attempt(self._do_heard)
            if time.monotonic() >= next_look:
                self._attempt(self._look)
                next_look = time.monotonic() + PERIOD

    def _do_heard(self) -> None:
        with self._lock:
            heard, self._heard = self._heard, Heard()
        self._do(heard)
        self._failing = False

    def _attempt(self, call: Callable[[], None]) -> None:
        """Call a function. After an error of the store, look at everything, which is tried until it works."""
        try:
            call()
        except StoreError as error:
            if not self._failing and not isinstance(error, StoreAway):
                self._failing = True
                report(events.StoreProblem(str(error), "News of other servers come later."))
            self._look_later()
        except Exception as error:  # noqa: BLE001 - it is reported, and tried again
            report(events.InternalError(part="ring-in", consequence="News of other servers come later."), error)
            self._look_later()

    def _look_later(self) -> None:
        """Look at everything with the next look: `wake` stays as it is, so that a failure does not lead to a loop."""
        with self._lock:
            self._heard.overflowed = True

    def close(self) -> None:
        """End the thread, if it was started."""
        self._over = True
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join()
