"""Floor 2: files: which are offered to whom, the file while it is uploaded, its expiry, and direct senders.

`Files` has all files of the server, `OpenFiles` those that one connection uses. What a connection may ask about files
is in channels/requests.
"""

from __future__ import annotations

from .direct_sender import DirectSender
from .open_files import OpenFile, OpenFiles
from .registry import Files
from .upload import Upload

__all__ = ["DirectSender", "Files", "OpenFile", "OpenFiles", "Upload"]
