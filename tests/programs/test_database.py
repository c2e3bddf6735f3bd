"""The server program on a PostgreSQL database: its options, its subcommands, and a talk by each kind of client."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from server import configure
from store import read_account
from tests.support.clients import Json, Text
from tests.support.fixtures import StartProcess
from tests.support.mqtt import MqttLine
from tests.support.postgres import PASSWORD, QUOTED_PASSWORD, Cluster, shared_cluster
from tests.support.processes.forks import run
from tests.support.repository import ROOT
from wire.frames import History, Join, Page, Say, Stored
from wire.mqtt import V5


@pytest.fixture
def cluster() -> Cluster:
    """The cluster of this test run."""
    return shared_cluster()


@pytest.fixture
def name(cluster: Cluster) -> Iterator[str]:
    """An empty database."""
    made = cluster.new_database()
    yield made
    cluster.drop_database(made)


def test_the_database_is_an_option_a_setting_or_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this order of precedence. Without any it is in the data folder."""
    monkeypatch.delenv("PARTYLINE_DATABASE", raising=False)
    file = tmp_path / "config.yaml"
    file.write_text("database: postgresql:///setting\n")
    assert configure([]).database == ""
    monkeypatch.setenv("PARTYLINE_DATABASE", "postgresql:///variable")
    assert configure([]).database == "postgresql:///variable"
    assert configure(["--config", str(file)]).database == "postgresql:///setting"
    assert configure(["--config", str(file), "--database", "x"]).database == "x"


@pytest.mark.parametrize("way", ["option", "setting", "variable", "password file"])
def test_the_password_is_never_shown(
    start_process: StartProcess, cluster: Cluster, name: str, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the command line the server warns about it."""
    url = cluster.url(name)
    options: list[str] = []
    if way == "option":
        options = ["--database", url]
    elif way == "setting":
        (tmp_path / "config.yaml").write_text(f"database: {url}\n")
        options = ["--config", str(tmp_path / "config.yaml")]
    elif way == "variable":
        monkeypatch.setenv("PARTYLINE_DATABASE", url)
    else:
        passwords = tmp_path / "pgpass"
        passwords.write_text(f"127.0.0.1:{cluster.port}:*:partyline:{PASSWORD.replace(':', chr(92) + ':')}\n")
        passwords.chmod(0o600)
        monkeypatch.setenv("PGPASSFILE", str(passwords))
        options = ["--database", url.replace(f":{QUOTED_PASSWORD}", "")]
    process = start_process(*options)
    shown = f"postgresql://127.0.0.1:{cluster.port}/{name}"
    assert f"Data folder: {process.folder}. Database: {shown}." in process.ready
    assert f"database={shown}" in process.log
    assert ("exposed-password" in process.log) == (way == "option")
    assert process.stop() == 0
    for secret in (PASSWORD, QUOTED_PASSWORD, "secret"):
        assert secret not in process.log + process.ready


def test_people_and_devices_talk_and_the_server_finds_it_again(
    start_process: StartProcess, cluster: Cluster, name: str, connect: Callable[..., Json],
    dial: Callable[..., Text], mqtt: Callable[..., MqttLine],
) -> None:  # fmt: skip
    """By nc, JSON and MQTT; after `kill -9` everything is there. The subcommands read beside the server."""
    url = cluster.url(name)
    process = start_process("--database", url)
    alice, bob = connect(process.address, "alice"), dial(process.address, "bob")
    carol = mqtt(process.address, "carol", version=V5)
    alice.request(Join("lab"))
    bob.send("/join lab")
    bob.expect("You are in lab")
    carol.subscribe("chat/channels/lab/text")
    assert isinstance(alice.request(Say("from a program", "lab", "id1")), Stored)
    bob.expect("alice: from a program")
    carol.message("chat/channels/lab/text", lambda packet: packet.payload == b"alice: from a program")
    bob.send("from a person")
    carol.message("chat/channels/lab/text", lambda packet: packet.payload == b"bob: from a person")
    carol.publish("chat/from/carol/say/lab", "from a device")
    bob.expect("carol: from a device")
    bob.send("/register correct-horse")
    bob.expect("bob")
    found = run("check", "--data", str(process.folder), "--database", url)
    assert found.returncode == 0, found.stdout + found.stderr
    assert found.stdout.splitlines()[-1] == "No damage in 3 messages and 0 files."
    process.restart()
    again = connect(process.address, "alice")
    assert again.request(Say("again", "lab", "id1")).number == 1
    page = again.request(History(channel="lab", after=0, limit=10))
    assert isinstance(page, Page)
    assert [entry.text for entry in page.entries] == ["from a program", "from a person", "from a device"]
    account = read_account(url, "BOB")
    assert account is not None
    assert account.password is not None
    cluster.sql("UPDATE runs SET body = replace(body, 'person', 'parson')", name)
    cluster.sql("UPDATE logs SET tail = 7", name)
    damaged = run("check", "--data", str(process.folder), "--database", url)
    assert (damaged.returncode, damaged.stderr) == (1, "")
    assert "Damaged messages in the channel lab: 2 " in damaged.stdout
    assert "The last message of the channel lab has number 3, and should have 7." in damaged.stdout
    assert "secret" not in damaged.stdout


def test_without_the_driver_the_error_says_what_to_install(tmp_path: Path) -> None:
    """The driver is an extra package."""
    code = "import sys; sys.modules['psycopg'] = None; import server; sys.exit(server.main(sys.argv[1:]))"
    options = ["--port", "0", "--mqtt-port", "none", "--data", str(tmp_path), "--database", "postgresql://db/chat"]
    done = subprocess.run(
        [sys.executable, "-c", code, *options], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert "A database on PostgreSQL needs the package psycopg" in done.stderr
    assert "pip install 'psycopg[binary]'" in done.stderr


def test_a_server_that_was_killed_starts_again(start_process: StartProcess, cluster: Cluster, name: str) -> None:
    """Its users' names are free, and the numbers go on."""
    first = start_process("--database", cluster.url(name))
    with Json(first.address, "ann") as ann:
        ann.request(Join("lab"))
    first.restart()
    with Json(first.address, "ann") as ann:
        assert ann.request(Say("I am back", "lab", ref=1)).number == 1
