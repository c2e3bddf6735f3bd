"""Floor 0: the levels of a topic that hold a value: from a level to the field of a frame, and back."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from wire.errors import Refused
from wire.file_names import is_file_id
from wire.frames import Entry
from wire.names import check_name, fold, shorten

_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_MOST = 2**53 - 1  # the largest integer that every JSON library keeps exactly


@dataclass(frozen=True, slots=True)
class Level:
    """One kind of level.

    `read` returns the fields that a level holds. `write` returns the level for a frame that the client `me` writes or
    reads; an empty one is left out if it is optional. Both raise Refused.
    """

    read: Callable[[str], dict[str, Any]]
    write: Callable[[Any, str], str]


def partner(entry: Entry, me: str) -> str | None:
    """Return the other user of a private conversation, None for an entry of a channel."""
    return entry.sender if entry.to is not None and fold(entry.sender) != fold(me) else entry.to


def _read_channel(level: str) -> dict[str, Any]:
    if level.startswith("@"):  # else a message for one user would go to a channel
        raise Refused("bad-name", f"{shorten(level)} is not a channel; msg/<user> sends to one user.")
    return {"channel": check_name(level, "channel name")}


def _write_channel(frame: Any, _: str) -> str:
    return check_name(frame.channel, "channel name")


def _write_user(frame: Any, _: str) -> str:
    return check_name(frame.user, "user name")


def _read_log(level: str) -> dict[str, Any]:
    return {"user": check_name(level[1:], "user name")} if level.startswith("@") else _read_channel(level)


def _write_log(frame: Any, me: str) -> str:
    return f"@{_write_user(frame, me)}" if frame.user else _write_channel(frame, me)


def _file_id(id: str | None) -> str:
    if id is None or not is_file_id(id):
        raise Refused(
            "no-such-file", f"{shorten(id or '')!r} is not a file's id: 1 to 64 letters, digits, -, _ and dots."
        )
    return id


def _read_offset(level: str) -> dict[str, Any]:
    if not level:
        raise Refused("unknown-command", "The command is missing, such as file/f/init.")
    return {"offset": _number(level)}


def _read_size(level: str) -> dict[str, Any]:
    if not level:
        raise Refused("bad-range", "fin takes the size of the file: fin/11, or fin/11/<sha256>.")
    return {"size": _number(level)}


def _write_size(frame: Any, _: str) -> str:
    if frame.size is None:
        raise Refused("bad-range", "fin takes the size of the file.")
    return str(frame.size)


def _number(level: str) -> int:
    if not (level.isascii() and level.isdigit() and len(level) <= 16 and int(level) <= _MOST):
        raise Refused("bad-range", f"{shorten(level)} is not an offset or a size.")
    return int(level)


def _read_sha256(level: str) -> dict[str, Any]:
    if "/" in level:
        raise Refused("unknown-command", f"A file has no command with {shorten(level)} at its end.")
    return {"sha256": sha256(level)}


def sha256(text: str) -> str:
    """Return a SHA-256 in lower case. Raises Refused."""
    if _SHA256.fullmatch(text) is None:
        raise Refused("checksum-mismatch", "A SHA-256 has 64 hexadecimal digits.")
    return text.lower()


ME = Level(lambda _: {}, lambda _, me: me)
CHANNEL = Level(_read_channel, _write_channel)
USER = Level(lambda level: {"user": check_name(level, "user name")}, _write_user)
PARTNER = Level(lambda level: {"user": level}, lambda entry, me: partner(entry, me) or "")
KNOWN_FILE = Level(lambda level: {"file": _file_id(level)}, lambda frame, _: str(frame.file))  # the server has the file
OWN_FILE = Level(lambda level: {"id": _file_id(level)}, lambda frame, _: _file_id(frame.id))

# The levels by their name in a pattern.
LEVELS: dict[str, Level] = {
    "me": ME,
    "channel": CHANNEL,
    "user": USER,
    "log": Level(_read_log, _write_log),
    "to": Level(lambda level: {"to": check_name(level, "user name")}, lambda live, _: check_name(live.to, "user name")),
    "id": Level(lambda level: {"file": _file_id(level)}, lambda frame, _: _file_id(frame.file)),
    "offset": Level(_read_offset, lambda frame, _: str(frame.offset)),
    "size": Level(_read_size, _write_size),
    "sha256": Level(_read_sha256, lambda frame, _: sha256(frame.sha256) if frame.sha256 else ""),
}
