"""Floor 0: JSON for peers: characters that act on a terminal or hide text are written as escapes, such as \\u202e.

A JSON parser returns the same text. People look at JSON with `nc` and `mosquitto_sub`, which write it to a terminal.
JSON itself escapes the C0 controls only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

import msgspec

from .names import UNSAFE, any_of

_encoder = msgspec.json.Encoder()
_DELETE = 0x7F  # the only one of the characters in ASCII that JSON does not escape

# The unsafe characters that JSON does not escape, by code point, with their escapes. JSON holds no surrogates.
_ESCAPES = {
    point: json.dumps(chr(point))[1:-1]
    for first, last in UNSAFE
    for point in range(first, last + 1)
    if point >= _DELETE and not 0xD800 <= point <= 0xDFFF
}
_FIRST_BYTES = tuple({chr(point).encode()[0] for point in _ESCAPES})
_UNSAFE = re.compile(any_of((max(first, _DELETE), last) for first, last in UNSAFE if last >= _DELETE))


def encode(value: Any) -> bytes:
    """Return the JSON of a value."""
    return escaped(_encoder.encode(value))


def encode_lines(values: Iterable[Any]) -> bytes:
    """Return the JSON of each value on a line of its own."""
    return escaped(_encoder.encode_lines(values))


def escaped(data: bytes) -> bytes:
    """Return JSON with escapes for the unsafe characters, which can stand in its strings only."""
    if data.isascii() and _DELETE not in data:
        return data
    for first in _FIRST_BYTES:  # a search for one byte takes a hundredth of the time of one for a pattern
        if first in data:
            break
    else:
        return data
    text = data.decode()
    return data if _UNSAFE.search(text) is None else text.translate(_ESCAPES).encode()
