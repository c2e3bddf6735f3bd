"""Floor 0: errors of sockets and TLS in words."""

from __future__ import annotations

import re
import ssl

# The alerts by which a peer refuses a certificate (RFC 8446 §6.2), as OpenSSL names the errors that they cause.
_REFUSALS = re.compile("alert_(unknown_ca|(?:bad|unsupported)_certificate|certificate_(?:revoked|expired|unknown))")


class NetError(Exception):
    """An address, a port or a certificate file cannot be used; the message is a sentence for the person who gave it."""


def reason(error: OSError) -> str:
    """Return why a socket, a file or a TLS handshake failed, as a part of a sentence, without the error's number."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid ({error.verify_message.rstrip('.')})"
    if isinstance(error, ssl.SSLError):
        return error.reason.replace("_", " ").lower() if error.reason else str(error)
    return error.strerror or str(error)


def certificate_alert(error: OSError) -> str:
    """Return the alert of TLS by which the peer has refused this side's certificate; empty for any other error."""
    if not isinstance(error, ssl.SSLError) or isinstance(error, ssl.SSLCertVerificationError):
        return ""
    found = _REFUSALS.search((error.reason or str(error)).lower().replace(" ", "_"))
    return found[1] if found is not None else ""
