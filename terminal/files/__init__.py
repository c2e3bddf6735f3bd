"""Floor 4: the client's file transfers: uploads, downloads, and those that go directly from one client to another.

Each transfer has a thread and a file connection of its own, so that no message waits for a file.
"""

from .connection import OpenConnection
from .direct_offer import DIRECTLY, DirectOptions
from .download import Download
from .json_connection import JsonFileConnection, JsonFileConnections
from .manager import FileOptions, TransferManager, UserInterface
from .mqtt_connection import MqttFileConnections
from .upload import Upload

__all__ = [
    "DIRECTLY",
    "DirectOptions",
    "Download",
    "FileOptions",
    "JsonFileConnection",
    "JsonFileConnections",
    "MqttFileConnections",
    "OpenConnection",
    "TransferManager",
    "Upload",
    "UserInterface",
]
