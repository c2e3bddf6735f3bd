"""The program while it runs: what it keeps, what it does without room, and how it stops."""

from __future__ import annotations

import resource
import signal
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from server import Config, Server
from tests.support.clients import Bulk, Json, Text, endpoint
from tests.support.fixtures import StartProcess
from tests.support.processes import Process
from tests.support.waiting import DEADLINE, eventually
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
    assert process.process.stdout.read() == b"Stopping.\n"
    assert process.warnings == ""
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
    option = partial(connection._stream.socket.getsockopt, socket.IPPROTO_TCP)
    silent = option(socket.TCP_KEEPIDLE) + option(socket.TCP_KEEPCNT) * option(socket.TCP_KEEPINTVL)
    assert option(socket.TCP_USER_TIMEOUT) == silent * 1_000 == 120_000


def test_it_stops_with_a_thousand_connected(process: Process) -> None:
    persons = [socket.create_connection(endpoint(process.address), DEADLINE) for _ in range(100)]
    programs = [Bulk(process.address, f"user{n}") for n in range(900)]
    for line in programs[:200]:
        line.send(Join("lab"))
    process.process.send_signal(signal.SIGTERM)
    process.process.send_signal(signal.SIGTERM)  # who cannot wait does no harm
    assert process.process.wait(DEADLINE) == 0
    for program in programs:
        program.close()
    for person in persons:
        person.close()
    assert "Traceback" not in process.log


def test_everyone_is_told_that_the_server_stops(
    tmp_path: Path, connect: Callable[..., Json], dial: Callable[..., Text], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("doors.door._PATIENCE", DEADLINE)  # on a busy machine, it takes time to tell them all
    server = Server(Config(port=0, mqtt_port=0, data=str(tmp_path / "data")))
    programs = [connect(server.address, f"user{n}") for n in range(100)]
    persons = [dial(server.address, f"person{n}") for n in range(20)]
    for program in programs[:50]:
        program.request(Join("lab"))
    server.close()
    for program in programs:
        assert [frame.code for frame in program.until_closed() if isinstance(frame, Closing)] == ["closing"]
    for person in persons:
        assert person.until_closed().endswith("* The server is going down.\n")


def test_it_stops_although_some_do_not_read(process: Process) -> None:
    """A peer that has stopped reading is told nothing more, and holds up nobody."""
    with Bulk(process.address, "sender") as sender, Bulk(process.address, "deaf") as deaf:
        deaf.send(Join("lab"), *[History(channel="lab", limit=1_000) for _ in range(200)])
        sender.send(Join("lab"), *[Say("x" * 10_000, "lab") for _ in range(1_000)], Ping(ref="sent"))
        while not any(isinstance(frame, Pong) for frame in sender.take()):
            pass
        assert process.stop() == 0  # within the deadline, though "deaf" never reads


def test_a_full_disk(process: Process) -> None:
    """Posts are refused with a code, nobody sees them, the rest goes on; and when there is room again, so do posts."""
    alice, bob = Json(process.address, "alice"), Json(process.address, "bob")
    for client in (alice, bob):
        client.request(Join("lab"))
    kept: dict[int, str] = {}
    assert post(alice, "before", kept) == ""
    size = max(file.stat().st_size for file in process.folder.iterdir())
    limit = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size + 200_000, limit[1]))
    codes = [post(alice, f"{n} " + "y" * 5_000, kept) for n in range(100)]
    assert codes[-1] == "not-stored"
    assert set(codes) == {"", "not-stored"}
    goes_on_without_room(process, alice, bob)
    bob.close()  # but one who was here comes back and reads
    bob = Json(process.address, "bob", token=bob.welcome.token, since={"lab": 0})
    bob.expect(Entry, lambda entry: entry.number == max(kept))
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, limit)
    assert post(alice, "after", kept) == ""
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


def post(client: Json, text: str, kept: dict[int, str]) -> str:
    """Say it in lab: it is among what is kept, or the code of the error."""
    answer = client.request(Say(text, "lab"))
    if not isinstance(answer, Stored):
        return str(answer.code)
    kept[answer.number] = text
    return ""


def goes_on_without_room(process: Process, alice: Json, bob: Json) -> None:
    """The server refuses what it would have to store, new names included, and answers the rest."""
    for turn in range(3):
        assert isinstance(bob.request(Who("lab")), type(alice.request(Who("lab"))))
        assert isinstance(bob.request(Ping()), Pong)
        for request in (Join(f"new{turn}"), Msg("nobody-yet", "hello")):
            answer = bob.request(request)
            assert isinstance(answer, Error), answer
            assert answer.code == "not-stored"
            assert "server.py" not in answer.error
    with Json(process.address) as late:
        late.send_bytes(b'{"op":"hello","name":"late","ref":1}\n')
        assert late.expect(Error).code == "not-stored"


@pytest.mark.parametrize("way", ["on the command line", "in the config", "in a file"])
def test_a_broker_s_password_on_the_command_line_is_warned_of(
    way: str, start_process: StartProcess, tmp_path: Path
) -> None:
    """And is in no line of the log. The broker itself is away."""
    (tmp_path / "secret").write_text("open-sesame\n")
    config = tmp_path / "config.yaml"
    config.write_text('broker: {url: "mqtt://hub:open-sesame@127.0.0.1:1"}\n')
    process = start_process(
        *{
            "on the command line": ["--broker", "mqtt://hub:open-sesame@127.0.0.1:1"],
            "in the config": ["--config", str(config)],
            "in a file": ["--broker", "mqtt://hub@127.0.0.1:1", "--broker-password-file", str(tmp_path / "secret")],
        }[way]
    )
    eventually(lambda: "mirror-disconnected" in process.log, lambda: process.log)
    assert ("exposed-password" in process.log) == (way == "on the command line")
    assert "open-sesame" not in process.log


def test_sighup_without_a_certificate_ends_no_service(process: Process) -> None:
    """There is nothing to load again. In a terminal, it means that the terminal is closed."""
    process.process.send_signal(signal.SIGHUP)
    with Json(process.address, "alice") as alice:
        assert isinstance(alice.request(Ping()), Pong)
    assert process.stop() == 0
