"""Floor 0: the lines of help, wrapped at words."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

TEXT_COLUMNS = 80  # of a text connection, whose terminal the server does not know
_LEAST = 30  # columns for the second column of a table; with less it goes below the first
_INDENT = " " * 4


def wrap_help(lines: Iterable[str], columns: int) -> list[str]:
    """Return lines of at most `columns` characters, as far as words and usages permit.

    A line of a table has two columns, with two or more spaces between; its second one stays in its place.
    """
    return [piece for line in lines for piece in _wrapped(line, columns)]


def _wrapped(line: str, columns: int) -> list[str]:
    if len(line) <= columns:
        return [line]
    usage, _, summary = line.partition("  ")
    start = len(line) - len(summary.lstrip())
    if not summary or columns - start < _LEAST:
        first = [usage] if summary else []
        text, before = (summary.strip(), _INDENT) if summary else (line, "")
    else:
        first, text, before = [], summary.strip(), line[:start]
    indent = _INDENT if not summary or first else " " * start
    return first + textwrap.wrap(
        text, max(columns, _LEAST), initial_indent=before, subsequent_indent=indent, break_on_hyphens=False,
        break_long_words=False,
    )  # fmt: skip
