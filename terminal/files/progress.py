"""Floor 4: the progress of a transfer as one line of text. No I/O."""

from __future__ import annotations

from collections import deque

from wire.file_names import size_words
from wire.ranges import percent

_BAR = 20  # characters
_SPAN = 5.0  # seconds over which the rate is measured


class Progress:
    """The part of `size` that is done. One thread writes it, another one displays it."""

    def __init__(self, verb: str, name: str) -> None:
        self.verb = verb
        self.name = name
        self.size = 0
        self.done = 0
        self.way = ""  # `directly` for a direct transfer
        self.note = "starting"  # or what it waits for
        self._marks: deque[tuple[float, int]] = deque(maxlen=64)

    def begin(self, size: int, done: int, now: float) -> None:
        """Start at `done` bytes, which do not count for the rate."""
        self.size, self.done, self.note = size, done, ""
        self._marks.clear()
        self._marks.append((now, done))

    def mark(self, now: float) -> None:
        """Note the present state for the rate; `now` is seconds on a monotonic clock."""
        self._marks.append((now, self.done))
        while len(self._marks) > 2 and now - self._marks[0][0] > _SPAN:
            self._marks.popleft()

    @property
    def rate(self) -> float:
        """Bytes per second over the last 5 seconds."""
        marks = list(self._marks)
        if len(marks) < 2 or marks[-1][0] <= marks[0][0]:
            return 0.0
        return (marks[-1][1] - marks[0][1]) / (marks[-1][0] - marks[0][0])

    def line(self) -> str:
        """Return e.g. `get photo.jpg [####----] 54 %  3.4 MB of 6.2 MB  1.2 MB/s  0:02 left`."""
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
    """Return `0:07`, `12:30` or `3:04:05`; from 100 hours on, `a long time`."""
    if seconds >= 360_000:
        return "a long time"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
