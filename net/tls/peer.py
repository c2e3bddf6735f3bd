"""Floor 0: a look at the certificate of a server, before a client decides whether to trust it."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from ..connect import connect
from .contexts import unverified_context


@dataclass(frozen=True, slots=True)
class PeerCertificate:
    """A server's certificate in DER form, and what is wrong with it; empty if nothing is."""

    der: bytes
    objection: str


def peer_certificate(host: str, port: int, seconds: float, context: ssl.SSLContext) -> PeerCertificate:
    """Return the certificate that a server shows now. Nothing is sent in TLS. Raises OSError.

    `context` verifies it; an objection is part of the answer. Each attempt may take `seconds`.
    """
    try:
        return PeerCertificate(_shown(host, port, seconds, context), "")
    except ssl.SSLCertVerificationError as error:
        objection = error.verify_message.rstrip(".")
    return PeerCertificate(_shown(host, port, seconds, unverified_context()), objection)


def _shown(host: str, port: int, seconds: float, context: ssl.SSLContext) -> bytes:
    with (
        connect(host, port, seconds) as sock,
        context.wrap_socket(sock, server_hostname=host) as encrypted,
    ):
        return encrypted.getpeercert(binary_form=True) or b""
