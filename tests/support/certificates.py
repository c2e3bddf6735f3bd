"""Self-signed certificates for tests of TLS, made by the program openssl."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

_PATIENCE = 60.0  # seconds


@dataclass(frozen=True, slots=True)
class Certificate:
    """A PEM file that signs itself, so that it is its own authority, and the file of its private key."""

    file: Path
    key: Path


def make_certificate(folder: Path, *names: str) -> Certificate:
    """Make a certificate for these names, written as `IP:127.0.0.1` or `DNS:here`; skip the test without openssl."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    made = Certificate(folder / "certificate.pem", folder / "key.pem")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-keyout", str(made.key), "-out", str(made.file), "-days", "2", "-subj", "/CN=test",
         "-addext", f"subjectAltName={','.join(names)}"],
        check=True, capture_output=True, timeout=_PATIENCE,
    )  # fmt: skip
    return made
