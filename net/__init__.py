"""Floor 0: sockets, and nothing of the chat.

Streams (plain or in TLS), TLS contexts, socket options, listening sockets, `host:port` addresses, a non-blocking send
that holds the interpreter lock, the write pump, and standard streams whose reader may go away. The server and the
client use them. What a person can mend (an address, a port in use, a certificate file) raises `NetError`, whose message
is a sentence for that person.
"""

from __future__ import annotations

from .address import format_address, host_of, is_loopback, network_of, parse_address, reachable_address
from .ask import ask
from .connect import connect
from .errors import NetError, certificate_alert, reason
from .listen import listen
from .memory import limit_free_memory, release_free_memory
from .options import KeepAlive, disable_nagle, peer_has_ended, set_receive_timeout, unacknowledged_bytes
from .pump import PausedWriter, WritePump
from .send import send_holding_gil
from .standard_streams import drop_output, flush_standard_streams, print_error, print_out
from .stream import PlainStream, Stream
from .tls import (
    PeerCertificate,
    TlsStream,
    client_context,
    fingerprint_of,
    peer_certificate,
    pinned_context,
    server_context,
    unverified_context,
)

__all__ = [
    "KeepAlive",
    "NetError",
    "PausedWriter",
    "PeerCertificate",
    "PlainStream",
    "Stream",
    "TlsStream",
    "WritePump",
    "ask",
    "certificate_alert",
    "client_context",
    "connect",
    "disable_nagle",
    "drop_output",
    "fingerprint_of",
    "flush_standard_streams",
    "format_address",
    "host_of",
    "is_loopback",
    "limit_free_memory",
    "listen",
    "network_of",
    "parse_address",
    "peer_certificate",
    "peer_has_ended",
    "pinned_context",
    "print_error",
    "print_out",
    "reachable_address",
    "reason",
    "release_free_memory",
    "send_holding_gil",
    "server_context",
    "set_receive_timeout",
    "unacknowledged_bytes",
    "unverified_context",
]
