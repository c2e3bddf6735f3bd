"""The settings of docs/proxies.md for HAProxy, in a real HAProxy before two real servers."""

from __future__ import annotations

import re
import ssl
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.support.brokers.processes import free_port
from tests.support.certificates import Certificate
from tests.support.clients import Json, Text, endpoint, in_tls
from tests.support.fixtures import StartProcess
from tests.support.mqtt import MqttLine
from tests.support.processes import Process
from tests.support.processes.proxies import HAProxy
from tests.support.repository import ROOT
from tests.support.waiting import eventually
from wire.frames import Ping, Pong


def settings(people: int, devices: int, servers: list[Process]) -> str:
    """Return the settings of the page, with these ports and servers. The source of a connection is 127.0.0.7."""
    page = (ROOT / "docs" / "proxies.md").read_text()
    (text,) = re.findall(r"<!-- haproxy -->\n```\n(.*?)```\n<!-- /haproxy -->", page, re.DOTALL)
    text = (
        str(text).replace("bind :7000", f"bind 127.0.0.1:{people}").replace("bind :8883", f"bind 127.0.0.1:{devices}")
    )
    for number, server in enumerate(servers, start=1):
        mqtts = re.search(r"with TLS on ([0-9.:]+[0-9])", server.ready)
        assert mqtts is not None, server.ready
        text = text.replace(f"10.0.0.1{number}:7000", server.address).replace(f"10.0.0.1{number}:8883", mqtts[1])
    assert "10.0.0" not in text
    return text.replace(" send-proxy-v2 check", " send-proxy-v2 check inter 50ms source 127.0.0.7")


@pytest.fixture
def servers(start_process: StartProcess, tmp_path: Path, certificate: Certificate) -> list[Process]:
    """Two servers that take headers from 127.0.0.7."""
    config = tmp_path / "proxies.yaml"
    config.write_text(yaml.safe_dump({"proxies": ["127.0.0.7"], "mqtts_port": 0}))
    options = ["--config", str(config), "--tls-cert", str(certificate.file), "--tls-key", str(certificate.key)]
    return [start_process(*options, folder=tmp_path / f"server{number}") for number in (1, 2)]


@pytest.fixture
def ports() -> tuple[int, int]:
    """Two free ports."""
    return free_port(), free_port()


@pytest.fixture
def proxy(servers: list[Process], ports: tuple[int, int], tmp_path: Path) -> Iterator[HAProxy]:
    """HAProxy before the servers."""
    with HAProxy(tmp_path, settings(*ports, servers), *ports) as running:
        yield running


@pytest.fixture
def people(proxy: HAProxy, ports: tuple[int, int]) -> str:
    """The address for people."""
    return f"127.0.0.1:{ports[0]}"


@pytest.fixture
def devices(proxy: HAProxy, ports: tuple[int, int]) -> str:
    """The address for devices, which takes TLS only."""
    return f"127.0.0.1:{ports[1]}"


def logins(server: Process) -> list[str]:
    """The addresses of those who have logged in."""
    return re.findall(r" login: .*?address=(\S+)", server.log)


def warnings(server: Process) -> list[str]:
    """Return the warnings in its log, but for that about the certificate of the tests, which is valid for two days."""
    return [line for line in server.warnings.splitlines() if " certificate-expires: " not in line]


def test_every_dialect_goes_through_it_with_the_address_of_the_peer(
    servers: list[Process], people: str, devices: str
) -> None:
    with (
        Text(people, "ann") as ann,
        Json(people, "bob") as bob,
        Json(in_tls(people), "carol"),
        MqttLine(in_tls(devices), "oven"),
        MqttLine(people, "kiln", source="127.0.0.5"),
    ):
        ann.send("/whois ann")
        assert "127.0.0.1" in ann.expect("ann is online")
        assert isinstance(bob.request(Ping()), Pong)
    eventually(lambda: sum(len(logins(server)) for server in servers) == 5, lambda: servers[0].log + servers[1].log)
    assert Counter(logins(servers[0]) + logins(servers[1])) == {"127.0.0.1": 4, "127.0.0.5": 1}


def test_connections_are_spread_and_go_to_the_other_server_when_one_is_gone(
    servers: list[Process], proxy: HAProxy, people: str
) -> None:
    """Until then, HAProxy has looked at both of them several times, which leaves no line in their logs."""
    crowd = [Json(people, f"user{number}") for number in range(6)]
    eventually(lambda: sum(len(logins(server)) for server in servers) == 6, lambda: servers[0].log + servers[1].log)
    spread = [len(logins(server)) for server in servers]
    assert min(spread) >= 2, "one server has most of them"
    for line in crowd:
        line.socket.close()
    assert [warnings(server) for server in servers] == [[], []]
    servers[0].kill()
    eventually(lambda: "Server people/chat1 is DOWN" in proxy.said, lambda: proxy.said)
    with Json(people, "late"), Json(people, "later"):
        eventually(lambda: len(logins(servers[1])) == spread[1] + 2, lambda: servers[1].log)
    assert warnings(servers[1]) == []


def test_tls_of_the_server_is_verified_through_it(devices: str, certificate: Certificate) -> None:
    shown = ssl.get_server_certificate(endpoint(devices))
    assert ssl.PEM_cert_to_DER_cert(shown) == ssl.PEM_cert_to_DER_cert(certificate.file.read_text())
