"""Floor 2: the ring: what several servers on one store tell each other, so that they are one chat.

notices.py has what is told, outbox.py sends it, and inbox.py takes what the others have told to `channels/hearing.py`,
which does it. pulses.py has what each server tells of itself once a second. A notice is a hint: whoever hears it asks
the store for what is true, or can do so later. A server that has missed some looks at everything again. With one
server, nothing here runs.
"""

from __future__ import annotations

from .inbox import Heard, Inbox
from .notices import (
    Answered,
    Came,
    CursorMoved,
    FileChanged,
    FileFetched,
    Joined,
    Left,
    Live,
    LookAgain,
    Made,
    Moved,
    Notice,
    Parted,
    PartWanted,
    PasswordTried,
    Registered,
    Removed,
    TopicSet,
    Wanted,
    Went,
    channel_ids,
)
from .outbox import Outbox
from .pulses import Pulses

__all__ = [
    "Answered",
    "Came",
    "CursorMoved",
    "FileChanged",
    "FileFetched",
    "Heard",
    "Inbox",
    "Joined",
    "Left",
    "Live",
    "LookAgain",
    "Made",
    "Moved",
    "Notice",
    "Outbox",
    "PartWanted",
    "Parted",
    "PasswordTried",
    "Pulses",
    "Registered",
    "Removed",
    "TopicSet",
    "Wanted",
    "Went",
    "channel_ids",
]
