"""A certificate for the tests of TLS streams."""

from __future__ import annotations

import pytest

from tests.support.certificates import Certificate, make_certificate


@pytest.fixture(scope="package")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """For the name `here`."""
    return make_certificate(tmp_path_factory.mktemp("tls"), "DNS:here")
