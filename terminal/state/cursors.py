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
class Cursor:
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


class Cursors:
    """Every log that we read. Of each, at most one `seen` is under way, and the next one takes all that came since."""

    def __init__(self) -> None:
        self._logs: dict[str, Cursor] = {}
        self._due: dict[str, Cursor] = {}  # what the next `acknowledgements` looks at
        self._asked: dict[Ref, str] = {}

    def clear(self) -> None:
        """Forget everything: we are somebody else now."""
        self._logs.clear()
        self._due.clear()
        self._asked.clear()

    def since(self) -> dict[str, int]:
        """The last number had in each log, for `hello`."""
        return {key: cursor.had for key, cursor in self._logs.items() if cursor.had is not None}

    def channels(self) -> dict[str, str]:
        """The channels that we are in, key to name, the one joined last at the end."""
        return {key: cursor.channel for key, cursor in self._logs.items() if cursor.channel}

    def expect(self, channel: str | None, user: str | None, number: int) -> None:
        """Note that an entry of our own is stored and so will come; but not from a channel that we have left."""
        if user or fold(channel or "") in self._logs:
            cursor = self.open(channel, user)
            cursor.expected = max(cursor.expected, number)

    @property
    def level(self) -> bool:
        """Whether everything has come that was there when we were let in, and everything of our own since."""
        return all(max(cursor.had or 0, cursor.acknowledged) >= cursor.expected for cursor in self._logs.values())

    def open(self, channel: str | None, user: str | None) -> Cursor:
        """The cursor of a log, which is begun if it is new."""
        key = log_key(channel, user)
        return self._logs.setdefault(key, Cursor(channel, user))

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
        for cursor in self._logs.values():
            cursor.asked = None
        for log in logs:
            cursor = self.open(log.channel, log.user)
            cursor.acknowledged, cursor.past, cursor.expected = log.seen, log.tail, log.tail
            if cursor.had is not None:
                # A tail below it is that of another store, whose numbers are others: `hello` was taken the same way.
                cursor.had = min(cursor.had, log.tail)
            self._note_due(cursor)

    def take(self, entry: Entry, me: str) -> tuple[Cursor, int | None]:
        """Note an entry; with the number had before it, or None if this one was had already."""
        peer = None if entry.to is None else entry.to if fold(entry.sender) == fold(me) else entry.sender
        cursor = self.open(entry.channel, peer)
        before = cursor.had if cursor.had is not None else entry.number - 1
        if entry.number <= before:
            return cursor, None
        self._move(cursor, entry.number)
        return cursor, before

    def skip(self, channel: str | None, user: str | None, number: int) -> bool:
        """Move on to `number`, without what lies before it; False if we are there already."""
        cursor = self.open(channel, user)
        if cursor.had is not None and cursor.had >= number:
            return False
        self._move(cursor, number)
        return True

    def _move(self, cursor: Cursor, number: int) -> None:
        cursor.had = number
        self._note_due(cursor)

    def _note_due(self, cursor: Cursor) -> None:
        if cursor.due:
            self._due[log_key(cursor.channel, cursor.user)] = cursor

    def acknowledgements(self, new_ref: Callable[[], Ref], *, last: bool = False) -> list[Seen]:
        """One `seen` for each log where it is due and none is under way; with `last`, whether or not one is."""
        frames: list[Seen] = []
        for key, cursor in list(self._due.items()):
            if cursor.asked is not None and not last:
                continue
            del self._due[key]
            if cursor.had is None or not cursor.due:
                continue
            cursor.asked, cursor.acknowledged = new_ref(), cursor.had
            self._asked[cursor.asked] = key
            frames.append(
                Seen(number=cursor.had, channel=cursor.channel or "", user=cursor.user or "", ref=cursor.asked)
            )
        return frames

    def answered(self, ref: Ref) -> bool:
        """Note the answer to a `seen`; False if `ref` is that of something else."""
        key = self._asked.pop(ref, None)
        cursor = self._logs.get(key) if key is not None else None
        if cursor is not None:
            cursor.asked = None
            self._note_due(cursor)
        return key is not None
