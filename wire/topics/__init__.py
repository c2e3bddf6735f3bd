"""Floor 0: every MQTT topic of the chat, both ways: from a topic to a request, and from an answer to a topic."""

from __future__ import annotations

from .chat import EVENTS, ROOT, TABLE, VERBS, Gone, Here, LiveMessage, Topics, text_of

__all__ = [
    "EVENTS",
    "ROOT",
    "TABLE",
    "VERBS",
    "Gone",
    "Here",
    "LiveMessage",
    "Topics",
    "text_of",
]  # fmt: skip
