"""Files that go straight from one client to another: the way, who is let in, and what happens when there is no way."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from server import Server
from terminal import listener as listener_module
from terminal import transfer as transfer_module
from terminal.carrier import JsonCarrier, LineLostError
from terminal.hosting import Direct
from terminal.listener import Listener
from terminal.sources import Source
from terminal.transfer import Fetching, Sending
from tests.conftest import StartProcess
from tests.helpers import Json, endpoint
from tests.test_client_files import Client, entry_file, everything
from wire.errors import Refused
from wire.file_frames import (
    Attach,
    Attached,
    Fetched,
    FileList,
    Files,
    Get,
    GetFile,
    Have,
    Listen,
    Offer,
    Put,
    Ranges,
    Reach,
    SendFile,
    Taken,
    Visitor,
    Wanted,
    Way,
)
from wire.frames import Entry, Error, Frame, Request
from wire.jsonlines import JsonLines

Connect = Callable[..., Json]
DATA = os.urandom(3_000_000)
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A file to send."""
    path = tmp_path / "photo.jpg"
    path.write_bytes(DATA)
    return path


class Two:
    """Alice, who sends, and bob, who fetches, with a further line each; what alice says in the end is in `said`."""

    def __init__(self, server: Server, connect: Connect, tmp_path: Path) -> None:
        self.where = endpoint(server.address)
        self.folder = tmp_path / "in"
        self.stored = tmp_path / "data" / "files"
        self.alice = connect(server.address, "alice")
        self.bob = connect(server.address, "bob", direct=True)
        self.carriers: list[JsonCarrier] = []
        self.said: list[object] = []
        self._threads: list[threading.Thread] = []

    def carry(self, client: Json) -> JsonCarrier:
        """A further line of one of them."""
        self.carriers.append(JsonCarrier(*self.where, client.welcome.name, client.welcome.token))
        return self.carriers[-1]

    def send(self, path: Path, *, asked: bool = True, patience: float = 0.0) -> Sending:
        """Have alice send a file, on a thread of its own, and wait until bob sees it."""
        transfer = Sending(SendFile(to="bob", path=str(path), direct=asked), lambda: None, Direct(0, patience))
        carrier = self.carry(self.alice)

        def run() -> None:
            try:
                self.said.append(transfer.run(carrier))
            except (LineLostError, Refused) as error:
                self.said.append(error)
            finally:
                transfer.close()

        self._threads.append(threading.Thread(target=run))
        self._threads[-1].start()
        return transfer

    def fetch(self, file: str, *, direct: bool = True) -> tuple[Fetching, str]:
        """Have bob fetch it; what he is told."""
        transfer = Fetching(GetFile(file=file), self.folder, 0, lambda _: True, lambda: None, direct=direct)
        try:
            return transfer, transfer.run(self.carry(self.bob))
        finally:
            transfer.close()

    def uploaded(self) -> list[Path]:
        """What the server has of any file."""
        return [path for path in self.stored.rglob("*") if path.is_file()]

    def end(self) -> None:
        """Wait for alice."""
        for thread in self._threads:
            thread.join(20)
            assert not thread.is_alive()
        self._threads.clear()

    def close(self) -> None:
        """End all lines."""
        for carrier in self.carriers:
            carrier.close()
        self.end()


@pytest.fixture
def two(server: Server, connect: Connect, tmp_path: Path) -> Iterator[Two]:
    """Alice and bob."""
    made = Two(server, connect, tmp_path)
    yield made
    made.close()


def test_it_goes_straight_and_the_server_has_none_of_it(two: Two, photo: Path) -> None:
    """Both are told so; and as whom it was for has it, nobody else is offered it."""
    two.send(photo)
    file = entry_file(two.bob)
    _, said = two.fetch(file)
    two.end()
    assert said == f"photo.jpg (3.0 MB) is here: {two.folder / 'photo.jpg'} (directly)"
    assert two.said == [f"photo.jpg (3.0 MB) is sent to bob: {file} (directly)"]
    assert everything(two.folder) == {"photo.jpg": DATA}
    assert two.uploaded() == []
    assert two.alice.expect(Fetched) == Fetched(file, "photo.jpg", "bob")
    listed = two.bob.request(Files())
    assert isinstance(listed, FileList)
    assert listed.files == []


def test_a_folder_goes_straight_too(two: Two, tmp_path: Path) -> None:
    """Its files are read by another thread than the one that offers them."""
    for name in ("a", "b/c", "b/d"):
        path = tmp_path / "things" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode() * 100_000)
    two.send(tmp_path / "things")
    assert two.fetch(entry_file(two.bob))[1].endswith("(directly)")
    assert everything(two.folder / "things") == everything(tmp_path / "things")
    assert two.uploaded() == []


@pytest.mark.parametrize("asked", [True, False], ids=["asked", "auto"])
def test_who_wants_it_from_the_server_gets_it_there(two: Two, photo: Path, asked: bool) -> None:
    """`--direct never` on the other side, or a device: it is uploaded as soon as it is needed."""
    two.send(photo, asked=asked, patience=60.0)
    _, said = two.fetch(entry_file(two.bob), direct=False)
    two.end()
    assert said.endswith("(by the server)")
    assert str(two.said[0]).endswith("(by the server)")
    assert everything(two.folder) == {"photo.jpg": DATA}


def test_without_being_asked_it_waits_only_for_who_can_fetch_it(two: Two, photo: Path, connect: Connect) -> None:
    """And not for ever; in a script, not at all."""
    two.send(photo, asked=False)
    two.end()
    assert str(two.said.pop()).endswith("(by the server)")
    photo.write_bytes(DATA + b"2")
    two.send(photo, asked=False, patience=0.05)
    two.end()
    assert str(two.said.pop()).endswith("(by the server)")
    photo.write_bytes(DATA + b"three")
    two.send(photo, asked=False, patience=60.0)
    entries = [two.bob.expect(Entry) for _ in range(3)]
    assert two.fetch(entries[-1].file or "")[1].endswith("(directly)")
    two.end()
    assert str(two.said.pop()).endswith("(directly)")
    two.bob.close()
    plain = connect(f"{two.where[0]}:{two.where[1]}", "carol")
    transfer = Sending(SendFile(to="carol", path=str(photo)), lambda: None, Direct(0, 60.0))
    assert transfer.run(two.carry(two.alice)).endswith("(by the server)")
    transfer.close()
    plain.expect(Entry)


def test_nothing_goes_directly_from_who_never_does_that(photo: Path) -> None:
    with pytest.raises(Refused) as refused:
        Sending(SendFile(to="bob", path=str(photo), direct=True), lambda: None)
    assert refused.value.code == "not-direct"


@pytest.mark.parametrize("how", ["closed", "silent"])
def test_a_sender_who_cannot_be_reached(two: Two, photo: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes by the server, after a moment."""
    assert transfer_module._REACH <= 3.0
    monkeypatch.setattr(transfer_module, "_REACH", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as hole:
        port = int(hole.getsockname()[1])
        if how == "closed":
            hole.close()
        tell = JsonCarrier.listen

        def listen(carrier: JsonCarrier, file: str, real: int, sha256: str = "") -> None:
            tell(carrier, file, port if real else 0, sha256)

        monkeypatch.setattr(JsonCarrier, "listen", listen)
        two.send(photo)
        _, said = two.fetch(entry_file(two.bob))
    two.end()
    assert said.endswith("(by the server)")
    assert everything(two.folder) == {"photo.jpg": DATA}


class Damage:
    """What a bad line does to the pieces that come straight from a sender."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[int, bytes], bytes]) -> None:
        self.count = 0
        read = JsonCarrier._read

        def bad(carrier: JsonCarrier, count: int) -> None:
            read(carrier, count)
            if carrier._silence == transfer_module._STALL:
                self.count += 1
                carrier._view[:count] = spoil(self.count, bytes(carrier._view[:count]))

        monkeypatch.setattr(JsonCarrier, "_read", bad)


def test_a_line_that_breaks_in_the_middle(two: Two, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest comes by the server, and only the rest."""
    fetched: list[tuple[bool, int]] = []
    real = JsonCarrier.fetch

    def note(carrier: JsonCarrier, file: str, first: int, end: int) -> Any:
        fetched.append((carrier._silence == transfer_module._STALL, first))
        return real(carrier, file, first, end)

    def cut(count: int, piece: bytes) -> bytes:
        if count == 6:
            raise ValueError("cut")
        return piece

    monkeypatch.setattr(JsonCarrier, "fetch", note)
    Damage(monkeypatch, cut)
    two.send(photo)
    _, said = two.fetch(entry_file(two.bob))
    assert said.endswith("(directly, then by the server)")
    began = fetched.index((True, 0))  # before it, the sender may not have listened yet
    assert fetched[began + 1 :]
    assert all(not direct and first >= 5 << 18 for direct, first in fetched[began + 1 :])
    assert everything(two.folder) == {"photo.jpg": DATA}


@pytest.mark.parametrize("last", [3, 10**9], ids=["once", "always"])
def test_what_is_damaged_on_the_way_is_no_file(
    two: Two, photo: Path, last: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is fetched again; if that does not help, by the server."""
    Damage(monkeypatch, lambda count, piece: piece if count < 3 or count > last else b"x" + piece[1:])
    two.send(photo)
    _, said = two.fetch(entry_file(two.bob))
    assert said.endswith("(directly)" if last == 3 else "(directly, then by the server)")
    assert everything(two.folder) == {"photo.jpg": DATA}


def test_a_sender_who_comes_back_is_reached(two: Two, photo: Path) -> None:
    """Who waits for them goes on from where it was, the same way; the file is offered once."""
    two.folder.mkdir()
    two.send(photo)
    file = entry_file(two.bob)
    two.carriers[0].close()
    two.end()
    assert isinstance(two.said.pop(), LineLostError)
    (two.folder / f"photo.jpg.{file}.part").write_bytes(DATA[:1_000_000])
    waiting = threading.Event()
    transfer = Fetching(GetFile(file=file), two.folder, 0, lambda _: True, lambda: None, direct=True)
    wait = transfer._wait

    def waits(note: str) -> None:
        wait(note)
        if note.startswith("33 %"):
            waiting.set()

    transfer._wait = waits  # type: ignore[method-assign]
    told: list[str] = []
    thread = threading.Thread(target=lambda: told.append(transfer.run(two.carry(two.bob))))
    thread.start()
    assert waiting.wait(10)
    two.send(photo)
    thread.join(20)
    assert told[0].endswith("(directly)")
    assert everything(two.folder) == {"photo.jpg": DATA}
    assert two.uploaded() == []


# Who is let in


def request(line: Json, frame: Request, kind: type[Frame] = Error) -> Any:
    """The answer, which has to be of that kind."""
    answer = line.request(frame)
    assert isinstance(answer, kind), answer
    return answer


def test_only_who_may_fetch_it_gets_a_token(server: Server, connect: Connect) -> None:
    """And only its sender is told of it; each asking has another one."""
    alice, bob, carol = (connect(server.address, name) for name in ("alice", "bob", "carol"))
    file = alice.request(Offer(name="a", size=3, user="bob")).file
    assert request(bob, Reach(file=file)).code == "not-direct"
    assert request(bob, Listen(file=file, port=7, sha256=SHA256)).code == "not-allowed"
    assert request(carol, Listen(file=file, port=7, sha256=SHA256)).code == "no-such-file"
    assert request(alice, Listen(file=file, port=7)).code == "bad-frame"
    alice.request(Listen(file=file, port=7, sha256=SHA256))
    assert request(carol, Reach(file=file)).code == request(carol, Reach(file="zzzzzzzz")).code == "no-such-file"
    ways = [request(bob, Reach(file=file), Way) for _ in range(2)]
    assert [(way.host, way.port, way.sha256) for way in ways] == [("127.0.0.1", 7, SHA256)] * 2
    seen = [alice.expect(Visitor) for _ in range(2)]
    assert [visitor.token for visitor in seen] == [way.token for way in ways]
    assert {visitor.user for visitor in seen} == {"bob"}
    assert ways[0].token != ways[1].token
    assert request(bob, Taken(file=file, sha256="0" * 64)).code == "incomplete"
    assert request(bob, Taken(file=file)).code == "incomplete"
    request(bob, Have(file=file, watch=True), Ranges)
    assert alice.expect(Wanted).file == file
    assert request(bob, Reach(file=file)).code == "not-direct"
    assert carol.of(Visitor) == bob.of(Visitor) == []


def test_a_sender_who_is_gone_is_not_reached(server: Server, connect: Connect) -> None:
    """Nor is one who is asked for more often than anybody would."""
    alice, bob = connect(server.address, "alice"), connect(server.address, "bob")
    file = alice.request(Offer(name="a", size=3, user="bob")).file
    line = Json(server.address)
    request(line, Attach(name="alice", token=alice.welcome.token), Attached)
    line.request(Listen(file=file, port=7, sha256=SHA256))
    for _ in range(100):
        request(bob, Reach(file=file), Way)
    assert request(bob, Reach(file=file)).code == "not-direct"
    line.request(Listen(file=file, port=8, sha256=SHA256))
    assert request(bob, Reach(file=file), Way).port == 8
    request(bob, Get(file=file, offset=0, length=1), Frame)
    line.expect(Wanted)
    line.request(Listen(file=file, port=9, sha256=SHA256))
    line.close()
    while isinstance(bob.request(Reach(file=file)), Way):
        pass
    alice.request(Put(file=file, offset=0, bytes=3, payload=b"abc"))


@pytest.fixture
def door(photo: Path) -> Iterator[Listener]:
    """A sender who listens."""
    source = Source(str(photo))
    info = Ranges(file="abcd2345", name="photo.jpg", size=source.size, sender="alice", sha256=SHA256)
    with Listener("127.0.0.1", 0, source, info, lambda _: None) as made:
        yield made


def heard(door: Listener, *frames: Frame, raw: bytes = b"") -> bytes:
    """All that a listener says to somebody who says this, until it hangs up."""
    with socket.create_connection(("127.0.0.1", door.port), 10) as line:
        line.sendall(b"".join(map(JsonLines.encode, frames)) + raw)
        said = b""
        while piece := _received(line):
            said += piece
        return said


def _received(line: socket.socket) -> bytes:
    try:
        return line.recv(1 << 16)
    except ConnectionError:
        return b""


def test_who_has_no_token_is_told_nothing(door: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither is one who is silent, nor one with the token of another, nor one whose token was used or is old."""
    monkeypatch.setattr(listener_module, "_PATIENCE", 0.1)
    door.expect("Bob", "secret")
    assert heard(door, Attach(name="bob", token="secre")) == b""
    assert heard(door, Get(file="abcd2345", offset=0, length=1)) == b""
    assert heard(door, raw=b"GET / HTTP/1.1\r\n\r\n") == b""
    assert heard(door, raw=b"x" * 10_000) == b""
    assert heard(door) == b""
    assert heard(door, Attach(name="carol", token="secret")) == b""
    assert heard(door, Attach(name="bob", token="secret")) == b""
    monkeypatch.setattr(listener_module, "_TOKEN", 0.0)
    door.expect("bob", "old")
    assert heard(door, Attach(name="bob", token="old")) == b""
    assert not door.busy


def test_a_token_is_good_once_and_for_one_file(door: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked for beside it ends the line; a token that comes late is waited for."""
    line = threading.Timer(0.05, door.expect, ("bob", "secret"))
    line.start()
    carrier = JsonCarrier("127.0.0.1", door.port, "Bob", "secret")
    assert b"".join(map(bytes, carrier.fetch("abcd2345", 10, 1_000_000))) == DATA[10:1_000_000]
    assert carrier.sum("abcd2345", 5, 10) == hashlib.sha256(DATA[5:15]).hexdigest()
    assert carrier.have("abcd2345").sha256 == SHA256
    assert door.busy
    monkeypatch.setattr(listener_module, "_PATIENCE", 0.1)
    with pytest.raises(LineLostError):
        JsonCarrier("127.0.0.1", door.port, "bob", "secret")
    with pytest.raises(LineLostError):
        carrier.sum("other", 0, 1)
    carrier.close()
    for wrong in (
        Get(file="abcd2345", offset=len(DATA), length=1),
        Put(file="abcd2345", offset=0, bytes=3, payload=b"abc"),
        Files(),
    ):
        door.expect("bob", "again")
        assert heard(door, Attach(name="bob", token="again"), wrong) == JsonLines.encode(Attached(name="alice"))


def test_so_many_lines_and_no_more(door: Listener) -> None:
    """Who comes too late is sent away at once; when somebody goes, there is room."""
    lines = [socket.create_connection(("127.0.0.1", door.port), 10) for _ in range(listener_module._MOST)]
    assert heard(door) == b""
    for line in lines:
        line.close()
    door.close()
    with pytest.raises(LineLostError):
        JsonCarrier("127.0.0.1", door.port, "bob", "x", within=1.0)


# Processes


def test_two_clients_without_the_server_in_between(
    start_process: StartProcess, connect: Connect, tmp_path: Path
) -> None:
    """As anybody would use it; nothing of the file is in the server's folder."""
    data = os.urandom(64 << 20)
    (tmp_path / "big").write_bytes(data)
    process = start_process()
    alice = Client(process.address, "alice", f"/send --direct bob {tmp_path / 'big'}")
    bob = connect(process.address, "bob")
    file = entry_file(bob)
    bob.close()
    receiver = Client(process.address, "bob", f"/get {file}", folder=tmp_path / "in")
    code, _, err = receiver.end()
    assert (code, "(directly)" in err) == (0, True), err
    code, _, err = alice.end()
    assert (code, "(directly)" in err) == (0, True), err
    assert everything(tmp_path / "in") == {"big": data}
    assert not [path for path in (process.folder / "files").rglob("*") if path.is_file()]


def test_a_sender_who_is_killed_in_the_middle(start_process: StartProcess, connect: Connect, tmp_path: Path) -> None:
    """Who fetches waits, and gets the rest when they are back, by whichever way."""
    data = os.urandom(256 << 20)
    (tmp_path / "big").write_bytes(data)
    process = start_process()
    alice = Client(process.address, "alice", f"/send --direct bob {tmp_path / 'big'}")
    bob = connect(process.address, "bob")
    file = entry_file(bob)
    bob.close()
    receiver = Client(process.address, "bob", f"/get {file}", folder=tmp_path / "in")
    part = tmp_path / "in" / f"big.{file}.part"
    line = connect(process.address, "waiter")
    while not part.exists() or not part.stat().st_size:
        line.request(Files())
    alice.kill()
    alice = Client(process.address, "alice", f"/send bob {tmp_path / 'big'}")
    code, _, err = receiver.end()
    assert (code, "(directly, then by the server)" in err) == (0, True), err
    code, _, err = alice.end()
    assert (code, "(by the server)" in err) == (0, True), err
    assert everything(tmp_path / "in") == {"big": data}
