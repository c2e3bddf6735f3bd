"""Floor 4: the client's state, without I/O: frames from the server and typed lines go in, a `Step` comes out.

It knows the channels and talks that the user reads, how far each was read, what is not answered yet, and who the user
says to be. It survives a lost connection. One thread owns it.
"""

from .credentials import Credentials
from .cursors import Cursors, log_key
from .outbox import Outbox
from .rooms import Rooms
from .state import Ended, State
from .step import DisplayItem, Note, ShownFrame, Step

__all__ = [
    "Credentials",
    "Cursors",
    "DisplayItem",
    "Ended",
    "Note",
    "Outbox",
    "Rooms",
    "ShownFrame",
    "State",
    "Step",
    "log_key",
]
