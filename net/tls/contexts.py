"""Floor 0: TLS contexts for both ends."""

from __future__ import annotations

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
    try:
        context.load_cert_chain(cert, key)
    except OSError as error:
        files = f"{cert} with the key {key}" if key else f"{cert}"
        raise NetError(f"Cannot use the certificate {files}: {_file_reason(error)}.") from error


def _file_reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError) and not error.reason:  # then OpenSSL names a part of itself only
        return "no certificate and key in PEM form found"
    return reason(error)
