"""Floor 0: the operator's log: one line for each event that an operator needs, and never one for a message.

`events.py` is the table of all events. `report(events.LoggedIn(…))` writes one, from any thread. A program opens the
log with `open_log`, as text or as JSON (`formats.py`); it counts repeats from one address instead of writing each
(`repeats.py`). Nothing that a peer sends can forge a line, and no event has a field for a secret.
"""

from __future__ import annotations

from . import events
from .formats import FORMATS, LogFormat
from .log import LogLevel, LogOptions, OperatorLog, open_log, report

__all__ = ["FORMATS", "LogFormat", "LogLevel", "LogOptions", "OperatorLog", "events", "open_log", "report"]
