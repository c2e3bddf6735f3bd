"""The client as a program, at a server with TLS: as a script, over JSON and MQTT, and on a screen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from net.certificates import describe
from server import Server
from tests.support.certificates import Certificate
from tests.support.clients import Json
from tests.support.processes.clients import run
from tests.support.processes.screens import Screen
from wire.frames import History, Join, Page


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the user's settings."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    return tmp_path / "settings"


def urls(server: Server) -> list[str]:
    """The server by JSON and by MQTT, both in TLS."""
    assert server.mqtts_address is not None
    return [f"tls://{server.address}", f"mqtts://{server.mqtts_address}"]


def said(server: Server) -> list[str]:
    """Return the texts that were said in lab."""
    with Json(server.address, "reader") as reader:
        reader.request(Join("lab"))
        answer = reader.request(History(channel="lab"))
        assert isinstance(answer, Page)
        return [entry.text for entry in answer.entries]


def test_a_script_with_the_authority(settings: Path, tls_server: Server, certificate: Certificate) -> None:
    for at, url in enumerate(urls(tls_server)):
        done = run(url, "--ca", str(certificate.file), "--name", f"kiln{at}", typed=f"/join lab\nlab: hot {at}\n")
        assert (done.returncode, done.stderr) == (0, "")
    assert said(tls_server) == ["hot 0", "hot 1"]


def test_a_script_trusts_by_fingerprint_once(settings: Path, tls_server: Server, certificate: Certificate) -> None:
    fingerprint = describe(certificate.file).fingerprint
    for at, url in enumerate(urls(tls_server)):
        refused = run(url, "--name", "kiln", typed="/join lab\nlab: cold\n")
        assert refused.returncode == 2
        assert refused.stderr.count("\n") == 1
        assert f"--trust {fingerprint}" in refused.stderr
        done = run(url, "--trust", fingerprint, "--name", "kiln", typed="/join lab\n")
        assert (done.returncode, done.stderr) == (0, "")
        done = run(url, "--name", "kiln", typed=f"/join lab\nlab: hot {at}\n")
        assert (done.returncode, done.stderr) == (0, "")
    assert said(tls_server) == ["hot 0", "hot 1"]


def test_options_of_tls_need_an_address_with_tls() -> None:
    for option in ("--ca", "--trust"):
        done = run("127.0.0.1:1", option, "x", "--name", "kiln")
        assert done.returncode == 2
        assert done.stderr == f"client.py: {option} needs an address that begins with tls:// or mqtts://.\n"


def test_a_person_is_asked_once(
    settings: Path, tls_server: Server, certificate: Certificate, start_screen: Callable[..., Screen]
) -> None:
    url = urls(tls_server)[0]
    screen = start_screen(url, "--name", "alice")
    fingerprint = describe(certificate.file).fingerprint
    screen.until(lambda lines: any("Trust this certificate from now on? [y/N]" in line for line in lines))
    assert f"SHA-256: {fingerprint}" in screen.lines()
    screen.type("y", "Enter")
    screen.until(lambda lines: any("Welcome, alice" in line for line in lines))
    again = start_screen(url, "--name", "bob")
    again.until(lambda lines: any("Welcome, bob" in line for line in lines))
    assert not any("Trust" in line for line in again.lines())


def test_a_person_who_refuses_is_not_connected(
    settings: Path, tls_server: Server, start_screen: Callable[..., Screen]
) -> None:
    screen = start_screen(urls(tls_server)[0], "--name", "alice")
    screen.until(lambda lines: any("[y/N]" in line for line in lines))
    screen.type("", "Enter")
    screen.expect("ended 2")
    assert any(line.endswith("is not trusted.") for line in screen.lines())
