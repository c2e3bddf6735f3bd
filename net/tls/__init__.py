"""Floor 0: TLS: contexts for both ends, and the stream that is encrypted."""

from __future__ import annotations

from .contexts import File, client_context, server_context
from .stream import TlsStream

__all__ = ["File", "TlsStream", "client_context", "server_context"]
