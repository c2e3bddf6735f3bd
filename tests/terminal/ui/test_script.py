"""The client as a filter: real processes against a real server."""

from __future__ import annotations

import asyncio
import fcntl
import json
import signal
import socket
import subprocess
import sys
import termios
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from server import Server
from terminal.files import FileOptions, JsonFileConnection
from terminal.links import Disconnected, Endpoint, JsonLink, link
from terminal.state import Credentials, State
from terminal.ui.script import Filter, ScriptOptions
from tests.support.clients import Json, endpoint
from tests.support.processes import Process
from tests.support.processes.clients import Running, command, environment, run
from tests.support.waiting import DEADLINE, eventually
from wire.frames import History, Join, Msg, Register, Say
from wire.limits import Limits


def test_it_runs_commands_prints_what_comes_and_exits_with_0(server: Server) -> None:
    typed = "/join lab\nhello\nlab: again\n12:30 text\nalice: text\n/msg bob hi\n/who lab\n/help who\n"
    done = run(server.address, "--name", "alice", typed=typed)
    assert (done.returncode, done.stderr) == (0, "")
    for line in (
        "[lab] alice: hello",
        "[lab] alice: again",
        "[lab] alice: 12:30 text",
        "[lab] alice: alice: text",
        "alice -> bob: hi",
        "* In lab: alice",
        "/who [channel or *] [after] - list the members of a channel, or everyone who is online.",
    ):
        assert done.stdout.splitlines().count(line) == 1
    assert done.stdout.splitlines().index("[lab] alice: hello") < done.stdout.splitlines().index("[lab] alice: again")


def test_json_prints_the_frames(server: Server) -> None:
    done = run(server.address, "--json", "--name", "alice", typed="/join lab\nhello ü\n")
    frames = [json.loads(line) for line in done.stdout.splitlines()]
    assert {"welcome", "joined", "stored", "entry"} == {frame["op"] for frame in frames}
    (entry,) = [frame for frame in frames if frame["op"] == "entry"]
    assert (entry["text"], entry["number"], entry["channel"]) == ("hello ü", 1, "lab")
    assert "hello ü" in done.stdout
    assert not any(frame.get("token") for frame in frames)


@pytest.mark.parametrize(
    ("typed", "reason"),
    [
        ("/nonsense\n", "! Unknown command /nonsense"),
        ("hello\n", "! You are in no channel"),
        ("/join lab\nroom99: hi\n", "! No channel and no user is called room99. /join room99 creates the channel."),
        ("/join lab\n/topic name of the day\n", "! The channel name does not exist."),
        ("/send nobody /etc/hostname\n", "! No user called nobody has ever connected."),
        ("/join lab\n/whois nobody\n", "! No user called nobody"),
        ("/join lab\n" + "x" * 20_000 + "\nhello\n", "! A message has at most"),
    ],
)
def test_a_refused_command_is_an_error_on_stderr_and_exit_code_1(server: Server, typed: str, reason: str) -> None:
    done = run(server.address, "--name", "alice", typed=typed)
    assert done.returncode == 1
    assert done.stderr.startswith(reason)
    assert "!" not in done.stdout


def test_a_mistyped_channel_is_said_nowhere_and_the_rest_is_done(server: Server, connect: Callable[..., Json]) -> None:
    typed = "/join lab\nroom99: hi\nhelp\n/me waves\n/query bob\npsst\n"
    done = run(server.address, "--name", "alice", typed=typed)
    assert done.returncode == 1
    assert "Not sent: room99: hi" in done.stderr
    said = connect(server.address, "bob").request(History(channel="lab"))
    assert [entry.text for entry in said.entries] == ["help", "/me waves"]
    assert "[lab] * alice waves" in done.stdout.splitlines()
    assert "alice -> bob: psst" in done.stdout.splitlines()


def test_an_empty_stdin_prints_missed_messages_once(server: Server, connect: Callable[..., Json]) -> None:
    run(server.address, "--name", "alice", typed="/join lab\nexit\nnot read any more\n")
    bob = connect(server.address, "bob")
    bob.request(Join("lab"))
    bob.request(Say("did you see this?", "lab"))
    bob.request(Msg("alice", "or this \x1b[2J?"))
    first = run(server.address, "--name", "alice")
    assert first.stdout.count("[lab] bob: did you see this?") == 1
    assert first.stdout.count("bob -> alice: or this [2J?") == 1
    second = run(server.address, "--name", "alice", "--listen", "0.1")
    assert "bob" not in second.stdout
    assert (first.returncode, second.returncode) == (0, 0)


def test_name_and_password_come_from_the_environment_or_a_file(
    server: Server, connect: Callable[..., Json], tmp_path: Path
) -> None:
    with Json(server.address, "carol") as carol:
        carol.request(Register("open-sesame"))
    (tmp_path / "password").write_text("open-sesame\n")
    assert run(server.address, "--name", "carol", "--password-file", str(tmp_path / "password")).returncode == 0
    assert run(server.address, PARTYLINE_NAME="carol", PARTYLINE_PASSWORD="open-sesame").returncode == 0
    without = run(server.address, PARTYLINE_NAME="carol", typed="hello\n")
    wrong = run(server.address, PARTYLINE_NAME="carol", PARTYLINE_PASSWORD="wrong")
    nobody = run(server.address, typed="hello\n")
    assert (without.returncode, wrong.returncode, nobody.returncode) == (1, 1, 2)
    assert "PARTYLINE_PASSWORD" in without.stderr
    assert "password is wrong" in wrong.stderr
    assert "--name" in nobody.stderr
    connect(server.address, "dora")
    taken = run(server.address, "--name", "dora")
    assert taken.returncode == 1
    assert "dora is taken" in taken.stderr


def test_without_a_server_it_gives_up_after_its_wait(process: Process) -> None:
    process.kill()
    done = run(process.address, "--name", "alice", "--wait", "0.3", typed="lab: one\ntwo\n")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        f"* Could not connect to {process.address} (Connection refused). Retrying.\n"
        "client.py: Could not connect within 0.3 seconds. 2 messages were not sent:\n  lab: one\n  two\n"
    )


class SecondTime(JsonLink):
    """A link whose first attempt fails, and whose next one comes only when it is asked to retry."""

    dials = 0

    def _dial(self, endpoint: Endpoint) -> tuple[bool, Disconnected]:
        self.dials += 1
        return super()._dial(endpoint) if self.dials > 1 else (False, Disconnected("Connection refused", reached=False))


def test_when_its_wait_is_over_it_tries_once_more(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """It gave up in the pause between two attempts, with the server there again."""
    monkeypatch.setattr(link, "pause", lambda absent: DEADLINE * 10)
    monkeypatch.setattr(sys, "stdin", None)
    host, port = endpoint(server.address)
    script = Filter(
        State(Credentials("alice", None)),
        partial(SecondTime, [Endpoint(host, port)]), partial(JsonFileConnection, host, port),
        FileOptions(tmp_path, 0), ScriptOptions(patience=2.0),
    )  # fmt: skip
    assert asyncio.run(script.run()) == 0
    out, err = capsys.readouterr()
    assert out.startswith("Welcome, alice.")
    assert err == "* Could not connect to the server (Connection refused). Retrying.\n"


def test_it_says_what_a_lost_server_has_not_confirmed(process: Process, running: Callable[..., Running]) -> None:
    client = running(process.address, "--name", "alice", "--wait", "2")
    client.say("/join lab")
    client.expect("You are in lab")
    process.kill()
    client.expect("Reconnecting", stderr=True)
    client.say(*[f"line {number}" for number in range(30)])
    code, _, errors = client.end()
    assert code == 1
    first, *listed, last = errors.splitlines()
    assert first == (
        "client.py: Could not connect within 2 seconds. "
        "30 messages were not sent, or the server has not confirmed them:"
    )
    assert listed == [f"  line {number}" for number in range(20)]
    assert last == "  … and 10 more"


def test_another_server_is_recognised(running: Callable[..., Running]) -> None:
    """The lines that were read are listed."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        where = f"127.0.0.1:{listener.getsockname()[1]}"
        client = running(where, "--name", "alice")
        listener.settimeout(DEADLINE)
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(DEADLINE)
            for lines in (["/join lab", "hello"], [""]):  # to read the second part, it has to be done with the first
                client.say(*lines)
                eventually(lambda: _unread(client) == 0, lambda: f"{_unread(client)} bytes unread")
            connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
            while connection.recv(1000):  # to close with bytes unread would reset the connection, greeting and all
                pass
        code, out, errors = client.end()
    assert (code, out) == (1, "")
    assert errors == (
        f"client.py: {where} is not a Partyline server. 2 messages were not sent:\n  /join lab\n  hello\n"
    )


def _unread(client: Running) -> int:
    """Return how many bytes of its stdin the client has not read."""
    assert client.process.stdin is not None
    client.process.stdin.flush()
    return int.from_bytes(fcntl.ioctl(client.process.stdin, termios.FIONREAD, bytes(4)), sys.byteorder)


def test_a_killed_server_keeps_every_post_once_and_the_listener_prints_each_once(
    process: Process, running: Callable[..., Running]
) -> None:
    listener = running(process.address, "--name", "ear", "--listen")
    listener.say("/join lab")
    listener.expect("You are in lab")
    talker = running(process.address, "--name", "mouth")
    talker.say("/join lab")
    texts = [f"message {number}" for number in range(1200)]
    for part in (texts[:400], texts[400:800], texts[800:]):
        talker.say(*part)
        listener.expect(f"[lab] mouth: {part[100]}\n")
        process.kill()
        talker.expect("Reconnecting", stderr=True)
        process.start()
        talker.expect("Reconnected to", stderr=True)
    code, _, errors = talker.end()
    assert (code, errors) == (0, "")
    with Json(process.address, "reader", limits=Limits(line=1 << 24)) as reader:
        pages = [reader.request(History(channel="lab", after=after, limit=1000)) for after in (0, 1000)]
    entries = [entry for page in pages for entry in page.entries]
    assert [entry.text for entry in entries] == texts
    assert [entry.number for entry in entries] == list(range(1, 1201))
    listener.expect(f"[lab] mouth: {texts[-1]}\n")
    code, rest, _ = listener.end(signal.SIGTERM)
    assert code == 128 + signal.SIGTERM
    heard = [
        line.partition("mouth: ")[2].strip() for line in [*listener.lines, *rest.splitlines()] if "mouth: " in line
    ]
    assert heard == texts


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_frees_the_name(server: Server, running: Callable[..., Running], number: int) -> None:
    client = running(server.address, "--name", "alice", "--listen")
    client.expect("Welcome")
    code, _, errors = client.end(number)
    assert (code, errors) == (128 + number, "")
    assert run(server.address, "--name", "alice").returncode == 0, "the name is free again"


def test_it_ends_quietly_when_its_reader_is_gone(server: Server, running: Callable[..., Running]) -> None:
    client = running(server.address, "--name", "alice", "--listen")
    client.expect("Welcome")
    assert client.process.stdout is not None
    client.process.stdout.close()
    client.process.stdout = None
    code, _, errors = client.end()
    assert (code, errors or "") == (0, "")


def test_it_works_without_standard_streams(server: Server) -> None:
    arguments = " ".join(command(server.address, "--name", "alice"))
    done = subprocess.run(["sh", "-c", f"{arguments} <&- >&- 2>&-"], env=environment(), timeout=DEADLINE, check=False)
    assert done.returncode == 0
