"""The program: what it says when it starts and when it cannot, and how it stops."""

from __future__ import annotations

import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Literal

import pytest

from doors.door import Door
from server import Config, Server, configure, load
from tests.bulk import Bulk, Gone
from tests.conftest import StartProcess
from tests.helpers import DEADLINE, ROOT, Json, Process, Text, endpoint
from wire.errors import LocalError
from wire.frames import (
    Channels,
    Closing,
    Entry,
    Error,
    History,
    Join,
    Joined,
    Msg,
    Page,
    Ping,
    Pong,
    Say,
    Stored,
    Welcome,
    Who,
)

_STOPPED = 6.0  # seconds that a stop may take here; it is meant to take 2, which a busy machine may not manage


def _server(*options: str) -> subprocess.CompletedProcess[str]:
    """Run a server that should not start."""
    return subprocess.run(
        [sys.executable, str(ROOT / "server.py"), *options],
        cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip


def _sentence(*options: str) -> str:
    """What a server that cannot start says: one line, and exit status 1."""
    ended = _server(*options)
    assert ended.returncode == 1, ended
    assert not ended.stdout
    lines = ended.stderr.splitlines()
    assert len(lines) == 1, ended.stderr
    assert lines[0].startswith("server.py: ")
    return lines[0].removeprefix("server.py: ")


def test_it_says_where_it_is_ready(start_process: StartProcess, tmp_path: Path) -> None:
    process = start_process(folder=tmp_path / "it-makes-it")
    assert re.match(r"Partyline \d+\.\d+\.\d+ is ready on 127\.0\.0\.1:[1-9]\d*[,;]", process.ready)
    assert f"data in {process.folder}" in process.ready
    assert "only this machine can reach it" in process.ready
    assert process.log == ""
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
    helped = _server("--help")
    assert helped.returncode == 0
    for option in ("--host", "--port", "--data", "--config", "--log-level", "--version"):
        assert option in helped.stdout
    assert re.fullmatch(r"partyline \d+\.\d+\.\d+\n", _server("--version").stdout)


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
    assert said == (f"Port {port} of 127.0.0.1 is taken: another program listens there; choose another one.")
    with Json(process.address, "alice") as alice:
        assert isinstance(alice.request(Ping()), Pong)


def test_a_server_that_cannot_open_its_port_leaves_no_thread(server: Server, tmp_path: Path) -> None:
    before = set(threading.enumerate())
    with pytest.raises(LocalError, match="is taken"):
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
        ("host: [unclosed\n", ["no YAML"]),
        ("\x00\x01", ["no YAML"]),
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
    assert (
        _sentence("--config", str(missing)) == f"The config file {missing} cannot be read: No such file or directory."
    )
    assert _sentence("--config", str(tmp_path)) == f"The config file {tmp_path} cannot be read: Is a directory."
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

    def anywhere(door: Door, host: str, port: int, **_: bool) -> str:
        opened.append(port)
        return really(door, host, 0)

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


def test_it_keeps_what_it_has_against_a_loss_of_power_too(start_process: StartProcess, tmp_path: Path) -> None:
    config = tmp_path / "partyline.yaml"
    config.write_text("durability: power\nlog_level: debug\n")
    process = start_process("--config", str(config))
    for turn in range(1, 3):
        with Json(process.address, "alice") as alice:
            alice.request(Join("lab"))
            assert alice.request(Say("hello", "lab")).number == turn
        process.restart()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_was_sent_is_stored_and_all_are_told(process: Process, number: signal.Signals) -> None:
    alice, bob = Json(process.address, "alice"), Text(process.address, "bob")
    silent = Text(process.address)
    silent.expect("What is your name?")
    alice.request(Join("lab"))
    bob.send("/join lab")
    bob.expect("You are in lab")
    alice.send(*[Say(f"program {n}", "lab") for n in range(200)])
    bob.send(*[f"person {n}" for n in range(200)])
    process.process.send_signal(number)
    assert [frame.code for frame in alice.until_closed() if isinstance(frame, Closing)] == ["closing"]
    for person in (bob, silent):
        assert person.until_closed().count("* The server is going down.\n") == 1
        person.close()
    alice.close()
    assert process.process.wait(DEADLINE) == 0
    assert process.process.stdout is not None
    assert process.process.stdout.read() == b"Going down.\n"
    assert process.log == ""
    process.start()
    with Bulk(process.address, "carol") as carol:
        carol.send(Join("lab"), History(channel="lab", limit=1_000, ref="page"))
        page = next(frame for frames in iter(carol.take, None) for frame in frames if isinstance(frame, Page))
    for sender, what in (("alice", "program"), ("bob", "person")):
        assert [entry.text for entry in page.entries if entry.sender == sender] == [f"{what} {n}" for n in range(200)]


def test_who_vanishes_is_noticed_with_something_under_way_too(server: Server, connect: Callable[..., Json]) -> None:
    """After the time that keepalive takes if nothing is (tcp(7)): otherwise a guest's name would be held for long."""
    connect(server.address, "alice")
    (connection,) = server._door._connections
    option = partial(connection._socket.getsockopt, socket.IPPROTO_TCP)
    silent = option(socket.TCP_KEEPIDLE) + option(socket.TCP_KEEPCNT) * option(socket.TCP_KEEPINTVL)
    assert option(socket.TCP_USER_TIMEOUT) == silent * 1_000 == 120_000


def test_it_stops_with_a_thousand_connected(process: Process) -> None:
    persons = [socket.create_connection(endpoint(process.address), DEADLINE) for _ in range(100)]
    programs = [Bulk(process.address, f"user{n}") for n in range(900)]
    for line in programs[:200]:
        line.send(Join("lab"))
    start = time.monotonic()
    process.process.send_signal(signal.SIGTERM)
    process.process.send_signal(signal.SIGTERM)  # who cannot wait does no harm
    assert process.process.wait(3 * DEADLINE) == 0
    took = time.monotonic() - start
    print(f"stopped with 1,000 connected in {took:.2f} s")
    assert took < _STOPPED
    for line in programs:
        frames = []
        try:
            while True:
                frames += line.take()
        except Gone:
            line.close()
        assert sum(isinstance(frame, Closing) for frame in frames) == 1
    for person in persons:
        said = b""
        while data := person.recv(4_096):
            said += data
        assert said.endswith(b"* The server is going down.\n")
        person.close()
    assert "Traceback" not in process.log


def test_it_stops_although_some_do_not_read(process: Process) -> None:
    """Who has stopped reading is told nothing more, and holds up nobody."""
    with Bulk(process.address, "sender") as sender, Bulk(process.address, "deaf") as deaf:
        deaf.send(Join("lab"), *[History(channel="lab", limit=1_000) for _ in range(200)])
        sender.send(Join("lab"), *[Say("x" * 10_000, "lab") for _ in range(1_000)], Ping(ref="sent"))
        while not any(isinstance(frame, Pong) for frame in sender.take()):
            pass
        start = time.monotonic()
        assert process.stop() == 0
        print(f"stopped in {time.monotonic() - start:.2f} s")
        assert time.monotonic() - start < _STOPPED


def test_a_full_disk(process: Process) -> None:
    """Posts are refused with a code, nobody sees them, the rest goes on; and when there is room again, so do posts."""
    alice, bob = Json(process.address, "alice"), Json(process.address, "bob")
    for client in (alice, bob):
        client.request(Join("lab"))
    kept: dict[int, str] = {}
    refused: list[str] = []

    def post(text: str) -> str:
        answer = alice.request(Say(text, "lab"))
        if isinstance(answer, Stored):
            kept[answer.number] = text
            return ""
        refused.append(text)
        return str(answer.code)

    assert post("before") == ""
    size = max(file.stat().st_size for file in process.folder.iterdir())
    limit = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size + 200_000, limit[1]))
    codes = [post(f"{n} " + "y" * 5_000) for n in range(100)]
    assert codes[-1] == "not-stored"
    assert set(codes) == {"", "not-stored"}
    for turn in range(3):
        assert isinstance(bob.request(Who("lab")), type(alice.request(Who("lab"))))
        assert isinstance(bob.request(Ping()), Pong)
        for request in (Join(f"new{turn}"), Msg("nobody-yet", "hello")):
            answer = bob.request(request)
            assert isinstance(answer, Error), answer
            assert answer.code == "not-stored"
            assert "server.py" not in answer.error
    with Json(process.address) as late:  # a new name cannot be kept either, and is told so
        late.send_bytes(b'{"op":"hello","name":"late","ref":1}\n')
        answer = late.expect(Error)
        assert answer.code == "not-stored"
    bob.close()  # but one who was here comes back and reads
    bob = Json(process.address, "bob", token=bob.welcome.token, since={"lab": 0})
    bob.expect(Entry, lambda entry: entry.number == max(kept))
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, limit)
    assert post("after") == ""
    assert isinstance(bob.request(Join("newer")), Joined)
    assert sorted(kept) == list(range(1, len(kept) + 1)), "no number was lost to a post that was refused"
    last = max(kept)
    bob.expect(Entry, lambda entry: entry.number == last)
    assert [entry.text for entry in bob.of(Entry)] == [kept[number] for number in sorted(kept)]
    process.restart()
    alice.close()
    bob.close()
    with Bulk(process.address, "carol") as carol:
        carol.send(Channels(ref="list"), History(channel="lab", limit=1_000, ref="page"))
        page = next(frame for frames in iter(carol.take, None) for frame in frames if isinstance(frame, Page))
        assert isinstance(carol.welcome, Welcome)
    assert {entry.number: entry.text for entry in page.entries} == kept
    assert "Traceback" not in process.log
