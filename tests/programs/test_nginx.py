"""The settings of docs/proxies.md for nginx, in a real nginx before two real servers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.support.brokers.processes import free_port
from tests.support.clients import Json, Text
from tests.support.fixtures import StartProcess
from tests.support.mqtt import MqttLine
from tests.support.processes import Process
from tests.support.processes.proxies import Nginx
from tests.support.repository import ROOT
from tests.support.waiting import eventually


def settings(port: int, servers: list[Process]) -> str:
    """Return the settings of the page, with this port and servers. The source of a connection is 127.0.0.7."""
    page = (ROOT / "docs" / "proxies.md").read_text()
    (found,) = re.findall(r"<!-- nginx -->\n```\n(.*?)```\n<!-- /nginx -->", page, re.DOTALL)
    text = str(found).replace("listen 7000", f"listen 127.0.0.1:{port}")
    for number, server in enumerate(servers, start=1):
        text = text.replace(f"10.0.0.1{number}:7000", server.address)
    assert "10.0.0" not in text
    return text.replace("proxy_protocol on;", "proxy_protocol on; proxy_bind 127.0.0.7;")


@pytest.fixture
def servers(start_process: StartProcess, tmp_path: Path) -> list[Process]:
    """Two servers that take headers from 127.0.0.7."""
    config = tmp_path / "proxies.yaml"
    config.write_text(yaml.safe_dump({"proxies": ["127.0.0.7"]}))
    return [start_process("--config", str(config), folder=tmp_path / f"server{number}") for number in (1, 2)]


@pytest.fixture
def address(servers: list[Process], tmp_path: Path) -> Iterator[str]:
    """The address of nginx before the servers."""
    port = free_port()
    with Nginx(tmp_path, settings(port, servers), port):
        yield f"127.0.0.1:{port}"


def logins(server: Process) -> list[str]:
    """The addresses of those who have logged in."""
    return re.findall(r" login: .*?address=(\S+)", server.log)


def test_connections_are_spread_with_the_addresses_of_the_peers(servers: list[Process], address: str) -> None:
    with Text(address, "ann"), Json(address, "bob"), MqttLine(address, "kiln", source="127.0.0.5"):
        eventually(lambda: sum(len(logins(each)) for each in servers) == 3, lambda: servers[0].log + servers[1].log)
    assert sorted(logins(servers[0]) + logins(servers[1])) == ["127.0.0.1", "127.0.0.1", "127.0.0.5"]
    assert min(len(logins(each)) for each in servers) == 1


def test_connections_go_to_the_other_server_when_one_is_gone(servers: list[Process], address: str) -> None:
    servers[0].kill()
    for number in range(4):
        with Json(address, f"user{number}"):
            eventually(lambda: len(logins(servers[1])) == number + 1, lambda: servers[1].log)  # noqa: B023
