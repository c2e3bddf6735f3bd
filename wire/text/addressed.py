"""Floor 0: which channel a typed text names: `lab: hello`, `#lab: hello`, `/topic lab Tea time`.

A word with `#` is always a channel. Whether the word before a colon is one depends on which channels exist, so the
server and the client give what they know. The first word after `/topic` is always a channel.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

from wire.frames import Line, Say, Topic
from wire.names import NAME_LIMIT, shorten

_ADDRESSED = re.compile(rf"(#?)([A-Za-z0-9_-]{{1,{NAME_LIMIT}}}):\s*(.+)", re.DOTALL)
_QUOTED = 200  # characters of a typed topic, in a hint
CLEAR = "-"  # as the text of `/topic`, it clears the topic

Known: TypeAlias = Callable[[str], bool]
"""Returns True if a word names a channel that exists."""


def channel_word(typed: Line) -> str:
    """Return the word of a line that is a channel's name, if such a channel exists; an empty word if there is none."""
    return _split_line(typed.text)[1]


def clear_address(typed: Line) -> str:
    """Return the word before a colon and a space, as in `lab: hello`; empty for other lines, such as `12:30 lunch`."""
    sign, word, _ = _split_line(typed.text)
    return word if word and not sign and typed.text[len(word) + 1].isspace() else ""


def post_for(typed: Line, exists: Known) -> Say:
    """Return the post that a line asks for: to the channel that it names, or else to the current one.

    With `#`, it names a channel even if that does not exist.
    """
    sign, word, text = _split_line(typed.text)
    return Say(text, word) if word and (sign or exists(word)) else Say(typed.text)


def parse_topic(rest: str) -> Topic:
    """Return what `/topic` asks for. The first word is a channel, whether it exists or not."""
    if rest in ("", CLEAR):
        return Topic("", topic_text(rest))
    channel, _, text = rest.partition(" ")
    return Topic(channel, topic_text(text))


def topic_refusal(typed: Topic, current: str) -> str:
    """Return why `/topic` is refused if its channel does not exist, and how to set the topic of the current one."""
    refusal = f"The channel {typed.channel} does not exist. /join {typed.channel} creates it."
    if not current or typed.text == "":
        return refusal
    meant = f"/topic {current} {typed.channel} {typed.text or ''}".rstrip()
    return f"{refusal} To set the topic of {current}: {shorten(meant, _QUOTED)}"


def topic_text(text: str) -> str | None:
    """Return the topic to set for the text of `/topic`: None to set none, empty to clear it."""
    text = text.strip()
    return "" if text == CLEAR else text or None


def _split_line(line: str) -> tuple[str, str, str]:
    """Return the sign and the word that name a channel, and the text after it; an empty word if the line has none."""
    found = _ADDRESSED.fullmatch(line)
    return (found[1], found[2], found[3]) if found is not None else ("", "", line)
