"""Floor 2: files: which are offered to whom, a file that connections have open, its expiry, and direct senders.

`Files` has all files of the server, `OpenFiles` those that one connection uses. What a connection may ask about files
is in channels/requests.
"""

from __future__ import annotations

from .away import AwayFiles, Line, LineLostError, Lines, OpenLine
from .digest import sha256_of
from .direct_sender import DirectSender
from .open_files import OpenFile, OpenFiles
from .registry import Files, Sender
from .shared_file import SharedFile

__all__ = [
    "AwayFiles", "DirectSender", "Files", "Line", "LineLostError", "Lines", "OpenFile", "OpenFiles", "OpenLine",
    "Sender", "SharedFile", "sha256_of",
]  # fmt: skip
