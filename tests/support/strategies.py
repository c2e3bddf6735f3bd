"""Hypothesis strategies that are made from the frames' types, so a new frame or field is tested without a word."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st
from msgspec import inspect

from wire.frames import Entry, Frame

_INT = 2**63

# What could act on a terminal or pass for something else, more often than plain st.text() would come up with it.
HOSTILE = (
    "\n[lab] root: hello", "\r\n", "\r", "\x1b[2J", "\x1b]0;title\x07", "\x9b31m", "\x85", "\u2028", "\u202e", "\u2066",
    "\x00", "\x7f", "\ufeff", "\ud800", "\t", "é", "\U0001f600", "\xff\xfd\x01", "x" * 50, " ", "",
)  # fmt: skip


def hostile_text() -> st.SearchStrategy[str]:
    """Any text, surrogates too, with much that a terminal would obey."""
    anything = st.characters(exclude_categories=())
    return st.lists(st.sampled_from(HOSTILE) | st.text(anything, max_size=8), max_size=5).map("".join)


def frames(kind: type[Frame], text: st.SearchStrategy[str] | None = None) -> st.SearchStrategy[Any]:
    """Frames of that type with any values that its fields may have; `text` is for strings without a length."""
    return _structs(kind, st.text(max_size=40) if text is None else text)


def entries(text: st.SearchStrategy[str] | None = None) -> st.SearchStrategy[Entry]:
    """Entries of a channel or of a conversation, with sane times."""
    anything = st.text(max_size=40) if text is None else text
    numbers = st.integers(1, 10**9)
    times = st.integers(0, 4 * 10**12)
    ids = st.none() | st.text("ab\n", max_size=3)
    channel = st.builds(Entry, numbers, times, anything, anything, anything, st.none(), ids)
    return channel | st.builds(Entry, numbers, times, anything, anything, st.none(), anything, ids)


def _structs(kind: type[Any], text: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    fields = {field.name: _values(field.type, text) for field in info.fields}
    if "payload" not in fields:
        return st.fixed_dictionaries(fields).map(lambda values: kind(**values))
    del fields["bytes"]
    return st.fixed_dictionaries(fields).map(lambda values: kind(**values, bytes=len(values["payload"])))


def _values(kind: inspect.Type, text: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    match kind:
        case inspect.IntType(ge=ge, le=le):
            return st.integers(-_INT if ge is None else ge, _INT if le is None else le)
        case inspect.StrType(min_length=least, max_length=most, pattern=pattern):
            fitting = text if most is None else st.text(min_size=least or 0, max_size=most)
            return fitting if pattern is None else fitting.filter(lambda value: re.search(pattern, value) is not None)
        case inspect.BytesType():
            return st.binary(max_size=60)
        case inspect.BoolType():
            return st.booleans()
        case inspect.NoneType():
            return st.none()
        case inspect.UnionType(types=types):
            return st.one_of([_values(one, text) for one in types])
        case inspect.ListType(item_type=item):
            return st.lists(_values(item, text), max_size=3)
        case inspect.DictType(key_type=key, value_type=value):
            return st.dictionaries(_values(key, text), _values(value, text), max_size=3)
        case inspect.StructType(cls=cls):
            return _structs(cls, text)
    raise TypeError(f"no strategy for {kind}")


def pieces(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    """`data` cut at those places (any integers), as a network may cut it."""
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    return [data[start:end] for start, end in itertools.pairwise([0, *places, len(data)])]
