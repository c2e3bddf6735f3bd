"""Servers know where they reach each other, and by which certificate."""

from __future__ import annotations

import shutil
import ssl
from pathlib import Path
from socket import gethostname

import pytest

from doors import TlsConfig
from net import fingerprint_of
from server import Server
from store import ServerRow
from tests.servers.conftest import StartServers
from tests.support.certificates import make_certificate
from wire.errors import LocalError


def seen_from(server: Server) -> ServerRow:
    """Return the row of the other one."""
    [row] = server.chat.servers.others()
    return row


def fingerprint(certificate: Path) -> str:
    """Return the fingerprint of a certificate's file."""
    return fingerprint_of(ssl.PEM_cert_to_DER_cert(certificate.read_text()))


def test_servers_know_where_they_reach_each_other(start_servers: StartServers) -> None:
    one, other = start_servers(2)
    row = seen_from(one)
    assert row.number == other.chat.servers.here
    assert row.address == other.address
    assert row.name == f"{gethostname()}:{other.address.partition(':')[2]}"
    assert row.fingerprint == ""
    assert row.secret == other.chat.servers.secret != one.chat.servers.secret


def test_an_address_in_the_config_is_told_as_it_is(start_servers: StartServers) -> None:
    [one] = start_servers(1)
    [other] = start_servers(1, address="lab-a")
    row = seen_from(one)
    assert row.name == row.address == f"lab-a:{other.address.partition(':')[2]}"


def test_a_bad_address_is_one_sentence(start_servers: StartServers) -> None:
    [one] = start_servers(1)
    with pytest.raises(LocalError, match="The address for other servers is wrong: 'x' is not a port"):
        start_servers(1, address="lab-a:x")
    assert one.chat.servers.others() == []


def test_the_others_learn_of_a_new_certificate(start_servers: StartServers, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    old, new = make_certificate(tmp_path / "old", "DNS:old"), make_certificate(tmp_path / "new", "DNS:new")
    [one] = start_servers(1)
    [other] = start_servers(1, tls=TlsConfig(str(old.file), str(old.key)))
    assert seen_from(one).fingerprint == fingerprint(old.file)
    shutil.copy(new.file, old.file)
    shutil.copy(new.key, old.key)
    other.reload_tls()
    assert seen_from(one).fingerprint == fingerprint(new.file)
