"""JSON for peers: nothing in it acts on a terminal, and a parser gets the text as it was."""

from __future__ import annotations

import json
import sys
import unicodedata

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tests.support.strategies import entries, hostile_text
from wire.frames import Entry, Error
from wire.json_text import encode, encode_lines, escaped
from wire.jsonlines import JsonLines
from wire.names import UNSAFE, printable
from wire.topics import Topics

_BIDI = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


# Scripts and emoji need some characters of the category Cf: those that join, and signs of Arabic, Syriac, Mongolian,
# Kaithi, hieroglyphs, shorthand and music.
_NEEDED = (
    (0x200C, 0x200D), (0x0600, 0x0605), (0x06DD, 0x06DD), (0x070F, 0x070F), (0x0890, 0x0891), (0x08E2, 0x08E2),
    (0x180E, 0x180E), (0x110BD, 0x110BD), (0x110CD, 0x110CD), (0x13430, 0x1343F), (0x1BCA0, 0x1BCA3),
    (0x1D173, 0x1D17A),
)  # fmt: skip
_UNASSIGNED = (*range(0xE0000, 0xE0020), 0x2065)  # in between, so that no range has a hole


def unsafe(character: str) -> bool:
    """Return True if a terminal obeys the character, shows text in another order for it, or does not show it at all."""
    point, category = ord(character), unicodedata.category(character)
    return (
        category in ("Cc", "Zl", "Zp")
        or unicodedata.bidirectional(character) in _BIDI
        or (category == "Cf" and not any(first <= point <= last for first, last in _NEEDED))
        or point in _UNASSIGNED
    )


def test_every_character_that_acts_on_a_terminal_or_hides_text_is_an_escape() -> None:
    for point in range(sys.maxunicode + 1):
        character = chr(point)
        if 0xD800 <= point < 0xE000:
            continue  # not in UTF-8
        data = encode(character)
        assert json.loads(data) == character
        if unsafe(character):
            assert data.isascii(), ascii(character)
            assert data[1:2] == b"\\", ascii(character)
        elif not character.isascii():
            assert data == f'"{character}"'.encode(), ascii(character)


def test_the_text_dialect_has_the_same_table() -> None:
    for first, last in UNSAFE:
        for point in range(first, last + 1):
            assert printable(chr(point)) == ""


@given(st.recursive(st.none() | st.text() | st.integers(-9, 9), lambda inner: st.lists(inner, max_size=3)))
def test_a_parser_gets_the_value_as_it_was(value: object) -> None:
    assert json.loads(encode(value)) == value


@given(text=hostile_text().filter(lambda text: text.isascii() or not any("\ud800" <= c < "\ue000" for c in text)))
def test_hostile_text_reaches_programs_whole_and_terminals_harmless(text: str) -> None:
    data = encode([text])
    assert msgspec.json.decode(data) == [text]
    assert not [character for character in data.decode() if unsafe(character)]


@given(st.lists(entries(), max_size=5))
def test_lines_are_split_by_line_ends_only(values: list[Entry]) -> None:
    lines = encode_lines(values).decode().splitlines()
    assert [msgspec.json.decode(line, type=Entry) for line in lines] == values


def test_plain_json_is_not_copied() -> None:
    data = b'{"text":"plain"}'
    assert escaped(data) is data


_EVIL = "\x9b31m\x7f\u202ex\u2066\u200f\u061c\ufeff\u2028\x85\u200b\xad\U000e0041"
_SEEN = r"\u009b31m\u007f\u202ex\u2066\u200f\u061c\ufeff\u2028\u0085\u200b\u00ad\udb40\udc41"


def test_frames_and_topics_have_the_escapes() -> None:
    entry = Entry(1, 0, "alice", _EVIL, "lab")
    error = Error(code="empty", error=_EVIL)
    assert _SEEN.encode() in JsonLines.encode(entry)
    assert _SEEN.encode() in JsonLines.encode_entries([entry, entry])
    topics = Topics()
    assert _SEEN.encode() in topics.payload(error, "alice", None)
    assert _SEEN.encode() in topics.error(error, "alice", _EVIL)[1]
