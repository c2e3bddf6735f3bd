"""Floor 4: the entries that come over MQTT, in order.

The broker sends new entries and those that it has kept for this session. If a number is missing, the conversation asks
for history, and holds later entries until the gap is filled. So each log's entries are passed on in the order of their
numbers, each once. An entry is acknowledged to the broker, in the order of arrival, when a person has seen it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from wire.frames import Entry, Gap, History, LogState, Page, Seen
from wire.limits import Limits
from wire.topics import partner

from ...state.cursors import log_key

_PAGE = 100  # entries of one answer; even the longest fit into a packet that any broker accepts


@dataclass(slots=True)
class _OrderedLog:
    """The progress in one log: the last number passed on (`had`) and seen, and the entries `held` behind a gap."""

    channel: str | None
    user: str | None
    had: int
    seen: int = 0
    held: dict[int, Entry] = field(default_factory=dict)
    asked: bool = False  # history is asked for and has not come yet


class OrderedLogs:
    """All logs that one connection reads."""

    def __init__(self, me: str) -> None:
        self._me = me
        self._logs: dict[str, _OrderedLog] = {}
        self._wanting: dict[str, None] = {}  # logs that need history
        self._arrived: deque[int] = deque()  # packet identifiers in the order of arrival, until they are acknowledged
        self._open: dict[int, tuple[str, int] | None] = {}  # their logs and numbers; None: unknown

    def begin(self, states: Iterable[LogState], since: Mapping[str, int]) -> list[Gap]:
        """Start the logs that the user is a member of, each after its number in `since`, else after the last seen one.

        Return the gaps, which a server leaves if the client has missed too many entries and did not say `since`.
        """
        gaps: list[Gap] = []
        for key, number in since.items():
            if key.startswith("@"):
                self._logs[key] = _OrderedLog(None, key[1:], number, number)
        for state in states:
            key = log_key(state.channel, state.user)
            had, least = since.get(key), state.tail - Limits().missed
            if had is None:
                had = state.seen
                if had < least:
                    gaps.append(Gap(first=had + 1, last=least, channel=state.channel, user=state.user))
                    had = least
            self._logs[key] = _OrderedLog(state.channel, state.user, min(had, state.tail), state.seen)
        return gaps

    def open(self, channel: str, tail: int) -> bool:
        """Start a joined channel after number `tail`. Return False if it was started before."""
        key = log_key(channel, None)
        if key in self._logs:
            return False
        self._logs[key] = _OrderedLog(channel, None, tail, tail)
        return True

    def close(self, channel: str) -> None:
        """Stop a channel that the user has left."""
        self._logs.pop(log_key(channel, None), None)

    def reads(self, channel: str) -> bool:
        """Return True if the user is in a channel."""
        return log_key(channel, None) in self._logs

    def arrived(self, packet_id: int) -> None:
        """Note a message at QoS 1."""
        self._arrived.append(packet_id)
        self._open[packet_id] = None

    def settle(self, packet_id: int) -> None:
        """Let a message be acknowledged in its turn, as it is not an entry or not for us."""
        self._open.pop(packet_id, None)

    def handle(self, entry: Entry, packet_id: int) -> list[Entry]:
        """Add an entry of the broker (`packet_id` 0 at QoS 0). Return the entries to pass on now."""
        user = partner(entry, self._me)
        key = log_key(entry.channel, user)
        if packet_id:
            self._open[packet_id] = (key, entry.number)
        log = self._logs.get(key)
        if log is None:
            if user is None:
                return []  # the user has left the channel
            log = self._logs[key] = _OrderedLog(None, user, entry.number - 1)
        if entry.number > log.had:
            log.held[entry.number] = entry
        ready = self._ready(log)
        if log.held:
            self.want(key)
        return ready

    @staticmethod
    def _ready(log: _OrderedLog) -> list[Entry]:
        ready: list[Entry] = []
        while (entry := log.held.pop(log.had + 1, None)) is not None:
            log.had = entry.number
            ready.append(entry)
        return ready

    def want(self, key: str) -> None:
        """Ask for the entries after the last one that was passed on."""
        if key in self._logs and not self._logs[key].asked:
            self._wanting[key] = None

    def histories(self) -> list[History]:
        """Return the pages to ask for now; each log asks for one page at a time."""
        keys, self._wanting = self._wanting, {}
        questions: list[History] = []
        for log in [self._logs[key] for key in keys if key in self._logs]:
            log.asked = True
            questions.append(History(channel=log.channel or "", user=log.user or "", after=log.had, limit=_PAGE))
        return questions

    def page(self, question: History, page: Page | None) -> list[Entry]:
        """Handle a page of history, or its failure. Return the entries to pass on now."""
        key = log_key(question.channel or None, question.user or None)
        log = self._logs.get(key)
        if log is None:
            return []
        log.asked = False
        ready: list[Entry] = []
        for entry in page.entries if page is not None else ():
            if entry.number > log.had:
                log.held.pop(entry.number, None)
                log.had = entry.number
                ready.append(entry)
        ready += self._ready(log)
        if log.held and not ready:  # the missing entries are gone
            log.had = min(log.held) - 1
            ready += self._ready(log)
        if log.held or (page is not None and page.entries and log.had < page.tail):
            self.want(key)
        return ready

    def gap(self, gap: Gap) -> Gap | None:
        """Continue a log after a gap that the server reports. Return None if the entries of the gap were passed on."""
        log = self._logs.get(log_key(gap.channel, gap.user))
        if log is None or gap.last <= log.had:
            return None
        told = Gap(first=log.had + 1, last=gap.last, channel=gap.channel, user=gap.user)
        log.had = gap.last
        log.held = {number: entry for number, entry in log.held.items() if number > gap.last}
        return told

    def see(self, seen: Seen) -> None:
        """Note that a person has seen a log's entries up to a number."""
        log = self._logs.get(log_key(seen.channel or None, seen.user or None))
        if log is not None:
            log.seen = max(log.seen, seen.number)

    def acknowledgements(self) -> list[int]:
        """Return the packet identifiers to acknowledge now, in the order of arrival [MQTT-4.6.0-2]."""
        packet_ids: list[int] = []
        while self._arrived and self._is_done(self._arrived[0]):
            packet_ids.append(self._arrived.popleft())
            self._open.pop(packet_ids[-1], None)
        return packet_ids

    def _is_done(self, packet_id: int) -> bool:
        if packet_id not in self._open:
            return True
        place = self._open[packet_id]
        if place is None:
            return False
        log = self._logs.get(place[0])
        return log is None or place[1] <= log.seen
