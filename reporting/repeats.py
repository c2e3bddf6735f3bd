"""Floor 0: repeats: which lines of a flood are written, and how many were only counted."""

from __future__ import annotations

from dataclasses import dataclass

PERIOD = 60.0  # seconds in which lines are counted
_SOURCES = 10_000  # that are counted each by itself
_ALL = 50  # times the lines of one source that all sources together may have


@dataclass(slots=True)
class _Window:
    began: float
    written: int = 0
    counted: int = 0


class Repeats:
    """Counts lines by event and source, and by event alone. Not for several threads at a time.

    A window begins with the first line of its event and source, and lasts for a minute. Times are of `time.monotonic`.
    """

    def __init__(self, lines: int) -> None:
        """`lines` is the number of lines of one event and source that are written in a minute; 0: all."""
        self._lines = lines
        self._windows: dict[tuple[str, str], _Window] = {}  # in the order of their beginning

    def may_write(self, event: str, source: str, at: float) -> bool:
        """Return True if the line is to be written; otherwise count it. Call `ended` first. The source may be empty."""
        if not self._lines:
            return True
        key = (event, source)
        if key not in self._windows and len(self._windows) >= _SOURCES:
            key = (event, "")
        own = [(key, self._lines)] if key[1] else []
        for each, most in (*own, ((event, ""), self._lines * _ALL)):
            window = self._windows.setdefault(each, _Window(at))
            if window.written >= most:
                window.counted += 1
                return False
            window.written += 1
        return True

    def ended(self, at: float) -> list[tuple[str, str, int]]:
        """Forget the windows that have ended. Return event, source and count of those with lines only counted."""
        found: list[tuple[str, str, int]] = []
        while self._windows:
            key, window = next(iter(self._windows.items()))
            if window.began + PERIOD > at:
                break
            del self._windows[key]
            if window.counted:
                found.append((*key, window.counted))
        return found

    def next_end(self) -> float | None:
        """Return when the next window ends that has lines only counted; None if no window has."""
        return min((window.began + PERIOD for window in self._windows.values() if window.counted), default=None)
