"""Floor 0: the rule for names of users and channels, and text that is safe on a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .errors import Refused

NAME_LIMIT = 32
NAME = re.compile(rf"[A-Za-z0-9_-]{{1,{NAME_LIMIT}}}")
_SIGNS = {"channel name": ("#",), "user name": ("@",)}  # before a name of that kind

# Characters that move the cursor, ring the bell, hide or reorder text on a terminal, as ranges: C0 (but for tab and
# line feed), DEL and C1, marks, overrides and isolates of bidirectional text (Unicode TR 9), line and paragraph
# separators, surrogates, and the byte order mark.
_ACTING = (
    (0x00, 0x08), (0x0B, 0x1F), (0x7F, 0x9F), (0x061C, 0x061C), (0x200E, 0x200F), (0x2028, 0x202E), (0x2066, 0x2069),
    (0xD800, 0xDFFF), (0xFEFF, 0xFEFF),
)  # fmt: skip
# Characters that no font shows and no script needs, in which a text can hide another, or differ from one that looks the
# same: soft hyphen, zero width space, word joiner and invisible operators, deprecated ones, annotations, tags. Scripts
# and emoji need the zero width joiners and variation selectors.
_INVISIBLE = (
    (0xAD, 0xAD), (0x200B, 0x200B), (0x2060, 0x2065), (0x206A, 0x206F), (0xFFF9, 0xFFFB), (0xE0000, 0xE007F),
)  # fmt: skip
UNSAFE = (*_ACTING, *_INVISIBLE)


def any_of(ranges: Iterable[tuple[int, int]]) -> str:
    """Return a pattern of one character that is in one of the ranges."""
    return f"[{''.join(f'{chr(first)}-{chr(last)}' for first, last in ranges)}]"


_ACTS = re.compile(any_of(_ACTING))
_UNSAFE = re.compile(any_of(UNSAFE))
# The flag of a region, such as that of Scotland, is a black flag, the region's letters as tags, and an end.
_UNSAFE_OR_FLAG = re.compile(
    f"(\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{{3,6}}\U000e007f)|{any_of(UNSAFE)}"
)
_ASCII_PRINTABLE = bytes(range(0x20, 0x7F)) + b"\t"

_LOOKED_AT = 8  # times the characters that are shown of a text, as some of them may act on a terminal


def check_name(name: str, what: str = "name") -> str:
    """Return `name` without a leading `#` of a channel or `@` of a user. Raises Refused("bad-name").

    With `what`, the sign has to fit: `#lab` is never the user lab, and `@bob` never the channel bob.
    """
    bare = name[1:] if name[:1] in _SIGNS.get(what, ("#", "@")) else name
    if NAME.fullmatch(bare) is None:
        raise Refused("bad-name", f"A {what} is 1 to {NAME_LIMIT} letters, digits, - and _ ({shorten(name)!r} is not).")
    return bare


def fold(name: str) -> str:
    """Return the key of a name, which is the same for every upper and lower case spelling."""
    return name.casefold()


def shorten(text: str, limit: int = 40) -> str:
    """Return at most `limit` characters of a peer's text, safe to show in an error or a log."""
    start = text[: _LOOKED_AT * limit]
    shown = printable(start).replace("\n", " ")
    return shown if len(shown) <= limit and len(start) == len(text) else shown[: limit - 1] + "…"


def printable(text: str) -> str:
    """Return `text` without the characters that act on a terminal or hide text; tabs, line ends and flags stay."""
    if text.isascii() and not text.encode().translate(None, _ASCII_PRINTABLE):
        return text
    text = text.replace("\r\n", "\n")
    return text if _UNSAFE.search(text) is None else _UNSAFE_OR_FLAG.sub(r"\1", text)


def acts_on_terminal(text: str) -> bool:
    """Return True if `text` has a character that acts on a terminal; tabs and line ends do not."""
    return _ACTS.search(text) is not None


def one_line(text: str) -> str:
    """Return `text` for one line of a terminal. Further lines are indented, so that they cannot pass for a message."""
    safe = printable(text)
    return safe.replace("\n", "\n    ") if "\n" in safe else safe


def is_plain(data: bytes, lines: int) -> bool:
    """Return True if `data` is printable ASCII with exactly `lines` line ends: a quick test of a whole batch."""
    return data.translate(None, _ASCII_PRINTABLE) == b"\n" * lines
