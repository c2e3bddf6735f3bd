"""The TLS contexts of both ends: a bad file is one sentence."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from net import NetError, client_context, server_context
from tests.support.certificates import Certificate, make_certificate
from tests.support.waiting import DEADLINE


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda _: client_context("/nowhere"), "Cannot use the CA file /nowhere: No such file or directory."),
        (client_context, "Cannot use the CA file {bad}: no certificate or crl found."),
        (lambda bad: client_context(key=bad), "The key {bad} needs a certificate beside it."),
        (
            lambda _: client_context(cert="/nowhere"),
            "Cannot use the certificate /nowhere: No such file or directory.",
        ),
        (
            server_context,
            "Cannot use the certificate {bad}: no certificate and key in PEM form found.",
        ),
        (
            lambda bad: server_context("/nowhere", bad),
            "Cannot use the certificate /nowhere with the key {bad}: No such file or directory.",
        ),
    ],
)
def test_a_bad_file_is_one_sentence(make: Callable[[Path], ssl.SSLContext], sentence: str, tmp_path: Path) -> None:
    bad = tmp_path / "bad.pem"
    bad.write_text("no certificate\n")
    with pytest.raises(NetError) as raised:
        make(bad)
    assert str(raised.value) == sentence.format(bad=bad)


def test_a_client_may_show_a_certificate_of_its_own(certificate: Certificate) -> None:
    client_context(certificate.file, certificate.file, certificate.key)


def test_a_key_that_does_not_fit(certificate: Certificate, tmp_path: Path) -> None:
    other = make_certificate(tmp_path, "DNS:here")
    with pytest.raises(NetError, match="key values mismatch"):
        server_context(certificate.file, other.key)


def test_an_encrypted_key_is_refused_instead_of_asked_about(certificate: Certificate, tmp_path: Path) -> None:
    """Nobody is at a server's terminal, least of all when it loads its certificate again."""
    encrypted = tmp_path / "encrypted.pem"
    command = ["openssl", "pkey", "-in", str(certificate.key), "-aes256", "-passout", "pass:secret"]
    subprocess.run([*command, "-out", str(encrypted)], check=True, capture_output=True, timeout=DEADLINE)
    with pytest.raises(NetError, match=rf"^The key {encrypted} is encrypted\."):
        server_context(certificate.file, encrypted)
