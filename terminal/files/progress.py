"""Floor 4: how far a transfer is, in one line for a person. Pure."""

from __future__ import annotations

from collections import deque

from wire.file_names import size_words
from wire.text import percent

_BAR = 20  # characters
_SPAN = 5.0  # seconds that the rate looks back


class Progress:
    """How much of `size` is done. Written by one thread, and read by another that only shows it."""

    def __init__(self, verb: str, name: str) -> None:
        self.verb = verb
        self.name = name
        self.size = 0
        self.done = 0
        self.way = ""  # `directly`, if it goes straight to its receiver
        self.note = "about to begin"  # or what it waits for, if it does
        self._marks: deque[tuple[float, int]] = deque(maxlen=64)

    def begin(self, size: int, done: int, now: float) -> None:
        """So much is there from before; it does not count for the rate."""
        self.size, self.done, self.note = size, done, ""
        self._marks.clear()
        self._marks.append((now, done))

    def mark(self, now: float) -> None:
        """Take note of how far it is; seconds on any clock that does not jump."""
        self._marks.append((now, self.done))
        while len(self._marks) > 2 and now - self._marks[0][0] > _SPAN:
            self._marks.popleft()

    @property
    def rate(self) -> float:
        """Bytes a second, of late."""
        marks = list(self._marks)
        if len(marks) < 2 or marks[-1][0] <= marks[0][0]:
            return 0.0
        return (marks[-1][1] - marks[0][1]) / (marks[-1][0] - marks[0][0])

    def line(self) -> str:
        """`get photo.jpg [####----] 54 %  3.4 MB of 6.2 MB  1.2 MB/s  0:02 left`."""
        if self.note:
            return f"{self.verb} {self.name}: {self.note}"
        share = percent(self.done, self.size)
        bar = "#" * (share * _BAR // 100)
        pace, rate = "", self.rate
        if rate > 0:
            pace = f"  {size_words(int(rate))}/s  {time_words((self.size - self.done) / rate)} left"
        amount = f"{size_words(self.done)} of {size_words(self.size)}"
        way = f"  {self.way}" if self.way else ""
        return f"{self.verb} {self.name} [{bar:-<{_BAR}}] {share:>3} %  {amount}{pace}{way}"


def time_words(seconds: float) -> str:
    """`0:07`, `12:30`, `3:04:05`; more than a hundred hours are `a long time`."""
    if seconds >= 360_000:
        return "a long time"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
