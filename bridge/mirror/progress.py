"""Floor 3: how far the broker has acknowledged each channel: in memory at once, in the store a moment later."""

from __future__ import annotations

from collections.abc import Mapping

from channels import Chat, Log
from store import Client
from wire.clock import now


class MirrorProgress:
    """The mirror's cursors in channels. Changed by the mirror's thread; any thread may call `behind`."""

    def __init__(self, chat: Chat, key: str) -> None:
        """`key` is the name of these cursors in the store."""
        self._chat = chat
        self.key = key
        self._acknowledged: dict[Log, int] = {}
        self._loaded: dict[int, int] = {}  # by log id: what `load` has read
        self._unstored: set[Log] = set()  # channels whose number in memory is ahead of the store's
        self._sent: dict[int, int] = {}  # by log id: how far earlier connections have sent it

    def load(self) -> None:
        """Read the cursors. The first time, the mirror begins at the tails: it does not publish what was said before.

        An earlier process, or another server, may have sent everything up to the tails.
        """
        store, channels = self._chat.store, self._chat.all_channels()
        if store.client(self.key, now()) is None:
            store.save_client(Client(self.key, None, None, ""))
            store.move({(log.row.id, self.key): log.tail for log in channels}, {})
        self._unstored.clear()
        self._loaded = store.client_cursors(self.key)
        self._acknowledged = {}
        self._sent = {log.row.id: log.tail for log in channels}

    def behind(self) -> int:
        """Return how many entries the broker has not acknowledged."""
        return sum(log.tail - self._cursor(log) for log in self._chat.all_channels())

    def _cursor(self, log: Log) -> int:
        acknowledged = self._acknowledged.get(log)
        return self._loaded.get(log.row.id, 0) if acknowledged is None else acknowledged

    def start_of(self, log: Log) -> tuple[int, int]:
        """Return after which number to publish a channel, and up to which number it may have been sent before."""
        return self._cursor(log), self._sent.get(log.row.id, 0)

    def acknowledge(self, log: Log, number: int) -> None:
        """Note that the broker has acknowledged a channel up to a number."""
        self._acknowledged[log] = number
        self._unstored.add(log)

    def forget(self, log: Log) -> None:
        """Forget a channel that has left the store. Called by any thread."""
        self._acknowledged.pop(log, None)
        self._loaded.pop(log.row.id, None)

    @property
    def unstored(self) -> bool:
        """True if the store lags behind."""
        return bool(self._unstored)

    def store(self) -> None:
        """Have the next commit store the numbers. To do so for each PUBACK would cost more than all the rest."""
        unstored, self._unstored = self._unstored, set()
        for log in unstored:
            self._chat.journal.move(log, self.key, self._acknowledged[log])

    def note_sent(self, sent: Mapping[int, int]) -> None:
        """Note how far a connection that has ended had sent each log, by log id."""
        self._sent.update(sent)
