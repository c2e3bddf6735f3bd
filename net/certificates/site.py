"""Floor 0: the site's own authority, and the server certificates that it signs, as files in one folder."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from ..errors import NetError
from .build import builder, for_authority, for_server, new_key, pem_of, pem_of_key, sign, subject, write_file
from .describe import Description, describe, describe_certificate

CA_DAYS = 3_650
SERVER_DAYS = 730  # iOS and macOS refuse more than 825 of a server certificate
_CA, _CA_KEY, _CERT, _KEY = "ca.pem", "ca.key", "server.pem", "server.key"


@dataclass(frozen=True, slots=True)
class Site:
    """The certificates of a site: `make_site` has made them, or has found and kept the authority."""

    ca: Description
    server: Description
    ca_file: Path
    is_new: bool  # the authority was made now


def make_site(folder: Path, hosts: Sequence[str]) -> Site:
    """Make a server certificate for these hosts, and the authority that signs it unless the folder has one.

    The files are ca.pem, ca.key, server.pem (with ca.pem below it) and server.key. A renewal keeps the authority and
    the server's key, so that whoever trusts one of them still does. Raises NetError.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        is_new = not (folder / _CA).exists()
        ca, ca_key = _new_authority(folder) if is_new else _load_authority(folder)
        key = _key(folder / _KEY)
        if key is None:
            key = new_key()
            write_file(folder / _KEY, pem_of_key(key), secret=True)
        authority_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
        bare = builder(subject(hosts[0]), key, _days(ca)).issuer_name(ca.subject)
        server = sign(for_server(bare.add_extension(authority_id, critical=False), hosts), ca_key)
        write_file(folder / _CERT, pem_of(server) + pem_of(ca), secret=False)
    except OSError as error:
        raise NetError(f"Cannot write the certificate to {folder}: {error.strerror}.") from error
    return Site(describe_certificate(ca), describe_certificate(server), folder / _CA, is_new)


def hosts_so_far(folder: Path) -> tuple[str, ...]:
    """Return the hosts of the server certificate in the folder; none if there is no such certificate."""
    try:
        return describe(folder / _CERT).hosts
    except NetError:
        return ()


def _new_authority(folder: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key, issuer = new_key(), subject(f"Partyline at {socket.gethostname()}")
    ca = sign(for_authority(builder(issuer, key, CA_DAYS).issuer_name(issuer)), key)
    write_file(folder / _CA_KEY, pem_of_key(key), secret=True)  # first: with ca.pem, the authority counts as made
    write_file(folder / _CA, pem_of(ca), secret=False)
    return ca, key


def _load_authority(folder: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = _key(folder / _CA_KEY)
    if key is None:
        raise NetError(f"The key of the authority, {folder / _CA_KEY}, is missing. Restore it, or remove {folder}.")
    try:
        ca = x509.load_pem_x509_certificate((folder / _CA).read_bytes())
    except ValueError as error:
        raise NetError(f"{folder / _CA} is not a certificate. Restore it, or remove {folder}.") from error
    if ca.public_key() != key.public_key():
        raise NetError(f"{folder / _CA_KEY} is not the key of {folder / _CA}. Restore it, or remove {folder}.")
    if ca.not_valid_after_utc <= datetime.now(UTC) + timedelta(days=1):
        raise NetError(f"The authority {folder / _CA} has expired. Remove {folder} and make a new one.")
    return ca, key


def _key(file: Path) -> ec.EllipticCurvePrivateKey | None:
    """Return the key in a PEM file, None if there is no such file. Raises NetError and OSError."""
    if not file.exists():
        return None
    try:
        key = load_pem_private_key(file.read_bytes(), None)
    except (ValueError, TypeError) as error:
        raise NetError(f"{file} is not a private key. Restore it, or remove it.") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise NetError(f"{file} is not a key on an elliptic curve. Restore it, or remove it.")
    return key


def _days(ca: x509.Certificate) -> int:
    """Return how long a server certificate is valid: not longer than its authority."""
    return min(SERVER_DAYS, (ca.not_valid_after_utc - datetime.now(UTC)).days)
