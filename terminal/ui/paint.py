"""Floor 4: frames and notes as lines of coloured text; `PALETTE` maps the names of the colours to real ones."""

from __future__ import annotations

import zlib
from typing import TypeAlias

from wire.actions import action_of
from wire.frames import Entry, Error, HelpText, Page
from wire.names import fold, one_line, printable
from wire.text import entry_line, past_line, render, wrap_help

from ..state import DisplayItem, Note

Piece: TypeAlias = tuple[str, str]  # a colour and a text, as in prompt_toolkit
Line: TypeAlias = list[Piece]

# Each colour for prompt_toolkit, and for colorama by its names. No bright black: some palettes have it as background.
PALETTE: dict[str, tuple[str, str]] = {
    "": ("", ""),
    "note": ("ansicyan", "CYAN"),
    "error": ("ansired bold", "RED"),
    "unsent": ("ansiyellow", "YELLOW"),
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


def paint(item: DisplayItem, columns: int | None = None) -> list[Line]:
    """Return the lines that display an item, without control characters; help is wrapped at words after `columns`."""
    if isinstance(item, Note):
        colour, mark = ("unsent", "~ unsent: ") if item.kind == "unsent" else ("note", "* ")
        return [[(colour, mark + printable(item.text))]]
    frame = item.frame
    if isinstance(frame, Entry):
        return [_entry(frame, past=item.past, mine=item.mine)]
    if isinstance(frame, Page) and frame.entries:
        *_, summary = render(frame)
        return [*(_entry(entry, past=True) for entry in frame.entries), [("note", printable(summary))]]
    if isinstance(frame, HelpText):
        lines = map(one_line, frame.lines)
        return [[("", printable(line))] for line in (wrap_help(lines, columns) if columns else lines)]
    colour = "error" if isinstance(frame, Error) else "note"
    return [[(colour, printable(line))] for line in render(frame)]


def _entry(entry: Entry, *, past: bool, mine: bool = False) -> Line:
    line = printable(past_line(entry) if past else entry_line(entry))
    if mine:
        return [("mine", line)]
    if entry.to is not None or action_of(entry.text) is None:
        head, mark, text = line.partition(": ")  # neither a name nor a time contains ": "
    else:
        head, mark, text = line.partition(f"* {entry.sender} ")
    return [("direct" if entry.to is not None else _colour_of(entry.sender), head + mark), ("", text)]


def _colour_of(name: str) -> str:
    """Return the colour of a name, the same on every screen."""
    return f"name{zlib.crc32(fold(name).encode()) % _NAMES}"
