"""Floor 0: names of files from elsewhere, and what makes them safe; sizes in words. Pure."""

from __future__ import annotations

import re
import unicodedata

from .errors import Refused
from .names import printable, shorten

LIMIT = 255  # bytes of a file's name, as most file systems have it
SAFE_LIMIT = 180  # bytes of a reduced name: there is to be room for `.part` and a number
DEPTH = 32  # folders in a folder

_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)  # Windows: no files at all
_FORBIDDEN = re.compile(r'[<>:"|?*/\\]')
_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def check_file_name(name: str) -> str:
    """The name of one file, without a path. Raises Refused("bad-file-name")."""
    if not name or name in (".", ".."):
        raise Refused("bad-file-name", f"A file has a name ({name!r} is none).")
    if "/" in name or "\\" in name or name != printable(name) or "\n" in name or "\t" in name:
        raise Refused("bad-file-name", f"A file's name has no path and no control characters ({shorten(name)!r} does).")
    if len(name.encode()) > LIMIT:
        raise Refused("bad-file-name", f"A file's name has at most {LIMIT} bytes.")
    return name


def check_path(path: str) -> str:
    """The path of a file in a folder that is offered as a whole. Raises Refused("bad-file-name")."""
    steps = path.split("/")
    if len(steps) > DEPTH:
        raise Refused("bad-file-name", f"A folder is at most {DEPTH} folders deep.")
    for step in steps:
        check_file_name(step)
    return path


def safe_name(name: str) -> str:
    """A name that is one plain file on any system, whatever was given: the last component, reduced.

    Never empty, never hidden, without a path, a drive, a control character or a device's name.
    """
    last = re.split(r"[/\\]", name.replace("\0", ""))[-1]
    last = unicodedata.normalize("NFC", " ".join(printable(last).split()))
    last = _FORBIDDEN.sub("_", last).strip(". ")
    if _RESERVED.fullmatch(last):
        last = f"_{last}"
    return _cut(last) or "file"


def safe_path(path: str) -> list[str]:
    """The steps of a path in a folder, each reduced; so it leads nowhere but into the folder."""
    return [safe_name(step) for step in re.split(r"[/\\]", path) if step not in ("", ".", "..")][-DEPTH:] or ["file"]


def _cut(name: str) -> str:
    """At most SAFE_LIMIT bytes, with the ending kept if there is one of a sane length."""
    if len(name.encode()) <= SAFE_LIMIT:
        return name
    stem, dot, ending = name.rpartition(".")
    kept = f"{dot}{ending}" if stem and len(ending.encode()) <= 16 else ""
    body = (stem if kept else name).encode()[: SAFE_LIMIT - len(kept.encode())].decode(errors="ignore")
    return f"{body.strip('. ')}{kept}"


def is_file_id(text: str) -> bool:
    """Whether it can be the id of a file: letters, digits, `-`, `_` and `.`, at most 64."""
    return _ID.fullmatch(text) is not None


def size_words(size: int) -> str:
    """A size for a person: `512 bytes`, `3.4 MB`."""
    if size < 1000:
        return f"{size} byte{'' if size == 1 else 's'}"
    amount = float(size)
    for unit in ("kB", "MB", "GB", "TB"):
        amount /= 1000
        if amount < 999.5:
            return f"{amount:.1f} {unit}" if amount < 99.95 else f"{amount:.0f} {unit}"
    return f"{amount / 1000:,.0f} PB"
