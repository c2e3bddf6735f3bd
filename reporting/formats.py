"""Floor 0: the two forms of the operator's log: lines of text, and JSON objects, one a line.

A value that a peer has chosen stays inside its field: it is bounded in length, and what is not a printable character of
ASCII is escaped as in JSON, so no line end, escape sequence or direction mark reaches the log or a terminal.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Literal, TypeAlias

import msgspec

from .events import Event, Message

LogFormat = Literal["text", "json"]
Value: TypeAlias = str | int | float | bool

LONGEST = 200  # characters of one value; the rest is cut
_TRACEBACK = 20_000  # characters
_BARE = re.compile(r"[A-Za-z0-9_.,:;@/+*\[\]()#~-]+")
_INDENT = "    | "  # before each line of a traceback, so that none can be taken for an event


def event_of(record: logging.LogRecord) -> Event:
    """Return the event of a record; a `Message` for the record of a library."""
    event = getattr(record, "event", None)
    return event if isinstance(event, Event) else Message(record.name, record.getMessage())


def text_line(record: logging.LogRecord) -> str:
    """Return `TIME LEVEL code: Sentence. key=value …`, and the indented lines of a traceback."""
    event = event_of(record)
    fields = [f" {key}={_text(value)}" for key, value in _fields(event)]
    line = f"{_time(record)} {record.levelname} {event.code}: {event.SENTENCE}{''.join(fields)}"
    return "\n".join([line, *[_INDENT + _escape(each)[1:-1] for each in _traceback(record).splitlines()]])


def json_line(record: logging.LogRecord) -> str:
    """Return an object with time, level, event, sentence, the event's fields, and the traceback, if any."""
    event = event_of(record)
    line: dict[str, Value] = {
        "time": _time(record), "level": record.levelname.lower(), "event": event.code, "sentence": event.SENTENCE,
    }  # fmt: skip
    line |= {key: _cut(value) if isinstance(value, str) else value for key, value in _fields(event)}
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


def _fields(event: Event) -> Iterator[tuple[str, Value]]:
    """Yield the fields that have a value, in order; those that came with a later version are the last ones."""
    for key, value in msgspec.structs.asdict(event).items():
        if value is not None and value != "":
            yield key, value


def _time(record: logging.LogRecord) -> str:
    """Return the local time with its offset from UTC, in the form of RFC 3339."""
    return datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds")


def _text(value: Value) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, str):
        return f"{value:g}" if isinstance(value, float) else str(value)
    value = _cut(value)
    return value if _BARE.fullmatch(value) else _escape(value)


def _cut(value: str) -> str:
    return value if len(value) <= LONGEST else f"{value[: LONGEST - 1]}…"


def _escape(value: str) -> str:
    """Return a JSON string of printable ASCII only."""
    return json.dumps(value)


def _traceback(record: logging.LogRecord) -> str:
    if record.exc_info is None or record.exc_info[0] is None:
        return ""
    return logging.Formatter().formatException(record.exc_info)[-_TRACEBACK:]


FORMATS: dict[LogFormat, Callable[[logging.LogRecord], str]] = {"text": text_line, "json": json_line}
