"""Connections that come, stay silent, break or are too many: one answer each, and no thread or descriptor is left."""

from __future__ import annotations

import random
import resource
import selectors
import socket
import struct
import time
from pathlib import Path
from typing import Any

import pytest

from server import Server
from tests.support.clients import Bulk, Gone, Json, Text, endpoint
from tests.support.fixtures import StartProcess
from tests.support.processes import Process, counts, descriptors, memory, returns_to, serves
from tests.support.waiting import DEADLINE, eventually
from wire.frames import Entry, History, Join, Page, Ping, Pong, Presence, Say

_TCP_REPAIR = 19  # tcp(7): a socket that is closed under repair says nothing to its peer


def test_a_thousand_who_say_nothing(start_process: StartProcess, tmp_path: Path) -> None:
    config = tmp_path / "partyline.yaml"
    config.write_text("limits: {login_seconds: 5}\n")
    process = start_process("--config", str(config))
    before = counts(process)
    lines = [socket.create_connection(endpoint(process.address), DEADLINE) for _ in range(1_000)]
    serves(process)
    for line in lines:
        line.settimeout(DEADLINE)
        said = b""
        while data := line.recv(4_096):
            said += data
        rows = said.decode().splitlines()
        assert rows[0].endswith("What is your name?"), rows
        assert [row for row in rows if row.startswith("! ")] == ["! You did not give a name in time."]
        line.close()
    returns_to(process.pid, before)
    serves(process)


@pytest.mark.parametrize("first", [b"{", b"x", b" "], ids=["json", "text", "blank"])
def test_one_who_says_it_too_slowly(start_process: StartProcess, tmp_path: Path, first: bytes) -> None:
    """A byte now and then is no name: the time is for all of it."""
    config = tmp_path / "partyline.yaml"
    config.write_text("limits: {login_seconds: 1}\n")
    process = start_process("--config", str(config))
    deadline = time.monotonic() + DEADLINE
    with socket.create_connection(endpoint(process.address), DEADLINE) as line:
        line.settimeout(0.2)
        line.send(first)
        said, ended = b"", False
        while not ended:
            assert time.monotonic() < deadline, "a byte now and then keeps a connection without a name"
            try:
                data = line.recv(4_096)
                said, ended = said + data, not data
            except TimeoutError:
                line.send(b" ")
            except ConnectionError:
                ended = True
        assert b"in time" in said


def test_a_person_is_greeted_and_may_think_about_it(process: Process) -> None:
    with Text(process.address) as line:
        line.expect("Welcome to Partyline")
        line.send("alice")
        line.expect("Welcome, alice")


def test_three_thousand_who_connect_and_close(process: Process) -> None:
    before = counts(process)
    last = []
    for n in range(3_000):
        line = socket.create_connection(endpoint(process.address), DEADLINE)
        if n % 4 == 1:
            line.send(b"half a na")
        if n % 4 == 2:
            line.send(b'{"op":"hello","name":"x"}\n')
        if n % 2:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
        last.append(line)
        if len(last) > 20:
            last.pop(0).close()
    for line in last:
        line.close()
    serves(process)
    returns_to(process.pid, before)


def test_half_closed_connections_get_their_answers_and_end(process: Process) -> None:
    """As of `printf … | nc`: what was asked before the end of the input is answered, all of it."""
    before = counts(process)
    with Bulk(process.address, "filler") as filler:
        filler.send(Join("lab"), *[Say("x" * 1_000, "lab") for _ in range(500)], Ping(ref="filled"))
        while not any(isinstance(frame, Pong) for frame in filler.take()):
            pass
    with Bulk(process.address, "asker") as asker:
        asker.send(*[History(channel="lab", after=0, limit=100, ref=n) for n in range(100)])
        asker.socket.shutdown(socket.SHUT_WR)
        refs = []
        try:
            while True:
                refs += [frame.ref for frame in asker.take() if isinstance(frame, Page)]
        except Gone:
            pass
        assert refs == list(range(100))
    returns_to(process.pid, before)


def test_half_closed_connections_that_read_slowly_get_all_of_it(server: Server) -> None:
    """The server keeps what the socket did not take, although the peers have ended their side."""
    with Json(server.address, "filler") as filler:
        filler.request(Join("lab"))
        for n in range(100):
            filler.request(Say("x" * 1_000 + f" {n}", "lab"))
    with Bulk(server.address, "asker") as asker:
        user = server.chat.directory.find("asker")
        assert user is not None
        reader: Any = user.sessions[0].reader
        for end in (asker.socket, reader._outlet._stream.socket):
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                end.setsockopt(socket.SOL_SOCKET, option, 4_096)
        asker.send(*[History(channel="lab", after=0, limit=100, ref=n) for n in range(2)])
        asker.socket.shutdown(socket.SHUT_WR)
        eventually(lambda: reader._room is not None, lambda: "nobody waits for it")
        refs: list[object] = []
        while len(refs) < 2:
            refs += [frame.ref for frame in asker.take() if isinstance(frame, Page)]
        assert refs == [0, 1]


def test_half_closed_connections_get_what_they_missed(server: Server) -> None:
    """As of `echo bob | nc -N`: it is read from the store, page by page, after the end of what bob has to say."""
    with Text(server.address, "bob") as bob:
        bob.send("/join lab", "/quit")
        bob.until_closed()
    texts = [f"while bob was away {n}" for n in range(450)]
    with Json(server.address, "filler") as filler:
        filler.request(Join("lab"))
        for text in texts:
            filler.request(Say(text, "lab"))
    with Text(server.address) as bob:
        bob.send("bob")
        bob.socket.shutdown(socket.SHUT_WR)
        lines = bob.until_closed().splitlines()
    assert [line.partition("filler: ")[2] for line in lines if "filler: " in line] == texts


def test_who_is_replaced_is_waited_for_no_more(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor told more than that: what they had not taken goes to who has taken their place."""
    monkeypatch.setattr("channels.session.PARTING", 1_000.0)
    with Bulk(server.address, "asker") as old:
        user = server.chat.directory.find("asker")
        assert user is not None
        reader: Any = user.sessions[0].reader
        for end in (old.socket, reader._outlet._stream.socket):
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                end.setsockopt(socket.SOL_SOCKET, option, 4_096)
        with Json(server.address, "filler") as filler:
            old.send(Join("lab"))
            filler.request(Join("lab"))
            for n in range(100):
                filler.request(Say("x" * 1_000 + f" {n}", "lab"))
        assert reader._behind
        with Json(server.address, "asker", token=old.welcome.token):
            eventually(lambda: reader._closed, lambda: "it is still waited for")


def _vanish(line: socket.socket) -> None:
    """Be gone as a machine that lost its power: nothing is said to the peer."""
    try:
        line.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, 1)
    except PermissionError:
        pytest.skip("only root may let a connection vanish")
    line.close()


def test_half_open_connections(process: Process) -> None:
    """Their machine is gone, and nobody said so: whoever comes back takes the name over; what is sent ends the rest."""
    before = counts(process)
    watcher = Json(process.address, "watcher")
    watcher.request(Join("lab"))
    lines = [Json(process.address, f"lost{n}") for n in range(20)]
    for line in lines:
        line.request(Join("lab"))
        _vanish(line.socket)
    again = Json(process.address, "lost0", token=lines[0].welcome.token)
    assert again.request(Ping()) is not None
    for n in range(3):
        watcher.request(Say(f"is anybody there? {n}", "lab"))
    for n in range(1, 20):
        watcher.expect(Presence, lambda frame, n=n: (frame.user, frame.what) == (f"lost{n}", "offline"))  # type: ignore[misc]
    again.expect(Entry, lambda entry: entry.text.endswith("2"))
    again.close()
    watcher.close()
    returns_to(process.pid, before)


def test_more_connections_than_descriptors(process: Process) -> None:
    """The server serves the connected peers meanwhile, and accepts others when some have left."""
    before = counts(process)
    with Json(process.address, "inside") as inside:
        limit = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (descriptors(process.pid) + 20, limit[1]))
        lines = [socket.create_connection(endpoint(process.address), DEADLINE) for _ in range(60)]
        eventually(lambda: "accept-failed" in process.log, lambda: f"the log has {process.log!r}")
        for _ in range(10):
            assert inside.request(Ping()) is not None
        for line in lines:
            line.close()
        serves(process)
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, limit)
    returns_to(process.pid, before)


def test_more_connections_than_threads(start_process: StartProcess, tmp_path: Path) -> None:
    """A thread that cannot be started costs that connection only, and its place is free again."""
    config = tmp_path / "partyline.yaml"
    config.write_text("limits: {connections: 100}\n")
    process = start_process("--config", str(config))
    before = counts(process)
    limit = resource.prlimit(process.pid, resource.RLIMIT_AS)
    size = int(Path(f"/proc/{process.pid}/statm").read_text().split()[0]) * resource.getpagesize()
    with Json(process.address, "inside") as inside:
        resource.prlimit(process.pid, resource.RLIMIT_AS, (size + (3 << 20), limit[1]))
        lines = [socket.create_connection(endpoint(process.address), DEADLINE) for _ in range(150)]
        assert inside.request(Ping()) is not None
        resource.prlimit(process.pid, resource.RLIMIT_AS, limit)
        for line in lines:
            line.close()
        returns_to(process.pid, (before[0] + 1, before[1] + 1))  # for `inside`
        more = [Bulk(process.address, f"more{n}") for n in range(99)]
        for one in more:
            one.close()
    assert process.stop() == 0


def test_resets_amid_a_flood(process: Process) -> None:
    """Readers who break off while they are sent to, in any state, are none of the others' business."""
    before = counts(process)
    steady = Bulk(process.address, "steady")
    sender = Bulk(process.address, "sender")
    for line in (steady, sender):
        line.send(Join("lab"))
    start = steady_at = None
    for turn in range(60):
        breaking = [Bulk(process.address, f"breaking{turn}-{n}") for n in range(3)]
        for line in breaking:
            line.send(Join("lab"), History(channel="lab", limit=1_000))
        sender.send(*[Say("y" * random.randint(1, 4_000), "lab") for _ in range(20)])
        for line in breaking:
            line.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", turn % 2, 0))
            line.close()
    sender.send(Say("the end", "lab"))
    while steady_at != "the end":
        for frame in steady.take():
            if isinstance(frame, Entry):
                assert start is None or frame.number == start + 1
                start, steady_at = frame.number, frame.text
    steady.close()
    sender.close()
    returns_to(process.pid, before)
    assert "Traceback" not in process.log, process.log


def test_ten_who_never_read_a_byte_and_leave(process: Process) -> None:
    """A connection that is full in our direction ends when the peer does, although there is no room to say goodbye."""
    before = counts(process)
    size = memory(process.pid)
    with Bulk(process.address, "sender") as sender:
        sender.send(Join("lab"))
        full = [Bulk(process.address, f"full{n}") for n in range(10)]
        for line in full:
            line.send(Join("lab"))
        sender.send(*[Say("z" * 8_000, "lab") for _ in range(2_000)], Ping(ref="sent"))
        while not any(isinstance(frame, Pong) for frame in sender.take()):
            pass
        for line in full[:5]:
            line.close()
        for line in full[5:]:
            line.socket.shutdown(socket.SHUT_WR)
        with selectors.DefaultSelector() as selector:
            for line in full[5:]:
                selector.register(line.socket, selectors.EVENT_READ)
            assert selector.select(DEADLINE)
    for line in full[5:]:
        line.close()
    returns_to(process.pid, before)
    assert memory(process.pid) < size + (96 << 20)
    serves(process)
