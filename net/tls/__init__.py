"""Floor 0: TLS: contexts for both ends, the stream that is encrypted, and a look at a server's certificate."""

from __future__ import annotations

from .contexts import File, client_context, fingerprint_of, pinned_context, server_context, unverified_context
from .peer import PeerCertificate, peer_certificate
from .stream import TlsStream

__all__ = [
    "File",
    "PeerCertificate",
    "TlsStream",
    "client_context",
    "fingerprint_of",
    "peer_certificate",
    "pinned_context",
    "server_context",
    "unverified_context",
]
