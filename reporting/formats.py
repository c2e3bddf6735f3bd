"""Floor 0: the two forms of the operator's log: lines of text, and JSON objects, one a line.

A value that a peer has chosen stays inside its field: it is bounded in length, and what is not a printable character of
ASCII is escaped as in JSON, so no line end, escape sequence or direction mark reaches the log or a terminal.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import datetime
from typing import Literal

from .events import Event, Message
from .values import Value, cut, escaped

LogFormat = Literal["text", "json"]

_TRACEBACK = 20_000  # characters
_INDENT = "    | "  # before each line of a traceback, so that none can be taken for an event


def event_of(record: logging.LogRecord) -> Event:
    """Return the event of a record, its only argument; a `Message` for the record of a library."""
    if isinstance(record.args, tuple) and len(record.args) == 1 and isinstance(record.args[0], Event):
        return record.args[0]
    return Message(record.name, record.getMessage())


def text_line(record: logging.LogRecord) -> str:
    """Return `TIME LEVEL code: Sentence. key=value …`, and the indented lines of a traceback."""
    line = f"{_time(record)} {record.levelname} {event_of(record)}"
    return "\n".join([line, *[_INDENT + escaped(each)[1:-1] for each in _traceback(record).splitlines()]])


def json_line(record: logging.LogRecord) -> str:
    """Return an object with time, level, event, sentence, the event's fields, and the traceback, if any."""
    event = event_of(record)
    line: dict[str, Value] = {
        "time": _time(record), "level": record.levelname.lower(), "event": event.code, "sentence": event.SENTENCE,
    }  # fmt: skip
    line |= {name: cut(value) for name, value in event.fields()}
    if traceback := _traceback(record):
        line["traceback"] = traceback
    return json.dumps(line)


class LineFormatter(logging.Formatter):
    """Formats a record with one of FORMATS."""

    def __init__(self, form: LogFormat) -> None:
        super().__init__()
        self._line = FORMATS[form]

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's line."""
        return self._line(record)


def _time(record: logging.LogRecord) -> str:
    """Return the local time with its offset from UTC, in the form of RFC 3339."""
    return datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds")


def _traceback(record: logging.LogRecord) -> str:
    if record.exc_info is None or record.exc_info[0] is None:
        return ""
    return logging.Formatter().formatException(record.exc_info)[-_TRACEBACK:]


FORMATS: dict[LogFormat, Callable[[logging.LogRecord], str]] = {"text": text_line, "json": json_line}
