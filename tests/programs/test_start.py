"""The program's start: what it says of itself, of its options and its config, and in one sentence why it cannot."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Literal

import pytest

from doors import Door, Speakers
from server import Config, Server, configure, load
from tests.support.clients import Json, Text, endpoint
from tests.support.fixtures import StartProcess
from tests.support.processes import Process
from tests.support.processes.forks import run
from tests.support.repository import ROOT
from wire.errors import LocalError
from wire.frames import Join, Joined, Ping, Pong, Who


def _sentence(*options: str) -> str:
    """Start a server that cannot start; return the one line that it prints, after exit status 1."""
    ended = run(*options)
    assert ended.returncode == 1, ended
    assert not ended.stdout
    lines = ended.stderr.splitlines()
    assert len(lines) == 1, ended.stderr
    assert lines[0].startswith("server.py: ")
    return lines[0].removeprefix("server.py: ")


def test_it_says_where_it_is_ready(start_process: StartProcess, tmp_path: Path) -> None:
    process = start_process(folder=tmp_path / "it-makes-it")
    assert re.match(r"Partyline \d+\.\d+\.\d+ is ready on 127\.0\.0\.1:[1-9]\d*[,.]", process.ready)
    assert f"Data folder: {process.folder}." in process.ready
    assert "Listening on this machine only" in process.ready
    assert process.warnings == ""
    with Text(process.address, "alice") as alice:
        alice.send("exit")
        alice.expect("Goodbye")
    assert process.stop() == 0


def test_on_another_address(start_process: StartProcess) -> None:
    process = start_process("--host", "0.0.0.0")
    assert "only this machine" not in process.ready
    port = endpoint(process.address)[1]
    with Json(f"127.0.0.1:{port}", "alice") as alice:
        assert isinstance(alice.request(Ping()), Pong)


@pytest.mark.skipif(not socket.has_ipv6 or not Path("/proc/net/if_inet6").exists(), reason="no IPv6 here")
def test_on_ipv6(start_process: StartProcess) -> None:
    process = start_process("--host", "::1")
    assert process.address.startswith("[::1]:")
    with Json(process.address, "alice") as alice:
        assert alice.welcome.name == "alice"
        assert Json(process.address, "bob").request(Who()) is not None


def test_help_and_version() -> None:
    helped, version = (
        subprocess.run([sys.executable, str(ROOT / "server.py"), option], capture_output=True, text=True, check=True)
        for option in ("--help", "--version")
    )
    for option in ("--host", "--port", "--data", "--config", "--log-level", "--version"):
        assert option in helped.stdout
    assert re.fullmatch(r"partyline \d+\.\d+\.\d+\n", version.stdout)


@pytest.mark.parametrize(
    "options",
    [
        ["--port", "x"], ["--port", "70000"], ["--port", "none"], ["--mqtt-port", "x"], ["--mqtt-port", "70000"],
        ["--nonsense"], ["--log-level", "loud"],
    ],
)  # fmt: skip
def test_options_that_are_none(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        configure(options)
    assert ended.value.code == 2
    assert "usage: server.py" in capsys.readouterr().err


def test_a_port_that_is_taken(process: Process, tmp_path: Path) -> None:
    port = endpoint(process.address)[1]
    data = tmp_path / "other-data"
    said = _sentence("--port", str(port), "--data", str(data))
    assert said == f"Cannot listen on 127.0.0.1:{port}: another program uses this port. Choose another port."
    with Json(process.address, "alice") as alice:
        assert isinstance(alice.request(Ping()), Pong)


def test_a_server_that_cannot_open_its_port_leaves_no_thread(server: Server, tmp_path: Path) -> None:
    before = set(threading.enumerate())
    with pytest.raises(LocalError, match="another program uses this port"):
        Server(Config(port=endpoint(server.address)[1], data=str(tmp_path / "other-data")))
    assert set(threading.enumerate()) <= before


def test_an_address_that_is_none_of_this_machines(tmp_path: Path) -> None:
    for host in ("203.0.113.7", "no.such.host.invalid"):
        assert _sentence("--host", host, "--port", "0", "--data", str(tmp_path / "d")).startswith(
            f"Cannot listen on {host}:0: "
        )


def test_a_data_folder_that_another_server_has(process: Process) -> None:
    said = _sentence("--port", "0", "--data", str(process.folder))
    assert said == f"The data folder {process.folder} is in use by another server (process {process.pid})."
    with Json(process.address, "alice") as alice:
        assert isinstance(alice.request(Join("lab")), Joined)
    process.restart()  # and one that was killed holds it no more
    with Json(process.address, "alice") as alice:
        assert [state.channel for state in alice.welcome.logs] == ["lab"]


def test_data_folders_that_cannot_be_used(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    for folder in (file, file / "below", Path("/proc/no-such-folder")):
        said = _sentence("--port", "0", "--data", str(folder))
        assert said.startswith(f"The data folder {folder} cannot be used: "), said


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_data_folder_that_is_read_only(tmp_path: Path) -> None:
    folder = tmp_path / "read-only"
    folder.mkdir(0o500)
    assert "Permission denied" in _sentence("--port", "0", "--data", str(folder))


def test_a_database_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "partyline.db").write_bytes(b"this is a letter, and no database at all. " * 100)
    said = _sentence("--port", "0", "--data", str(tmp_path))
    assert "it is not a Partyline database, or it is damaged" in said


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("colour: red\n", ["unknown field", "`colour`"]),
        ("limits: {lines: 5}\n", ["unknown field", "`lines`", "$.limits"]),
        ("port: seven\n", ["int", "$.port"]),
        ("port: 70000\n", ["$.port"]),
        ("port: none\n", ["int", "$.port"]),
        ("mqtt_port: 70000\n", ["$.mqtt_port"]),
        ("mqtt_port: on\n", ["$.mqtt_port"]),
        ("mqtt_port: nowhere\n", ["$.mqtt_port"]),
        ("limits: {line: long}\n", ["int", "$.limits.line"]),
        ("limits: {line: -1}\n", ["$.limits.line"]),
        ("limits: {page: 0}\n", ["$.limits.page"]),
        ("limits: 7\n", ["$.limits"]),
        ("durability: maybe\n", ["$.durability"]),
        ("log_level: loud\n", ["$.log_level"]),
        ("- a\n- list\n", ["object"]),
        ("host: [unclosed\n", ["is not YAML"]),
        ("\x00\x01", ["is not YAML"]),
        ("\xff\xfe".encode("latin-1").decode("latin-1"), ["object"]),
    ],
)
def test_a_config_that_is_wrong_is_named(tmp_path: Path, text: str, parts: list[str]) -> None:
    config = tmp_path / "partyline.yaml"
    config.write_text(text)
    with pytest.raises(LocalError) as error:
        configure(["--config", str(config), "--data", str(tmp_path / "data"), "--port", "0"])
    for part in (str(config), *parts):
        assert part in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "data").exists(), "nothing is made before the config is right"


def test_a_config_that_is_not_there(tmp_path: Path) -> None:
    missing = tmp_path / "missing.yaml"
    assert _sentence("--config", str(missing)) == f"Cannot read the config file {missing}: No such file or directory."
    assert _sentence("--config", str(tmp_path)) == f"Cannot read the config file {tmp_path}: Is a directory."
    raw = tmp_path / "raw.yaml"
    raw.write_bytes(b"\xff\xfe\x00 not UTF-8 \x80")
    assert str(raw) in _sentence("--config", str(raw))


@pytest.mark.parametrize("text", ["", "# port: 7000\n", "limits:\n  # line: 1\n", "{}\n"])
def test_a_config_in_which_all_is_commented_out(tmp_path: Path, text: str) -> None:
    config = tmp_path / "partyline.yaml"
    config.write_text(text)
    options = ["--config", str(config), "--port", "0", "--data", str(tmp_path / "data")]
    command = [sys.executable, str(ROOT / "server.py"), *options]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None
        assert started.stderr is not None
        ready = started.stdout.readline()
        started.terminate()
        assert "is ready on" in ready, started.stderr.read()


def test_options_go_before_the_config(start_process: StartProcess, tmp_path: Path) -> None:
    config = tmp_path / "partyline.yaml"
    config.write_text("port: 1\nhost: 203.0.113.7\nlimits: {line: 100}\n")
    process = start_process("--config", str(config), "--host", "127.0.0.1")
    with Text(process.address, "alice") as alice:
        alice.send("x" * 101)
        alice.expect("A line has at most 100 bytes")


@pytest.mark.parametrize("word", ["none", "None", "off", "no", "false", "'off'"])
def test_no_second_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    """As an option, and in a config file, where YAML makes another thing of most words."""
    config = tmp_path / "partyline.yaml"
    config.write_text(f"mqtt_port: {word}\n")
    assert load(str(config)).mqtt_port == "none"
    assert configure(["--mqtt-port", word.strip("'")]).mqtt_port == "none"
    assert configure(["--config", str(config), "--mqtt-port", "0"]).mqtt_port == 0
    opened: list[int] = []
    really = Door.open

    def anywhere(door: Door, host: str, port: int, speakers: Speakers) -> str:
        opened.append(port)
        return really(door, host, 0, speakers)

    monkeypatch.setattr(Door, "open", anywhere)
    data = str(tmp_path / "data")
    ports: tuple[Literal["none"] | None, ...] = ("none", None)
    for mqtt_port in ports:
        with closing(Server(Config(mqtt_port=mqtt_port, data=data))) as server:
            assert (server.mqtt_address is None) == (mqtt_port == "none")
    assert opened == [7000, 7000, 1883]


def test_without_a_value_the_second_port_is_the_usual_one(tmp_path: Path) -> None:
    config = tmp_path / "partyline.yaml"
    for text in ("mqtt_port:\n", "mqtt_port: null\n", "mqtt_port: ~\n", "port: 0\n"):
        config.write_text(text)
        assert load(str(config)).mqtt_port is None


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("host: &here 127.0.0.1\ndata: *here\n", "has an alias of YAML"),
        ("limits: {line: {a: {b: {c: 1}}}}\n", "is nested too deeply"),
        ("[" * 100_000, "is nested too deeply"),
    ],
)
def test_a_config_file_that_could_crash_yaml_is_refused(tmp_path: Path, text: str, mistake: str) -> None:
    """100,000 brackets ended the program by a signal, and aliases of aliases take exponential time."""
    file = tmp_path / "partyline.yaml"
    file.write_text(text)
    with pytest.raises(LocalError, match=mistake):
        load(str(file))
