"""Floor 0: the text dialect, for people with `nc` and `telnet`.

`commands` is the table of commands, `addressed` decides which channel a text names, `render` turns frames into lines,
and `TextLines` is the dialect of one connection.
"""

from __future__ import annotations

from .addressed import channel_word, clear_address, post_for, topic_refusal
from .commands import (
    COMMANDS,
    LONGEST_WORD,
    PLAIN,
    Command,
    command_word,
    find,
    help_lines,
    may_hold_secret,
    parse,
    without_secret,
)
from .dialect import GREETING_START, TextLines
from .render import clock, entry_line, past_line, render
from .wrap import wrap_help

__all__ = [
    "COMMANDS",
    "GREETING_START",
    "LONGEST_WORD",
    "PLAIN",
    "Command",
    "TextLines",
    "channel_word",
    "clear_address",
    "clock",
    "command_word",
    "entry_line",
    "find",
    "help_lines",
    "may_hold_secret",
    "parse",
    "past_line",
    "post_for",
    "render",
    "topic_refusal",
    "without_secret",
    "wrap_help",
]  # fmt: skip
