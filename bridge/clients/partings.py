"""Floor 3: partings: a client that connects at one server takes its session along from the server that it was at.

The server at which it is now asks the other one, which answers when it has stored how far the client has come. The
answer saves the client what it has had already. Without one, nothing is lost: the store lets nobody but the owner of a
session change it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from channels import Chat, Parted, PartWanted, leaf
from store import Holding

SECONDS = 2.0  # that a client waits at most for other servers


class Partings:
    """Any thread may call it. With one server, nothing waits."""

    def __init__(self, chat: Chat) -> None:
        self._outbox = chat.outbox
        self._here = chat.servers.here
        self._lock = leaf()
        self._open: dict[int, bool] = {}  # by the number of a connection here: True if another server waits for its end
        self._waits: dict[tuple[int, int], threading.Event] = {}  # by server and connection
        chat.hearing.listen(PartWanted, self._wanted)
        chat.hearing.listen(Parted, self._parted)
        chat.hearing.listen(None, self._gone)

    def opened(self, connection: int) -> None:
        """Note that a connection is about to log in: it may have a session until `closed`."""
        with self._lock:
            self._open[connection] = False

    def closed(self, connection: int) -> bool:
        """Note that a connection has ended and its session is stored. Return True if another server waits for that.

        No-op for a connection that is not open.
        """
        with self._lock:
            wanted = self._open.pop(connection, False)
        if wanted:
            self._outbox.tell(Parted(connection))
        return wanted

    def wait(self, replaced: Sequence[Holding]) -> None:
        """Return when other servers have stored the sessions of these connections, or have not done so in time."""
        if not replaced:
            return
        deadline = time.monotonic() + SECONDS
        waits = {(each.server, each.connection): threading.Event() for each in replaced}
        with self._lock:
            self._waits.update(waits)
        for place in waits:
            self._outbox.tell(PartWanted(*place))
        for event in waits.values():
            event.wait(max(0.0, deadline - time.monotonic()))
        with self._lock:
            for place in waits:
                self._waits.pop(place, None)

    def _wanted(self, server: int, notice: PartWanted) -> None:
        if notice.server != self._here:
            return
        with self._lock:
            is_open = notice.connection in self._open
            if is_open:
                self._open[notice.connection] = True
        if not is_open:
            self._outbox.tell(Parted(notice.connection))

    def _parted(self, server: int, notice: Parted) -> None:
        with self._lock:
            event = self._waits.get((server, notice.connection))
        if event is not None:
            event.set()

    def _gone(self, server: int, _notice: None) -> None:
        with self._lock:
            events = [event for place, event in self._waits.items() if place[0] == server]
        for event in events:
            event.set()
