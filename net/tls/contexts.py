"""Floor 0: TLS contexts for both ends."""

from __future__ import annotations

import errno
import hashlib
import hmac
import ssl
from pathlib import Path
from typing import TypeAlias

from ..errors import NetError, reason

File: TypeAlias = str | Path


def client_context(ca: File | None = None, cert: File | None = None, key: File | None = None) -> ssl.SSLContext:
    """Return a context for a client that verifies its server. The files are PEM. Raises NetError.

    `ca`: the certificates of the authorities to trust; by default those of the system. `cert`: a certificate that the
    client shows; `key`: its private key, if that is not in the same file.
    """
    try:
        context = ssl.create_default_context(cafile=ca)
    except OSError as error:
        raise NetError(f"Cannot use the CA file {ca}: {_file_reason(error)}.") from error
    if key and not cert:
        raise NetError(f"The key {key} needs a certificate beside it.")
    if cert:
        _load(context, cert, key)
    return context


def unverified_context() -> ssl.SSLContext:
    """Return a context for a client that accepts any certificate, and so may send nothing secret."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def pinned_context(fingerprint: str) -> ssl.SSLContext:
    """Return a context for a client that accepts one certificate, whoever has signed it, and no other one.

    `fingerprint` is as `fingerprint()` writes it. A handshake with another certificate raises ConnectionAbortedError.
    """

    class PinnedSocket(ssl.SSLSocket):
        """Compares the certificate before anything is sent."""

        def do_handshake(self, block: bool = False) -> None:
            super().do_handshake(block)
            shown = self.getpeercert(binary_form=True) or b""
            if not hmac.compare_digest(fingerprint_of(shown), fingerprint):
                raise ConnectionAbortedError(errno.ECONNABORTED, "its certificate is not the one that is trusted")

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.sslsocket_class = PinnedSocket
    return context


def fingerprint_of(der: bytes) -> str:
    """Return the SHA-256 of a certificate in DER form as browsers and openssl write it: AB:CD:…."""
    return hashlib.sha256(der).digest().hex(":").upper()


def server_context(cert: File, key: File | None = None) -> ssl.SSLContext:
    """Return a context for a server. `cert`: a PEM file of its certificate and the chain above. Raises NetError.

    `key`: the private key, if that is not in the same file.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.num_tickets = 0  # of TLS 1.3: connections stay for hours, so to resume a session would save little
    _load(context, cert, key)
    return context


def _load(context: ssl.SSLContext, cert: File, key: File | None) -> None:
    def ask_for_password() -> str:  # else OpenSSL would ask for it on the terminal
        raise NetError(f"The key {key or cert} is encrypted. Write it without a password: openssl pkey -in … -out …")

    try:
        context.load_cert_chain(cert, key, ask_for_password)
    except OSError as error:
        files = f"{cert} with the key {key}" if key else f"{cert}"
        raise NetError(f"Cannot use the certificate {files}: {_file_reason(error)}.") from error


def _file_reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError) and not error.reason:  # then OpenSSL names a part of itself only
        return "no certificate and key in PEM form found"
    return reason(error)
