"""Floor 0: keys and certificates in memory, and the files that they go to."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_CLOCK_SKEW = timedelta(days=1)  # a device whose clock is a little late must not refuse a new certificate


def new_key() -> ec.EllipticCurvePrivateKey:
    """Return a new key on the curve P-256, which every device with TLS 1.2 can use."""
    return ec.generate_private_key(ec.SECP256R1())


def subject(name: str) -> x509.Name:
    """Return a name with a common name only, of at most 64 characters (RFC 5280 §A.1)."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])


def builder(name: x509.Name, key: ec.EllipticCurvePrivateKey, days: int) -> x509.CertificateBuilder:
    """Return a certificate that is valid for so many days from now on; its issuer and its extensions are missing."""
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def for_authority(certificate: x509.CertificateBuilder) -> x509.CertificateBuilder:
    """Add the extensions of an authority whose certificates are of servers only, not of further authorities."""
    return certificate.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True).add_extension(
        _usage(certificates=True), critical=True
    )


def for_server(certificate: x509.CertificateBuilder, hosts: Sequence[str]) -> x509.CertificateBuilder:
    """Add the extensions of a server with these names and IP addresses."""
    names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
    return (
        certificate.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(names, critical=False)
    )


def sign(certificate: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """Return the certificate, signed with the issuer's key."""
    return certificate.sign(key, hashes.SHA256())


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _usage(*, certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certificates,
        crl_sign=certificates,
        encipher_only=False,
        decipher_only=False,
    )


def pem_of_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a private key in PEM form, not encrypted."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def pem_of(certificate: x509.Certificate) -> bytes:
    """Return a certificate in PEM form."""
    return certificate.public_bytes(Encoding.PEM)


def write_file(file: Path, data: bytes, *, secret: bool) -> None:
    """Replace a file as a whole; the owner alone can read a secret one. Raises OSError."""
    draft = file.with_name(f".{file.name}.new")
    draft.unlink(missing_ok=True)
    draft.touch(0o600, exist_ok=False)  # before a byte is in it
    with draft.open("wb") as out:
        if not secret:
            draft.chmod(0o644)
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    draft.replace(file)
