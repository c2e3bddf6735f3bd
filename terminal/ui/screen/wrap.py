"""Floor 4: lines of coloured text as rows of the terminal, broken at words.

Each further row is indented: a text with many spaces cannot put what looks like another message at the start of a row.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from prompt_toolkit.utils import get_cwidth

from ..paint import Line, Piece

_INDENT: Piece = ("", "    ")  # as that of a message's further lines
_LEAST = 20  # columns; on a narrower terminal, nothing is wrapped
_TOKEN = re.compile(r"\n|[^\S\n]+|\S+")


def rows_of(line: Line, columns: int) -> Iterator[Line]:
    """Yield a line as rows of at most `columns` cells.

    The terminal breaks a word of ASCII that is longer than a row, such as a URL, so that it can be copied whole.
    """
    if columns < _LEAST:
        yield line
        return
    row: Line = []
    used, most = 0, columns - len(_INDENT[1])
    for colour, text in line:
        for token in _TOKEN.findall(text):
            if token == "\n":
                yield row
                row, used = [], 0
                continue
            for part in _parts(token, most):
                width = get_cwidth(part)
                if used + width > columns and (part.isspace() or (row and width <= most)):
                    if row:
                        yield row
                    row, used = [_INDENT], len(_INDENT[1])
                    if part.isspace():
                        continue
                row.append((colour, part))
                used = min(used + width, columns)  # the terminal breaks a longer word, and the next one begins a row
    yield row


def _parts(token: str, most: int) -> Iterable[str]:
    """Return a token whole, or its characters if it is a word of another script or a row of signs that is too long."""
    return [token] if token.isascii() or get_cwidth(token) <= most else token
