"""Floor 0: errors of sockets and TLS in words."""

from __future__ import annotations

import ssl


class NetError(Exception):
    """An address, a port or a certificate file cannot be used; the message is a sentence for the person who gave it."""


def reason(error: OSError) -> str:
    """Return why a socket, a file or a TLS handshake failed, as a part of a sentence, without the error's number."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid ({error.verify_message.rstrip('.')})"
    if isinstance(error, ssl.SSLError):
        return error.reason.replace("_", " ").lower() if error.reason else str(error)
    return error.strerror or str(error)
