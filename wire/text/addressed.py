"""Floor 0: which channel a typed text names: `lab: hello`, `/topic lab`, `/topic lab Tea time`.

Whether a word is a channel's name depends on which channels exist, so the server and the client give what they know.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

from wire.frames import Line, Say, Topic
from wire.names import NAME, NAME_LIMIT

_ADDRESSED = re.compile(rf"#?([A-Za-z0-9_-]{{1,{NAME_LIMIT}}}):\s*(.+)", re.DOTALL)
CLEAR = "-"  # as the text of `/topic`, it clears the topic

Known: TypeAlias = Callable[[str], bool]
"""Returns True if a word names a channel of which something is known."""


def channel_word(typed: Line | Topic) -> str:
    """Return the word of a typed text on which its meaning depends: the text changes if it is a channel's name."""
    if isinstance(typed, Line):
        return _split_line(typed.text)[0]
    word, text = _split_topic(typed)
    return "" if text or NAME.fullmatch(word) is None else word


def post_for(typed: Line, exists: Known) -> Say:
    """Return the post that a line asks for: to the channel that it names, or else to the current one."""
    word, text = _split_line(typed.text)
    return Say(text, word) if word and exists(word) else Say(typed.text)


def topic_for(typed: Topic, exists: Known, sets_topic: Known) -> Topic:
    """Return what `/topic` asks for, of which the channel's name is not yet told apart from the text.

    The name of a channel, alone, asks for its topic; before a text it says whose topic that is, if the person may set
    the topic of that channel. Everything else is the topic of the current channel.
    """
    word, text = _split_topic(typed)
    if word and (sets_topic(word) if text else exists(word)):
        return Topic(word, topic_text(text), ref=typed.ref)
    if not typed.channel and typed.text == CLEAR:
        return Topic("", "", ref=typed.ref)
    return typed


def topic_text(text: str) -> str | None:
    """Return the topic to set for the text of `/topic`: None to set none, empty to clear it."""
    text = text.strip()
    return "" if text == CLEAR else text or None


def _split_line(line: str) -> tuple[str, str]:
    """Return the word that may name a channel and the text after it; an empty word if the line has none."""
    found = _ADDRESSED.fullmatch(line)
    return (found[1], found[2]) if found is not None else ("", line)


def _split_topic(typed: Topic) -> tuple[str, str]:
    """The same for `/topic`, of which the first word may name a channel."""
    if typed.channel or typed.text is None or typed.text == CLEAR:
        return "", ""
    word, _, text = typed.text.partition(" ")
    return word, text
