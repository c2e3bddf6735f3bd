"""Clients of the two line dialects: JSON for programs, text for people, and a lean one for floods."""

from tests.support.clients.bulk import Bulk, Gone
from tests.support.clients.connection import Connection, encrypted, endpoint, in_tls
from tests.support.clients.json import Json
from tests.support.clients.text import Text

__all__ = ["Bulk", "Connection", "Gone", "Json", "Text", "encrypted", "endpoint", "in_tls"]
