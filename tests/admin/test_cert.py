"""The command `server.py cert`: a site's authority and its certificates, and the server that uses them by itself."""

from __future__ import annotations

import re
import shutil
import socket
import ssl
import stat
import subprocess
from pathlib import Path

import pytest

from net.certificates import describe, key_fingerprint, make_site, own_hosts
from server import Server
from tests.support.clients import endpoint
from tests.support.fixtures import StartProcess, StartServer
from tests.support.processes.forks import run
from tests.support.waiting import DEADLINE

FILES = ("ca.pem", "ca.key", "server.pem", "server.key")


def make(data: Path, *hosts: str) -> str:
    """Run the command; what it has printed."""
    done = run("cert", *hosts, "--data", str(data))
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def handshake(address: str, ca: Path, name: str = "127.0.0.1") -> bytes:
    """Connect and verify the server by that authority; its certificate in DER form."""
    context = ssl.create_default_context(cafile=ca)
    with (
        socket.create_connection(endpoint(address), DEADLINE) as sock,
        context.wrap_socket(sock, server_hostname=name) as peer,
    ):
        return peer.getpeercert(binary_form=True) or b""


def test_the_files_and_who_may_read_them(tmp_path: Path) -> None:
    data = tmp_path / "data"
    said = make(data, "chat.example", "10.0.0.5", "fd00::5")
    folder = data / "tls"
    assert {file.name for file in folder.iterdir()} == {*FILES}
    modes = {name: stat.S_IMODE((folder / name).stat().st_mode) for name in FILES}
    assert modes == {"ca.pem": 0o644, "ca.key": 0o600, "server.pem": 0o644, "server.key": 0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert "Hosts: chat.example, 10.0.0.5, fd00::5\n" in said
    for file in ("ca.pem", "server.pem"):
        assert re.search(rf"\({file}\): +{describe(folder / file).fingerprint}\n", said)
    assert f"Give {folder}/ca.pem to everyone" in said


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_finds_nothing_wrong(tmp_path: Path) -> None:
    """With its strictest rules, for a server, by name and by address."""
    make(tmp_path, "chat.example", "10.0.0.5")
    folder = tmp_path / "tls"
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", str(folder / "ca.pem")]
    for right in (["-verify_hostname", "chat.example"], ["-verify_ip", "10.0.0.5"]):
        done = subprocess.run(
            [*command, *right, str(folder / "server.pem")], capture_output=True, text=True, check=True
        )
        assert done.stdout.endswith(": OK\n")
    other = [*command, "-verify_hostname", "other.example", str(folder / "server.pem")]
    assert subprocess.run(other, capture_output=True, check=False).returncode != 0


def test_a_renewal_keeps_the_authority_and_the_key(tmp_path: Path) -> None:
    assert "Made an authority and a server certificate" in make(tmp_path, "a.example")
    folder = tmp_path / "tls"
    before = {name: (folder / name).read_bytes() for name in FILES}
    assert "Renewed the server certificate" in make(tmp_path, "b.example")
    after = {name: (folder / name).read_bytes() for name in FILES}
    assert {name for name in FILES if before[name] != after[name]} == {"server.pem"}
    assert describe(folder / "server.pem").hosts == ("b.example",)
    old, new = (key_fingerprint(ssl.PEM_cert_to_DER_cert(_first(each["server.pem"]))) for each in (before, after))
    assert old == new


def _first(pem: bytes) -> str:
    """The first certificate of a file."""
    return pem.decode().partition("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n"


def test_the_default_hosts_are_this_machine_s(tmp_path: Path) -> None:
    make(tmp_path)
    hosts = describe(tmp_path / "tls" / "server.pem").hosts
    assert {"localhost", "127.0.0.1", socket.gethostname()} <= {*hosts}
    assert {*hosts} == {*own_hosts()}


def test_a_renewal_without_hosts_keeps_those_of_the_certificate(tmp_path: Path) -> None:
    """Clients that use such a name could not connect any more."""
    make(tmp_path, "chat.example", "10.0.0.5", "localhost")
    for _ in range(2):
        make(tmp_path)
        hosts = describe(tmp_path / "tls" / "server.pem").hosts
        assert {*hosts} == {"chat.example", "10.0.0.5", *own_hosts()}
        assert len(hosts) == len({*hosts})
    (tmp_path / "tls" / "server.pem").write_text("x")
    make(tmp_path)
    assert {*describe(tmp_path / "tls" / "server.pem").hosts} == {*own_hosts()}


@pytest.mark.parametrize("host", ["a b", "", "http://a", "a/b", "a..b" * 80, "-", "ä" * 300])
def test_what_is_no_host_is_refused(host: str, tmp_path: Path) -> None:
    wrong = run("cert", host, "--data", str(tmp_path))
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert wrong.stderr.startswith("server.py cert: ")
    assert wrong.stderr.count("\n") == 1
    assert not (tmp_path / "tls").exists()


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda folder: (folder / "ca.key").unlink(), "is missing"),
        (lambda folder: (folder / "ca.pem").write_text("x"), "is not a certificate"),
        (lambda folder: (folder / "ca.key").write_text("x"), "is not a private key"),
        (lambda folder: (folder / "server.key").write_text("x"), "is not a private key"),
        (lambda folder: shutil.copy(folder / "server.key", folder / "ca.key"), "is not the key of"),
    ],
    ids=["no key of the authority", "no authority", "broken key", "broken key of the server", "another key"],
)
def test_damaged_files_are_one_sentence_and_stay(damage: object, sentence: str, tmp_path: Path) -> None:
    make(tmp_path, "a.example")
    folder = tmp_path / "tls"
    damage(folder)  # type: ignore[operator]
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    wrong = run("cert", "a.example", "--data", str(tmp_path))
    assert wrong.returncode == 1
    assert sentence in wrong.stderr
    assert wrong.stderr.count("\n") == 1
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_the_server_uses_it_by_itself_and_reloads_a_renewal(start_process: StartProcess, tmp_path: Path) -> None:
    data = tmp_path / "data"
    make(data, "localhost", "127.0.0.1")
    process = start_process(folder=data)
    assert "Each port takes TLS, too." in process.ready
    ca = data / "tls" / "ca.pem"
    assert handshake(process.address, ca, "localhost")
    assert "certificate-loaded" in process.log
    assert describe(data / "tls" / "server.pem").fingerprint in process.log
    assert "certificate-expires" not in process.log


def test_a_server_without_a_certificate_has_no_tls(server: Server) -> None:
    assert server.tls is None
    with pytest.raises(OSError, match=r"."):
        ssl.get_server_certificate(endpoint(server.address), timeout=DEADLINE)


def test_a_certificate_that_expires_soon_is_warned_of(
    start_server: StartServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("net.certificates.site.SERVER_DAYS", 29)
    make_site(tmp_path / "data" / "tls", ["127.0.0.1"])
    server = start_server()
    assert server.tls is not None
    assert "certificate-expires" in caplog.text
