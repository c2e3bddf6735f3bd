"""Floor 4: the entries that come over MQTT, put in order; pure.

The broker brings what is said from now on, and what it has kept for this session. Where the numbers show that something
is missing, history has it: what comes after the hole is held until it is filled. So each log's entries go on in the
order of their numbers, each once. An entry is acknowledged to the broker, in the order of arrival, when it was seen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from terminal.state.cursors import log_key
from wire.frames import Entry, Gap, History, LogState, Page, Seen
from wire.limits import Limits
from wire.topics import peer

_PAGE = 100  # entries of one answer: with the longest of them it is a packet that any broker takes


@dataclass(slots=True)
class _Log:
    """How far one log has come: `had` was handed on, `seen` was shown; `held` waits for what is missing before it."""

    channel: str | None
    user: str | None
    had: int
    seen: int = 0
    held: dict[int, Entry] = field(default_factory=dict)
    asked: bool = False  # for history, which has not come yet


class Logs:
    """Every log that is read on one line."""

    def __init__(self, me: str) -> None:
        self._me = me
        self._logs: dict[str, _Log] = {}
        self._wanting: dict[str, None] = {}  # logs whose history is to be asked for
        self._arrived: deque[int] = deque()  # packet identifiers, until they are acknowledged
        self._open: dict[int, tuple[str, int] | None] = {}  # of those, the log and number of entries; None: not known

    def begin(self, states: Iterable[LogState], since: Mapping[str, int]) -> list[Gap]:
        """What we are a member of: each log goes on after the number in `since`, or else after what was seen.

        The gaps are those that a server leaves to somebody who did not say `since` and has missed too much.
        """
        gaps: list[Gap] = []
        for key, number in since.items():
            if key.startswith("@"):
                self._logs[key] = _Log(None, key[1:], number, number)
        for state in states:
            key = log_key(state.channel, state.user)
            had, least = since.get(key), state.tail - Limits().missed
            if had is None:
                had = state.seen
                if had < least:
                    gaps.append(Gap(first=had + 1, last=least, channel=state.channel, user=state.user))
                    had = least
            self._logs[key] = _Log(state.channel, state.user, min(had, state.tail), state.seen)
        return gaps

    def open(self, channel: str, tail: int) -> bool:
        """A channel was joined, and goes on after `tail`; False if it was read already."""
        key = log_key(channel, None)
        if key in self._logs:
            return False
        self._logs[key] = _Log(channel, None, tail, tail)
        return True

    def close(self, channel: str) -> None:
        """A channel was left."""
        self._logs.pop(log_key(channel, None), None)

    def reads(self, channel: str) -> bool:
        """Whether we are in a channel."""
        return log_key(channel, None) in self._logs

    def arrived(self, packet_id: int) -> None:
        """A message has come at QoS 1."""
        self._arrived.append(packet_id)
        self._open[packet_id] = None

    def settle(self, packet_id: int) -> None:
        """It was no entry, or nothing for us: it can be acknowledged in its turn."""
        self._open.pop(packet_id, None)

    def take(self, entry: Entry, packet_id: int) -> list[Entry]:
        """An entry that the broker brings (packet identifier 0: at QoS 0): what is to be handed on now."""
        user = peer(entry, self._me)
        key = log_key(entry.channel, user)
        if packet_id:
            self._open[packet_id] = (key, entry.number)
        log = self._logs.get(key)
        if log is None:
            if user is None:
                return []  # of a channel that was left
            log = self._logs[key] = _Log(None, user, entry.number - 1)
        if entry.number > log.had:
            log.held[entry.number] = entry
        ready = self._ready(log)
        if log.held:
            self.want(key)
        return ready

    @staticmethod
    def _ready(log: _Log) -> list[Entry]:
        ready: list[Entry] = []
        while (entry := log.held.pop(log.had + 1, None)) is not None:
            log.had = entry.number
            ready.append(entry)
        return ready

    def want(self, key: str) -> None:
        """Ask for what follows the last entry that a log had."""
        if key in self._logs and not self._logs[key].asked:
            self._wanting[key] = None

    def histories(self) -> list[History]:
        """What is to be asked now: at most one page of each log is under way."""
        keys, self._wanting = self._wanting, {}
        questions: list[History] = []
        for log in [self._logs[key] for key in keys if key in self._logs]:
            log.asked = True
            questions.append(History(channel=log.channel or "", user=log.user or "", after=log.had, limit=_PAGE))
        return questions

    def page(self, question: History, page: Page | None) -> list[Entry]:
        """History has come, or could not be had: what is to be handed on now."""
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
        if log.held and not ready:  # nobody has what is missing
            log.had = min(log.held) - 1
            ready += self._ready(log)
        if log.held or (page is not None and page.entries and log.had < page.tail):
            self.want(key)
        return ready

    def gap(self, gap: Gap) -> Gap | None:
        """The server has left something out, and goes on behind it; None if that is no news."""
        log = self._logs.get(log_key(gap.channel, gap.user))
        if log is None or gap.last <= log.had:
            return None
        told = Gap(first=log.had + 1, last=gap.last, channel=gap.channel, user=gap.user)
        log.had = gap.last
        log.held = {number: entry for number, entry in log.held.items() if number > gap.last}
        return told

    def see(self, seen: Seen) -> None:
        """A person has seen a log's entries up to a number."""
        log = self._logs.get(log_key(seen.channel or None, seen.user or None))
        if log is not None:
            log.seen = max(log.seen, seen.number)

    def acknowledgements(self) -> list[int]:
        """The packet identifiers that can be acknowledged: MQTT wants them in the order of arrival [MQTT-4.6.0-2]."""
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
