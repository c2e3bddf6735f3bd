"""Floor 0: names of files from peers, made safe; and sizes in words."""

from __future__ import annotations

import re
import unicodedata

from .errors import Refused
from .names import acts_on_terminal, printable, shorten

LIMIT = 255  # bytes of a file's name, the limit of most file systems
SAFE_LIMIT = 180  # bytes of a reduced name, which leaves room for `.part` and a number
DEPTH = 32  # folders inside each other

# Characters that no font shows (Unicode's Default_Ignorable_Code_Point): names that differ only by them look the same.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff"
    "\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)  # devices on Windows
_FORBIDDEN = re.compile(r'[<>:"|?*/\\]')
_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def check_file_name(name: str) -> str:
    """Return the name of a file, without invisible characters, if it has no path. Raises Refused("bad-file-name")."""
    visible = _visible(name)
    if not visible or visible in (".", ".."):
        raise Refused("bad-file-name", f"A file needs a name ({shorten(name)!r} is not one).")
    if "/" in name or "\\" in name or acts_on_terminal(name) or "\n" in name or "\t" in name:
        raise Refused("bad-file-name", f"A file's name has no path and no control characters ({shorten(name)!r} has).")
    if len(visible.encode()) > LIMIT:
        raise Refused("bad-file-name", f"A file's name has at most {LIMIT} bytes.")
    return visible


def _visible(name: str) -> str:
    return name if name.isascii() else _INVISIBLE.sub("", name)


def check_path(path: str) -> str:
    """Return the path of a file in an offered folder, without invisible characters. Raises Refused("bad-file-name")."""
    if path.count("/") >= DEPTH:
        raise Refused("bad-file-name", f"A folder is at most {DEPTH} folders deep.")
    return "/".join([check_file_name(step) for step in path.split("/")])


def safe_name(name: str) -> str:
    """Return a name for one plain file on any system, made from the last component of any text.

    It is never empty or hidden, and has no path, drive, control, invisible character or name of a device.
    """
    last = re.split(r"[/\\]", name.replace("\0", ""))[-1]
    last = _visible(last)[-LIMIT:]  # an honest name is no longer, and NFC takes the square of a length
    last = unicodedata.normalize("NFC", " ".join(printable(last).split()))
    last = _FORBIDDEN.sub("_", last).strip(". ")
    if _RESERVED.fullmatch(last):
        last = f"_{last}"
    return _cut(last) or "file"


def safe_path(path: str) -> list[str]:
    """Return the components of a path, each made safe, so that the path stays inside its folder."""
    return [safe_name(step) for step in re.split(r"[/\\]", path) if step not in ("", ".", "..")][-DEPTH:] or ["file"]


def _cut(name: str) -> str:
    """Cut a name to SAFE_LIMIT bytes, but keep an ending of up to 16 bytes."""
    if len(name.encode()) <= SAFE_LIMIT:
        return name
    stem, dot, ending = name.rpartition(".")
    kept = f"{dot}{ending}" if stem and len(ending.encode()) <= 16 else ""
    body = (stem if kept else name).encode()[: SAFE_LIMIT - len(kept.encode())].decode(errors="ignore")
    return f"{body.strip('. ')}{kept}"


def is_file_id(text: str) -> bool:
    """Return True if `text` can be the id of a file: 1 to 64 letters, digits, `-`, `_` and `.`."""
    return _ID.fullmatch(text) is not None


def size_words(size: int) -> str:
    """Return a size for a person: `512 bytes`, `3.4 MB`."""
    if size < 1000:
        return f"{size} byte{'' if size == 1 else 's'}"
    amount = float(size)
    for unit in ("kB", "MB", "GB", "TB"):
        amount /= 1000
        if amount < 999.5:
            return f"{amount:.1f} {unit}" if amount < 99.95 else f"{amount:.0f} {unit}"
    return f"{amount / 1000:,.0f} PB"
