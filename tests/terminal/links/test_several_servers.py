"""The client with several servers of one chat, of which one goes away."""

from __future__ import annotations

import queue
import random
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from net import format_address
from server import Server
from terminal.links import json as json_module
from terminal.links.endpoint import Endpoint
from terminal.links.json import JsonLink
from terminal.links.link import Connected, Disconnected, Event
from tests.support.clients import Json, endpoint
from tests.support.files.proxy import FileProxy, Gate
from tests.support.fixtures import StartProcess, StartServer
from tests.support.processes import Process
from tests.support.processes.clients import Running, run
from tests.support.processes.screens import Screen
from tests.support.waiting import DEADLINE, eventually
from wire.frames import Entry, Hello, History, Page, Register
from wire.limits import Limits

StartClient = Callable[..., Running]


def move(process: Process, address: str = "127.0.0.1:0") -> str:
    """Kill a server, and start it on the same folder at another address, as a second server of its chat would be."""
    process.kill()
    process.address = address
    process.start()
    return process.address


def closed_port() -> str:
    """Return an address at which nobody listens now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return format_address(*listener.getsockname())


@pytest.mark.parametrize("scheme", ["", "mqtt://"])
def test_every_post_is_kept_once_and_heard_once_when_another_server_takes_over(
    process: Process, running: StartClient, scheme: str
) -> None:
    second = process.address
    first = move(process)
    servers = f"{scheme}{first},{second}"
    listener = running(servers, "--name", "ear", "--listen")
    listener.say("/join lab")
    listener.expect("You are in lab")
    talker = running(servers, "--name", "mouth")
    talker.say("/join lab")
    texts = [f"message {number}" for number in range(900)]
    places = [second, first, second]
    for at, place in enumerate(places):
        talker.say(*texts[at * 300 : at * 300 + 300])
        listener.expect(f"[lab] mouth: {texts[at * 300 + 100]}\n")
        move(process, place)
        talker.expect(f"Reconnected to {scheme}{place} as mouth.", stderr=True)
        listener.expect(f"Reconnected to {scheme}{place} as ear.", stderr=True)
    code, _, errors = talker.end()
    assert (code, errors) == (0, "")
    with Json(process.address, "reader", limits=Limits(line=1 << 24)) as reader:
        page = reader.request(History(channel="lab", after=0, limit=1000))
        assert isinstance(page, Page)
    assert [(entry.number, entry.text) for entry in page.entries] == list(enumerate(texts, start=1))
    listener.expect(f"[lab] mouth: {texts[-1]}\n")
    code, rest, _ = listener.end(signal.SIGTERM)
    said = [*listener.lines, *rest.splitlines()]
    assert [line.partition("mouth: ")[2].strip() for line in said if "mouth: " in line] == texts


@pytest.mark.parametrize(("scheme", "reason"), [("", "The server is going down"), ("mqtt://", "the server is offline")])
def test_a_server_that_goes_down_sends_its_people_on(
    start_process: StartProcess, tmp_path: Path, running: StartClient, scheme: str, reason: str
) -> None:
    """It is a server of another chat here: the client joins nothing there by itself, and needs its password again."""
    first, second = (start_process(folder=tmp_path / name) for name in ("first", "second"))
    for process in (first, second):
        with Json(process.address, "alice") as alice:
            alice.request(Register("correct-horse"))
    (tmp_path / "password").write_text("correct-horse\n")
    client = running(
        f"{scheme}{first.address},{second.address}", "--name", "alice", "--listen",
        "--password-file", str(tmp_path / "password"),
    )  # fmt: skip
    client.expect("Welcome, alice")
    assert first.stop() == 0
    client.expect(f"* Lost the connection to {scheme}{first.address} (", stderr=True)
    assert client.lines[-1].endswith(f"({reason}). Trying {scheme}{second.address}.\n")
    client.expect(f"* Reconnected to {scheme}{second.address} as alice.", stderr=True)
    assert client.end(signal.SIGTERM)[0] == 128 + signal.SIGTERM


def test_the_first_server_that_answers_is_taken_and_named(server: Server) -> None:
    nobody = closed_port()
    done = run(f"{nobody},{server.address}", "--name", "alice", typed="/join lab\nhello\n")
    assert done.returncode == 0
    assert done.stderr == (
        f"* Could not connect to {nobody} (Connection refused). Trying {server.address}.\n"
        f"* Connected to {server.address}.\n"
    )
    assert "[lab] alice: hello\n" in done.stdout
    done = run(f"{server.address},{nobody}", "--name", "alice", typed="lab: again\n")
    assert (done.returncode, done.stderr) == (0, "")


def test_without_any_server_a_script_names_all_of_them() -> None:
    one, two = closed_port(), closed_port()
    done = run(f"{one},{two}", "--name", "alice", "--wait", "0.3", typed="lab: hello\n")
    assert done.returncode == 1
    assert done.stderr == (
        f"* Could not connect to {one} (Connection refused). Trying {two}.\n"
        f"* Could not connect to {two} (Connection refused). Retrying.\n"
        f"client.py: Could not connect to any of {one}, {two} within 0.3 seconds. 1 message was not sent:\n"
        "  lab: hello\n"
    )


def test_a_full_server_sends_its_people_on(start_server: StartServer, tmp_path: Path) -> None:
    full = start_server(data=str(tmp_path / "full"), limits=Limits(connections=0))
    other = start_server(data=str(tmp_path / "other"))
    done = run(f"{full.address},{other.address}", "--name", "alice", typed="/join lab\n")
    assert done.returncode == 0
    assert f"Trying {other.address}.\n* Connected to {other.address}.\n" in done.stderr


def test_a_person_sees_where_the_client_is(process: Process, start_screen: Callable[..., Screen]) -> None:
    second = process.address
    first = move(process)
    screen = start_screen(f"{first},{second}", "--name", "alice")
    screen.until(lambda lines: any("Welcome, alice" in line for line in lines))
    move(process, second)
    screen.expect(f"* Reconnected to {second} as alice.")
    screen.type("/join lab", "Enter")
    screen.until(lambda lines: any("You are in lab" in line for line in lines))


def test_a_file_goes_on_at_the_next_server(
    process: Process, running: StartClient, connect: Callable[..., Json], tmp_path: Path
) -> None:
    """The first server is behind a proxy that lets a part of the file through."""
    data = random.Random(7).randbytes(12 << 20)
    (tmp_path / "big").write_bytes(data)
    second = process.address
    first = move(process)
    bob = connect(first, "bob")
    gate = Gate(up=True)
    with FileProxy(first, gate=gate) as proxy:
        sender = running(f"{proxy.address},{second}", "--name", "alice")
        sender.say(f"/send bob {tmp_path / 'big'}")
        file = bob.expect(Entry).file
        bob.close()
        gate.allow(4 << 20)
        gate.wait_until_shut()
        process.kill()
        proxy.cut()
        process.address = second
        process.start()
        is_sent_and_fetched(sender, second, second, file, tmp_path)


def test_a_file_goes_on_at_the_next_broker(
    process: Process, running: StartClient, connect: Callable[..., Json], tmp_path: Path
) -> None:
    (tmp_path / "big").write_bytes(random.Random(7).randbytes(48 << 20))
    second = process.address
    bob = connect(move(process), "bob")
    sender = running(f"mqtt://{process.address},{second}", "--name", "alice")
    sender.say(f"/send bob {tmp_path / 'big'}")
    file = bob.expect(Entry).file
    bob.close()
    parts = process.folder / "files" / "parts"
    eventually(
        lambda: any(part.stat().st_blocks * 512 > 1 << 20 for part in parts.glob("*")), lambda: "nothing is uploaded"
    )
    move(process, second)
    assert list(parts.glob("*")), "the upload was over before the server was killed"
    is_sent_and_fetched(sender, f"mqtt://{second}", second, file, tmp_path)


def is_sent_and_fetched(sender: Running, where: str, address: str, file: str | None, folder: Path) -> None:
    """Assert that the sender ends its upload at the next server, and that the file is right there."""
    sender.expect(f"Reconnected to {where} as alice.", stderr=True)
    code, _, errors = sender.end()
    assert code == 0
    assert "* Sent big (" in errors
    done = run(address, "--name", "bob", "--downloads", str(folder / "got"), typed=f"/get {file}\n")
    assert done.returncode == 0
    assert (folder / "got" / "big").read_bytes() == (folder / "big").read_bytes()


def test_a_server_that_takes_connections_and_says_nothing_is_passed_over(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stopped process still has a port that the kernel answers."""
    monkeypatch.setattr(json_module, "_ANSWERING", 0.05)
    events: queue.Queue[Event] = queue.Queue()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        one, two = Endpoint(*silent.getsockname()), Endpoint(*endpoint(server.address))
        link = JsonLink([one, two], events.put)
        link.start()
        assert events.get(timeout=DEADLINE) == Connected(one)
        link.send([Hello(name="alice", ref=1)])
        gone = events.get(timeout=DEADLINE)
        assert gone == Disconnected("the server does not answer", endpoint=one, then=two)
        assert events.get(timeout=DEADLINE) == Connected(two)
        link.stop()
