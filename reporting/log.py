"""Floor 0: `report`, and the log that writes what is reported."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from typing import Literal, TextIO

import msgspec

from .events import Event, Repeated
from .formats import LineFormatter, LogFormat, event_of
from .repeats import Repeats

LogLevel = Literal["debug", "info", "warning", "error"]

_logger = logging.getLogger("partyline")


class LogOptions(msgspec.Struct, frozen=True):
    """The form, the level from which on events are written, and the lines of one event and source in a minute.

    0 lines stand for no limit.
    """

    form: LogFormat = "text"
    level: LogLevel = "info"
    lines: int = 0


def report(event: Event, error: BaseException | None = None) -> None:
    """Log an event, with the traceback of `error`. Any thread may call it; not for each message, and with no lock held.

    It writes to the log's stream, which may block.
    """
    if _logger.isEnabledFor(event.LEVEL):  # no `log`, which would look for the caller on the stack
        trace = None if error is None else (type(error), error, error.__traceback__)
        _logger.handle(_logger.makeRecord(_logger.name, event.LEVEL, "", 0, "%s", (event,), trace))


class OperatorLog(logging.Handler):
    """Writes the log. Owns the thread `log-repeats`, which writes how many lines were only counted in a minute."""

    def __init__(self, options: LogOptions, source: Callable[[str], str], stream: TextIO) -> None:
        super().__init__()
        self.setFormatter(LineFormatter(options.form))
        self._repeats = Repeats(options.lines)
        self._source = source
        self._stream = stream
        self._changed = threading.Condition(self.lock)  # of `logging.Handler`, which holds its lock during `emit`
        self._idle = True  # the thread waits for the first line that is only counted
        self._over = False
        self._thread = threading.Thread(target=self._run, name="log-repeats", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, or count it. Called by `logging`, which holds the handler's lock."""
        try:
            event, at = event_of(record), time.monotonic()
            self._write_counts(at)
            if self._repeats.may_write(event.code, self._source(event.source) if event.source else "", at):
                self._write(record)
            elif self._idle:
                self._idle = False
                self._changed.notify()
        except Exception:  # noqa: BLE001 - logging has its own report of what fails in a handler
            self.handleError(record)

    def _write(self, record: logging.LogRecord) -> None:
        self._stream.write(f"{self.format(record)}\n")
        self._stream.flush()

    def _write_counts(self, at: float) -> None:
        for event, source, count in self._repeats.ended(at):
            repeated = Repeated(source, event, count)
            self._write(logging.LogRecord(_logger.name, repeated.LEVEL, "", 0, "%s", (repeated,), None))

    def _run(self) -> None:
        """Thread `log-repeats`: wait until a line was only counted, and then until its minute is over."""
        with self._changed:
            while not self._over:
                end = self._repeats.next_end()
                self._idle = end is None
                self._changed.wait(None if end is None else max(0.0, end - time.monotonic()))
                self._write_counts(time.monotonic())

    def close(self) -> None:
        """Write the counts, end the thread, and log nothing more."""
        logging.getLogger().removeHandler(self)
        with self._changed:
            over, self._over = self._over, True
            if not over:
                self._write_counts(float("inf"))
            self._changed.notify()
        self._thread.join()
        super().close()


def open_log(options: LogOptions, source: Callable[[str], str] = str, stream: TextIO | None = None) -> OperatorLog:
    """Write what is reported to a stream, by default standard error. Close the log at the end.

    `source` returns the source of an IP address: addresses that one peer can have are one source. Libraries log from
    warnings on.
    """
    log = OperatorLog(options, source, sys.stderr if stream is None else stream)
    logging.getLogger().addHandler(log)
    _logger.setLevel(options.level.upper())
    return log
