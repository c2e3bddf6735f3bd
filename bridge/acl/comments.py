"""Floor 3: what the rule files of all brokers share: the comment about user names, and quoted lists; pure."""

from __future__ import annotations

from collections.abc import Sequence

_NAMES = """\
A client's user name at the broker has to be its chat name, spelled as in its topics: 1 to 32 letters, digits, - and _.
The chat treats names that differ only in upper and lower case as one person: give each name to one client.
The server itself logs in as <user>; give that name to nobody else.
"""


def fill(header: str, mark: str, user: str) -> str:
    """Return the header of a rule file with `<names>` and `<user>` replaced; `mark` begins a comment line."""
    names = "".join(f"{mark} {line}\n" for line in _NAMES.splitlines())
    return header.replace("<names>\n", names).replace("<user>", user)


def quoted(items: Sequence[str]) -> str:
    """Return a bracketed list of quoted strings, as Erlang and NATS's configuration write it."""
    return "[" + ", ".join(f'"{each}"' for each in items) + "]"
