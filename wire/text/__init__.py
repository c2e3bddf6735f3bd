"""Floor 0: the text dialect, for people with `nc` and `telnet`: the commands, the lines in, and the lines out."""

from __future__ import annotations

from .commands import ADDRESSED, COMMANDS, PLAIN, Command, find, help_lines, parse, topic_for
from .dialect import GREETING_START, TextLines
from .file_render import percent
from .render import clock, entry_line, past_line, render

__all__ = [
    "ADDRESSED",
    "COMMANDS",
    "GREETING_START",
    "PLAIN",
    "Command",
    "TextLines",
    "clock",
    "entry_line",
    "find",
    "help_lines",
    "parse",
    "past_line",
    "percent",
    "render",
    "topic_for",
]  # fmt: skip
