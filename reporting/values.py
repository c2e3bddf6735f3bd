"""Floor 0: the values of an event's fields in the log: bounded in length, and as text in printable ASCII only."""

from __future__ import annotations

import json
import re
from typing import TypeAlias

Value: TypeAlias = str | int | float | bool

LONGEST = 200  # characters of one value as it is written, without quotation marks; the rest is cut
_CUT = "…"
_BARE = re.compile(r"[A-Za-z0-9_.,:;@/+*\[\]()#~-]+")


def cut(value: Value) -> Value:
    """Return the value, a long string without its end. One character may be written as twelve."""
    if not isinstance(value, str) or (len(value) <= LONGEST and _written(value) <= LONGEST):
        return value
    size, kept = _written(_CUT), 0
    for character in value[:LONGEST]:
        size += _written(character)
        if size > LONGEST:
            break
        kept += 1
    return value[:kept] + _CUT


def as_text(value: Value) -> str:
    """Return the value as in a line of text: a string that could be mistaken for something else in quotation marks."""
    value = cut(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value) if isinstance(value, int) or _BARE.fullmatch(value) else escaped(value)


def _written(value: str) -> int:
    return len(escaped(value)) - 2


def escaped(value: str) -> str:
    """Return a JSON string of printable ASCII."""
    return json.dumps(value)
