"""Floor 2: the outbox: what the other servers are to be told, in order, until the store has taken it.

Whoever tells something never waits: the thread `ring-out` sends it. While the store is away, the notices wait; the
tails of logs and cursors merge, and if there are too many others, the other servers look at everything again instead.
"""

from __future__ import annotations

import threading
from itertools import islice

from reporting import events, report
from store import Servers, StoreAway, StoreError

from ..locks import leaf
from .notices import CursorMoved, Live, LookAgain, Moved, Notice, encode

_MOST = 10_000  # notices that wait; then one that says to look at everything takes their place
_LIVE = 1 << 20  # bytes of live messages that wait; further ones are lost
_MOVED = 50  # logs in one notice
_AGAIN = 1.0  # seconds after a failure of the store until the next try
_REPORTED = (
    2  # failures after which it is reported: at the first one, the store may be about to find out that it is away
)


class Outbox:
    """The notices on their way. Any thread may call it; with one server, each call is a no-op."""

    def __init__(self, servers: Servers) -> None:
        self.alone = servers.alone
        self._servers = servers
        self._lock = leaf()
        self._notices: list[Notice] = []
        self._released: list[int] = []  # connections
        self._tails: dict[int, tuple[int, str]] = {}  # by log id: the tail, and the key of a private log
        self._cursors: dict[tuple[str, str], int] = {}
        self._pulse = ""
        self._live: list[Live] = []
        self._live_size = 0
        self._failing = False
        self._failures = 0  # one after the other, while the store can be reached
        self._wake = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ring-out", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        if not self.alone:
            self._thread.start()

    def tell(self, notice: Notice) -> None:
        """Tell the other servers, after what was told before."""
        if self.alone:
            return
        with self._lock:
            self._notices.append(notice)
            self._bound_locked()
        self._wake.set()

    def tell_live(self, message: Live) -> None:
        """Send a live message to the other servers. While the store is away, or if too many wait, it is lost."""
        if self.alone or self._failing:
            return
        with self._lock:
            fits = self._live_size + message.size <= _LIVE
            if fits:
                self._live.append(message)
                self._live_size += message.size
        if fits:
            self._wake.set()

    def moved(self, log: int, tail: int, key: str) -> None:
        """Tell that a log has new entries up to `tail`; `key` is that of a private log, else empty."""
        if self.alone:
            return
        with self._lock:
            self._tails[log] = tail, key
        self._wake.set()

    def cursor_moved(self, key: str, name: str, number: int) -> None:
        """Tell the user with that key that the user with that name has read up to a number."""
        if self.alone:
            return
        with self._lock:
            self._cursors[key, name] = number
        self._wake.set()

    def release(self, connection: int) -> None:
        """Have the holding of a connection removed, before what is told from now on is sent."""
        if self.alone:
            return
        with self._lock:
            self._released.append(connection)
        self._wake.set()

    def pulse(self, message: str) -> None:
        """Send a pulse of this server, after what was told before. A later one takes its place if it waits too long."""
        with self._lock:
            self._pulse = message
        self._wake.set()

    def _run(self) -> None:
        while self._wake.wait() and not self._over.is_set():
            self._wake.clear()
            try:
                self._send()
                self._failing, self._failures = False, 0
            except StoreError as error:
                self._failed(error)
            except Exception as error:  # noqa: BLE001 - it is reported, and the others look again
                report(events.InternalError(part="ring-out", consequence="The other servers look again."), error)
                self.tell(LookAgain())

    def _failed(self, error: StoreError) -> None:
        if not isinstance(error, StoreAway):
            self._failures += 1
            if self._failures == _REPORTED:
                report(events.StoreProblem(str(error), "The other servers get news later."))
        self._failing = True
        self._over.wait(_AGAIN)
        self._wake.set()

    def _send(self) -> None:
        """Send what waits. What the store has not taken waits again, before what has come meanwhile."""
        released, notices, pulse = self._take()
        try:
            if released:
                self._servers.release(released)
                released = []
            for message, count in encode(tuple(notices)):
                self._servers.tell(message)
                del notices[:count]
            if pulse:
                self._servers.pulse(pulse)
        except Exception as error:
            with self._lock:
                self._released[:0] = released
                if not isinstance(error, StoreError):
                    raise
                self._notices[:0] = [each for each in notices if not isinstance(each, Live)]
                self._live, self._live_size = [], 0
                self._bound_locked()
            raise

    def _take(self) -> tuple[list[int], list[Notice], str]:
        with self._lock:
            pulse, self._pulse = self._pulse, ""
            released, self._released = self._released, []
            notices, self._notices = self._notices, []
            tails, self._tails = self._tails, {}
            cursors, self._cursors = self._cursors, {}
            live, self._live, self._live_size = self._live, [], 0
        notices += [CursorMoved(key, name, number) for (key, name), number in cursors.items()]
        moved = iter([(log, tail, key) for log, (tail, key) in tails.items()])
        while some := list(islice(moved, _MOVED)):
            notices.append(Moved(some))
        notices += live
        return released, notices, pulse

    def _bound_locked(self) -> None:
        if len(self._notices) > _MOST:
            self._notices = [LookAgain()]

    def close(self) -> None:
        """End the thread. The others look at everything anyway when they are told that this server is gone."""
        self._over.set()
        self._wake.set()
        if not self.alone:
            self._thread.join()
