"""Floor 0: every MQTT topic of the chat as one row, which leads from a frame to its topic and payload, and back.

A client writes below `<root>/from/<me>/` and reads below `<root>/to/<me>/`. The sender of a message is in the topic,
which the server or another broker has let the client write, never in the payload. `TABLE` has all rows: those of `chat`
and `files`, which clients write, and those of `server`. A new topic is a new row. `Topics` is the table below one root:
the server, the mirror of another broker and the client use it in both directions.
"""

from __future__ import annotations

from .levels import partner
from .messages import Gone, Here, LiveMessage, ServerState, UserPresence
from .root import ROOT, Topics
from .row import About, Row, Writer
from .server import text_payloads
from .table import TABLE

__all__ = [
    "ROOT",
    "TABLE",
    "About",
    "Gone",
    "Here",
    "LiveMessage",
    "Row",
    "ServerState",
    "Topics",
    "UserPresence",
    "Writer",
    "partner",
    "text_payloads",
]
