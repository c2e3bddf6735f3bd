"""Two servers on one PostgreSQL behind HAProxy, with the settings of docs/proxies.md: one chat, also when one dies."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

from server import load
from store import shown_url
from tests.support.brokers.processes import free_port
from tests.support.clients import Json
from tests.support.fixtures import StartProcess
from tests.support.postgres import shared_cluster
from tests.support.processes import Process
from tests.support.processes.proxies import HAProxy
from tests.support.repository import ROOT
from tests.support.waiting import eventually
from wire.frames import Entry, History, Join, Page, Say, Stored


def settings(port: int, servers: list[Process]) -> str:
    """Return the part for people of the page's settings. HAProxy connects from 127.0.0.7."""
    page = (ROOT / "docs" / "proxies.md").read_text()
    (found,) = re.findall(r"<!-- haproxy -->\n```\n(.*?)```\n<!-- /haproxy -->", page, re.DOTALL)
    parts = [part for part in str(found).split("\n\n") if "devices" not in part]
    text = "\n\n".join(parts).replace("bind :7000", f"bind 127.0.0.1:{port}")
    for number, server in enumerate(servers, start=1):
        text = text.replace(f"10.0.0.1{number}:7000", server.address)
    assert "10.0.0" not in text
    return text.replace(" check", " check inter 50ms source 127.0.0.7") + "\n"


@pytest.fixture
def servers(start_process: StartProcess, tmp_path: Path) -> Iterator[list[Process]]:
    """Two servers on one database, which take headers from 127.0.0.7."""
    cluster = shared_cluster()
    name = cluster.new_database()
    config = tmp_path / "proxies.yaml"
    config.write_text(yaml.safe_dump({"proxies": ["127.0.0.7"], "database": cluster.socket_url(name)}))
    started = [start_process("--config", str(config), folder=tmp_path / f"server{number}") for number in (1, 2)]
    yield started
    for each in started:
        each.kill()
    cluster.drop_database(name)


def test_the_config_of_the_page(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "several-servers.md").read_text()
    (found,) = re.findall(r"<!-- config -->\n```\n(.*?)```\n<!-- /config -->", page, re.DOTALL)
    file = tmp_path / "partyline.yaml"
    file.write_text(found)
    config = load(str(file))
    assert (config.host, config.address, config.proxies) == ("0.0.0.0", "chat1.lan:7000", ("10.0.0.10",))
    assert shown_url(config.database) == "postgresql://db.lan/partyline"


def place(name: str, servers: list[Process]) -> int:
    """Return at which of the servers a user has logged in."""
    (found,) = [at for at, server in enumerate(servers) if f"user={name} " in server.log]
    return found


def test_one_chat_behind_a_proxy(servers: list[Process], tmp_path: Path) -> None:
    """When a server is killed, its users come back at the other one and miss nothing; nobody else notices."""
    port = free_port()
    with HAProxy(tmp_path, settings(port, servers), port) as proxy, ExitStack() as opened:
        address = f"127.0.0.1:{port}"
        names = ["ann", "bob", "carol", "dave"]
        clients = {name: opened.enter_context(Json(address, name)) for name in names}
        for client in clients.values():
            client.request(Join("lab"))
        first = names[0]
        other = next(name for name in names if place(name, servers) != place(first, servers))
        assert isinstance(clients[other].request(Say("hello", "lab")), Stored)
        assert clients[first].expect(Entry).text == "hello"
        servers[place(other, servers)].kill()
        clients[other].until_closed()
        assert isinstance(clients[first].request(Say("are you there?", "lab")), Stored)
        eventually(lambda: "is DOWN" in proxy.said, lambda: proxy.said)
        again = opened.enter_context(Json(address, other, since={"lab": 1}))
        assert again.expect(Entry).text == "are you there?"
        page = again.request(History(channel="lab", after=0, limit=10))
        assert isinstance(page, Page)
        assert [entry.text for entry in page.entries] == ["hello", "are you there?"]
