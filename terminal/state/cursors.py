"""Floor 4: the client's cursors: of each log, the last number had and the last one acknowledged."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from wire.frames import Entry, LogState, Ref, Seen
from wire.names import fold


def log_key(channel: str | None, user: str | None) -> str:
    """The key of a log, as in the `since` of `hello`: `lab`, or `@bob` for the direct conversation with bob."""
    return f"@{fold(user)}" if user else fold(channel or "")


@dataclass(slots=True)
class Reading:
    """How far one log was read. `had` is None until a number came: the server then starts from its own cursor."""

    channel: str | None
    user: str | None
    had: int | None = None
    acknowledged: int = 0
    asked: Ref = None  # the `seen` that is under way
    past: int = 0  # numbers up to this one were said while we were away
    expected: int = 0  # the last number of which we know that it will come

    @property
    def due(self) -> bool:
        """Whether something was had that has not been acknowledged."""
        return self.had is not None and self.had > self.acknowledged


class Readings:
    """Every log that we read. Of each, at most one `seen` is under way, and the next one takes all that came since."""

    def __init__(self) -> None:
        self._logs: dict[str, Reading] = {}
        self._due: dict[str, Reading] = {}  # what the next `acknowledgements` looks at
        self._asked: dict[Ref, str] = {}

    def clear(self) -> None:
        """Forget everything: we are somebody else now."""
        self._logs.clear()
        self._due.clear()
        self._asked.clear()

    def since(self) -> dict[str, int]:
        """The last number had in each log, for `hello`."""
        return {key: reading.had for key, reading in self._logs.items() if reading.had is not None}

    def channels(self) -> dict[str, str]:
        """The channels that we are in, key to name, the one joined last at the end."""
        return {key: reading.channel for key, reading in self._logs.items() if reading.channel}

    def expect(self, channel: str | None, user: str | None, number: int) -> None:
        """Note that an entry of our own is stored and so will come; but not from a channel that we have left."""
        if user or fold(channel or "") in self._logs:
            reading = self.open(channel, user)
            reading.expected = max(reading.expected, number)

    @property
    def level(self) -> bool:
        """Whether everything has come that was there when we were let in, and everything of our own since."""
        return all(max(reading.had or 0, reading.acknowledged) >= reading.expected for reading in self._logs.values())

    def open(self, channel: str | None, user: str | None) -> Reading:
        """The reading of a log, which is begun if it is new."""
        key = log_key(channel, user)
        return self._logs.setdefault(key, Reading(channel, user))

    def close(self, channel: str) -> None:
        """A channel was left: if it is joined again, what was said in between is not ours."""
        self._logs.pop(fold(channel), None)
        self._due.pop(fold(channel), None)

    def welcome(self, logs: Iterable[LogState]) -> None:
        """Begin on a new line: the server says what we are in, and up to where it knows that we have read."""
        logs = list(logs)
        self._asked.clear()
        self._due.clear()
        for gone in self.channels().keys() - {fold(log.channel) for log in logs if log.channel}:
            del self._logs[gone]
        for reading in self._logs.values():
            reading.asked = None
        for log in logs:
            reading = self.open(log.channel, log.user)
            reading.acknowledged, reading.past, reading.expected = log.seen, log.tail, log.tail
            if reading.had is not None:
                # A tail below it is that of another store, whose numbers are others: `hello` was taken the same way.
                reading.had = min(reading.had, log.tail)
            self._note_due(reading)

    def take(self, entry: Entry, me: str) -> tuple[Reading, int | None]:
        """Note an entry; with the number had before it, or None if this one was had already."""
        peer = None if entry.to is None else entry.to if fold(entry.sender) == fold(me) else entry.sender
        reading = self.open(entry.channel, peer)
        before = reading.had if reading.had is not None else entry.number - 1
        if entry.number <= before:
            return reading, None
        self._move(reading, entry.number)
        return reading, before

    def skip(self, channel: str | None, user: str | None, number: int) -> bool:
        """Move on to `number`, without what lies before it; False if we are there already."""
        reading = self.open(channel, user)
        if reading.had is not None and reading.had >= number:
            return False
        self._move(reading, number)
        return True

    def _move(self, reading: Reading, number: int) -> None:
        reading.had = number
        self._note_due(reading)

    def _note_due(self, reading: Reading) -> None:
        if reading.due:
            self._due[log_key(reading.channel, reading.user)] = reading

    def acknowledgements(self, new_ref: Callable[[], Ref], *, last: bool = False) -> list[Seen]:
        """One `seen` for each log where it is due and none is under way; with `last`, whether or not one is."""
        frames: list[Seen] = []
        for key, reading in list(self._due.items()):
            if reading.asked is not None and not last:
                continue
            del self._due[key]
            if reading.had is None or not reading.due:
                continue
            reading.asked, reading.acknowledged = new_ref(), reading.had
            self._asked[reading.asked] = key
            frames.append(
                Seen(number=reading.had, channel=reading.channel or "", user=reading.user or "", ref=reading.asked)
            )
        return frames

    def answered(self, ref: Ref) -> bool:
        """Note the answer to a `seen`; False if `ref` is that of something else."""
        key = self._asked.pop(ref, None)
        reading = self._logs.get(key) if key is not None else None
        if reading is not None:
            reading.asked = None
            self._note_due(reading)
        return key is not None
