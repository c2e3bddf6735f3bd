"""Floor 4: the client's cursors: for each log, the last number that it had and the last one that it acknowledged."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from wire.frames import Entry, LogState, Ref, Seen
from wire.names import fold


def log_key(channel: str | None, user: str | None) -> str:
    """Return the key of a log, as in the `since` of `hello`: `lab`, or `@bob` for the private talk with bob."""
    return f"@{fold(user)}" if user else fold(channel or "")


@dataclass(slots=True)
class Cursor:
    """The cursor of one log. `had` is None before the first number: the server then starts from its own cursor."""

    channel: str | None
    user: str | None
    had: int | None = None
    joined_at: int | None = None  # the tail at the join, which stands for `had` in `hello`
    acknowledged: int = 0
    in_flight: Ref = None  # the `ref` of a `seen` without an answer
    past: int = 0  # entries up to this number were posted while we were away
    expected: int = 0  # the last number that is known to come

    @property
    def due(self) -> bool:
        """True if an entry came that was not acknowledged."""
        return self.had is not None and self.had > self.acknowledged


class Cursors:
    """A cursor for each log. Each has at most one `seen` in flight; the next `seen` covers all that came since."""

    def __init__(self) -> None:
        self._logs: dict[str, Cursor] = {}
        self._due: dict[str, Cursor] = {}  # the ones that the next `acknowledgements` looks at
        self._in_flight: dict[Ref, str] = {}

    def clear(self) -> None:
        """Forget everything, because the user has taken another name."""
        self._logs.clear()
        self._due.clear()
        self._in_flight.clear()

    def since(self) -> dict[str, int]:
        """Return for `hello` the last number of each log, or the number at which its channel was joined.

        To a client that names none, the server sends the last 500 missed entries only.
        """
        numbers = {key: cursor.joined_at if cursor.had is None else cursor.had for key, cursor in self._logs.items()}
        return {key: number for key, number in numbers.items() if number is not None}

    def channels(self) -> dict[str, str]:
        """Return the joined channels, key to name, in the order of joining."""
        return {key: cursor.channel for key, cursor in self._logs.items() if cursor.channel}

    def expect(self, channel: str | None, user: str | None, number: int) -> None:
        """Note that our own entry is stored and will come, unless its channel was left."""
        if user or fold(channel or "") in self._logs:
            cursor = self.open(channel, user)
            cursor.expected = max(cursor.expected, number)

    @property
    def level(self) -> bool:
        """True if all entries came that were there at the welcome, and all of our own since."""
        return all(max(cursor.had or 0, cursor.acknowledged) >= cursor.expected for cursor in self._logs.values())

    def open(self, channel: str | None, user: str | None) -> Cursor:
        """Return the cursor of a log; a new one if the log has none."""
        key = log_key(channel, user)
        return self._logs.setdefault(key, Cursor(channel, user))

    def join(self, channel: str, tail: int) -> None:
        """Open the cursor of a joined channel; no-op for one that has a cursor.

        `had` stays None, because an entry that is posted in the moment of the join may have a number up to `tail`.
        """
        if log_key(channel, None) not in self._logs:
            self.open(channel, None).joined_at = tail

    def close(self, channel: str) -> None:
        """Forget a channel that was left: after another join, the entries in between are not ours."""
        self._logs.pop(fold(channel), None)
        self._due.pop(fold(channel), None)

    def welcome(self, logs: Iterable[LogState]) -> None:
        """Begin a new connection with the server's list of our logs and of what we have acknowledged in each."""
        logs = list(logs)
        self._in_flight.clear()
        self._due.clear()
        for gone in self.channels().keys() - {fold(log.channel) for log in logs if log.channel}:
            del self._logs[gone]
        for cursor in self._logs.values():
            cursor.in_flight = None
        for log in logs:
            cursor = self.open(log.channel, log.user)
            cursor.acknowledged, cursor.past, cursor.expected = log.seen, log.tail, log.tail
            if cursor.had is not None:
                # A lower tail is that of another store with other numbers. The server reads `hello` the same way.
                cursor.had = min(cursor.had, log.tail)
            if cursor.joined_at is not None:
                cursor.joined_at = min(cursor.joined_at, log.tail)
            self._note_due(cursor)

    def advance(self, entry: Entry, me: str) -> tuple[Cursor, int | None]:
        """Move the cursor to an entry. Return the number before it, or None if the entry came before."""
        peer = None if entry.to is None else entry.to if fold(entry.sender) == fold(me) else entry.sender
        cursor = self.open(entry.channel, peer)
        before = cursor.had if cursor.had is not None else entry.number - 1
        if entry.number <= before:
            return cursor, None
        self._move(cursor, entry.number)
        return cursor, before

    def skip(self, channel: str | None, user: str | None, number: int) -> bool:
        """Move the cursor to `number` without the entries before it; False if it is there already."""
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
        """Return a `seen` for each log that is due and has none in flight; with `last`, for each that is due."""
        frames: list[Seen] = []
        for key, cursor in list(self._due.items()):
            if cursor.in_flight is not None and not last:
                continue
            del self._due[key]
            if cursor.had is None or not cursor.due:
                continue
            cursor.in_flight, cursor.acknowledged = new_ref(), cursor.had
            self._in_flight[cursor.in_flight] = key
            frames.append(
                Seen(number=cursor.had, channel=cursor.channel or "", user=cursor.user or "", ref=cursor.in_flight)
            )
        return frames

    def answered(self, ref: Ref) -> bool:
        """Note the answer to a `seen`; False if `ref` belongs to another request."""
        key = self._in_flight.pop(ref, None)
        cursor = self._logs.get(key) if key is not None else None
        if cursor is not None:
            cursor.in_flight = None  # an entry that came since is in `_due` already
        return key is not None
