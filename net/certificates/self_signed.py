"""Floor 0: a certificate that signs itself and lives as long as one listening socket; a fingerprint proves it."""

from __future__ import annotations

import ssl
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography.hazmat.primitives.serialization import Encoding

from ..tls import fingerprint_of, server_context
from .build import builder, for_server, new_key, pem_of, pem_of_key, sign, subject, write_file

_DAYS = 30  # longer than any file is offered
_NAME = "partyline.invalid"  # RFC 6761 §6.4: no host has it; the peer looks at the fingerprint alone


def self_signed_context() -> tuple[ssl.SSLContext, str]:
    """Return a context for a server with a new key, and the fingerprint of its certificate. Raises OSError."""
    key, name = new_key(), subject(_NAME)
    certificate = sign(for_server(builder(name, key, _DAYS).issuer_name(name), [_NAME]), key)
    with TemporaryDirectory(prefix="partyline-") as folder:  # the module ssl loads keys from files only
        file = Path(folder) / "key.pem"
        write_file(file, pem_of(certificate) + pem_of_key(key), secret=True)
        context = server_context(file)
    return context, fingerprint_of(certificate.public_bytes(Encoding.DER))
