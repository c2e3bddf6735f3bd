"""Floor 4: what is shown, as lines of coloured pieces; the colours are names here, and `PALETTE` says what they are."""

from __future__ import annotations

import zlib
from typing import TypeAlias

from wire.frames import Entry, Error, HelpText, Page
from wire.names import fold, printable
from wire.text import entry_line, past_line, render

from ..state import DisplayItem, Note

Piece: TypeAlias = tuple[str, str]  # a colour and a text, as in prompt_toolkit
Line: TypeAlias = list[Piece]

# What each colour is for prompt_toolkit, and for a plain terminal by colorama's names. No bright black: in some
# palettes that is the background.
PALETTE: dict[str, tuple[str, str]] = {
    "": ("", ""),
    "note": ("ansicyan", "CYAN"),
    "error": ("ansired bold", "RED"),
    "waiting": ("ansiyellow", "YELLOW"),
    "mine": ("dim", "DIM"),
    "direct": ("ansimagenta bold", "MAGENTA"),
    "name0": ("ansigreen", "GREEN"),
    "name1": ("ansiblue", "BLUE"),
    "name2": ("ansiyellow", "YELLOW"),
    "name3": ("ansibrightgreen", "LIGHTGREEN_EX"),
    "name4": ("ansibrightblue", "LIGHTBLUE_EX"),
    "name5": ("ansibrightcyan", "LIGHTCYAN_EX"),
}
_NAMES = sum(colour.startswith("name") for colour in PALETTE)


def paint(item: DisplayItem) -> list[Line]:
    """The lines that show an item, safe on any terminal."""
    if isinstance(item, Note):
        mark = "~ waiting: " if item.kind == "waiting" else "* "
        return [[("waiting" if item.kind == "waiting" else "note", mark + printable(item.text))]]
    frame = item.frame
    if isinstance(frame, Entry):
        return [_entry(frame, past=item.past, mine=item.mine)]
    if isinstance(frame, Page) and frame.entries:
        *_, summary = render(frame)
        return [*(_entry(entry, past=True) for entry in frame.entries), [("note", printable(summary))]]
    colour = "error" if isinstance(frame, Error) else "" if isinstance(frame, HelpText) else "note"
    return [[(colour, printable(line))] for line in render(frame)]


def _entry(entry: Entry, *, past: bool, mine: bool = False) -> Line:
    line = printable(past_line(entry) if past else entry_line(entry))
    if mine:
        return [("mine", line)]
    head, colon, text = line.partition(": ")  # no name and no time of day has both in a row
    return [("direct" if entry.to is not None else _colour_of(entry.sender), head + colon), ("", text)]


def _colour_of(name: str) -> str:
    """The same colour for the same name, on every screen."""
    return f"name{zlib.crc32(fold(name).encode()) % _NAMES}"
