"""Floor 0: what a certificate says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ..errors import NetError
from ..tls import fingerprint_of


@dataclass(frozen=True, slots=True)
class Description:
    """A certificate: its SHA-256 fingerprint, the names that it is for, and until when it is valid, in UTC."""

    fingerprint: str
    hosts: tuple[str, ...]
    expires: datetime


def describe(file: Path) -> Description:
    """Return the description of the first certificate in a PEM file. Raises NetError."""
    try:
        certificate = x509.load_pem_x509_certificate(file.read_bytes())
    except (OSError, ValueError) as error:
        raise NetError(f"Cannot read the certificate {file}: {getattr(error, 'strerror', None) or error}.") from error
    return describe_certificate(certificate)


def describe_der(der: bytes) -> Description:
    """Return the description of a certificate in DER form. Raises NetError."""
    try:
        return describe_certificate(x509.load_der_x509_certificate(der))
    except ValueError as error:
        raise NetError(f"The certificate cannot be read: {error}.") from error


def describe_certificate(certificate: x509.Certificate) -> Description:
    """Return the description of a certificate."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        hosts: tuple[str, ...] = ()
    else:
        addresses = map(str, names.get_values_for_type(x509.IPAddress))
        hosts = (*names.get_values_for_type(x509.DNSName), *addresses)
    der = certificate.public_bytes(Encoding.DER)
    return Description(fingerprint_of(der), hosts, certificate.not_valid_after_utc)


def key_fingerprint(der: bytes) -> str:
    """Return the SHA-256 of the public key of a certificate in DER form: a renewed certificate has the same."""
    key = x509.load_der_x509_certificate(der).public_key()
    return fingerprint_of(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
