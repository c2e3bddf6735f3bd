"""Direct transfers between two clients, and what happens when the direct connection fails."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from server import Server
from terminal.files import download as download_module
from terminal.files.connection import ConnectionLostError
from terminal.files.direct_offer import DirectOptions
from terminal.files.download import Download
from terminal.files.json_connection import JsonFileConnection
from terminal.files.upload import Upload
from tests.support.clients import Json, endpoint
from tests.support.files import DATA, PHOTO, entry_file, everything, fill, offer
from tests.support.fixtures import StartProcess
from tests.support.processes import Process
from tests.support.processes.clients import Client
from tests.support.waiting import DEADLINE, eventually
from wire.errors import Refused
from wire.frames import Entry, Fetched, FileList, Files, GetFile, SendFile, Way

Connect = Callable[..., Json]


class Two:
    """Alice sends and bob fetches, each over a connection for files. `said` has the results of alice's uploads."""

    def __init__(self, server: Server, connect: Connect, tmp_path: Path) -> None:
        self.where = endpoint(server.address)
        self.folder = tmp_path / "in"
        self.stored = tmp_path / "data" / "files"
        self.alice = connect(server.address, "alice")
        self.bob = connect(server.address, "bob", direct=True)
        self.connections: list[JsonFileConnection] = []
        self.said: list[object] = []
        self._threads: list[threading.Thread] = []

    def open_connection(self, client: Json) -> JsonFileConnection:
        """Open a file connection for one of the two clients."""
        self.connections.append(JsonFileConnection(*self.where, client.welcome.name, client.welcome.token))
        return self.connections[-1]

    def send(self, path: Path, *, asked: bool = True, patience: float = 0.0) -> Upload:
        """Have alice send a file on a thread of its own."""
        transfer = Upload(SendFile(to="bob", path=str(path), direct=asked), lambda: None, DirectOptions(0, patience))
        connection = self.open_connection(self.alice)

        def run() -> None:
            try:
                self.said.append(transfer.run(connection))
            except (ConnectionLostError, Refused) as error:
                self.said.append(error)
            finally:
                transfer.close()

        self._threads.append(threading.Thread(target=run))
        self._threads[-1].start()
        return transfer

    def fetch(self, file: str, *, direct: bool = True) -> tuple[Download, str]:
        """Have bob fetch it. Return the download and its result."""
        transfer = Download(GetFile(file=file), self.folder, 0, lambda _: True, lambda: None, direct=direct)
        try:
            return transfer, transfer.run(self.open_connection(self.bob))
        finally:
            transfer.close()

    def uploaded(self) -> list[Path]:
        """Return the files that the server has stored."""
        return [path for path in self.stored.rglob("*") if path.is_file()]

    def end(self) -> None:
        """Wait for alice's threads."""
        for thread in self._threads:
            thread.join(DEADLINE)
            assert not thread.is_alive()
        self._threads.clear()

    def close(self) -> None:
        """Close all connections."""
        for connection in self.connections:
            connection.close()
        self.end()


@pytest.fixture
def two(server: Server, connect: Connect, tmp_path: Path) -> Iterator[Two]:
    """Alice and bob."""
    made = Two(server, connect, tmp_path)
    yield made
    made.close()


def test_a_direct_transfer_leaves_nothing_on_the_server(two: Two, photo: Path) -> None:
    """Both results say `directly`. The file is not listed any more, since its receiver has it."""
    two.send(photo)
    file = entry_file(two.bob)
    _, said = two.fetch(file)
    two.end()
    assert said == f"Received photo.jpg (3.0 MB): {two.folder / 'photo.jpg'} (directly)"
    assert two.said == [f"Sent photo.jpg (3.0 MB) to bob: {file} (directly)"]
    assert everything(two.folder) == {"photo.jpg": PHOTO}
    assert two.uploaded() == []
    assert two.alice.expect(Fetched) == Fetched(file, "photo.jpg", "bob")
    listed = two.bob.request(Files())
    assert isinstance(listed, FileList)
    assert listed.files == []


def test_a_folder_goes_directly(two: Two, tmp_path: Path) -> None:
    """Another thread reads its files than the one that offers them."""
    for name in ("a", "b/c", "b/d"):
        path = tmp_path / "things" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode() * 100_000)
    two.send(tmp_path / "things")
    assert two.fetch(entry_file(two.bob))[1].endswith("(directly)")
    assert everything(two.folder / "things") == everything(tmp_path / "things")
    assert two.uploaded() == []


@pytest.mark.parametrize("asked", [True, False], ids=["asked", "auto"])
def test_a_receiver_without_direct_transfers_gets_it_from_the_server(two: Two, photo: Path, asked: bool) -> None:
    """For `--direct never` on the other side, and for devices: the sender uploads as soon as the file is asked for."""
    two.send(photo, asked=asked, patience=60.0)
    _, said = two.fetch(entry_file(two.bob), direct=False)
    two.end()
    assert said.endswith("(through the server)")
    assert str(two.said[0]).endswith("(through the server)")
    assert everything(two.folder) == {"photo.jpg": PHOTO}


def test_without_direct_a_sender_waits_within_patience_for_a_receiver_who_is_online(
    two: Two, photo: Path, connect: Connect
) -> None:
    """A script has no patience, so it uploads at once."""
    two.send(photo, asked=False)
    two.end()
    assert str(two.said.pop()).endswith("(through the server)")
    photo.write_bytes(PHOTO + b"2")
    two.send(photo, asked=False, patience=0.05)
    two.end()
    assert str(two.said.pop()).endswith("(through the server)")
    photo.write_bytes(PHOTO + b"three")
    two.send(photo, asked=False, patience=60.0)
    entries = [two.bob.expect(Entry) for _ in range(3)]
    assert two.fetch(entries[-1].file or "")[1].endswith("(directly)")
    two.end()
    assert str(two.said.pop()).endswith("(directly)")
    two.bob.close()
    plain = connect(f"{two.where[0]}:{two.where[1]}", "carol")
    transfer = Upload(SendFile(to="carol", path=str(photo)), lambda: None, DirectOptions(0, 60.0))
    assert transfer.run(two.open_connection(two.alice)).endswith("(through the server)")
    transfer.close()
    plain.expect(Entry)


def test_direct_never_refuses_send_direct(photo: Path) -> None:
    with pytest.raises(Refused) as refused:
        Upload(SendFile(to="bob", path=str(photo), direct=True), lambda: None)
    assert refused.value.code == "not-direct"


@pytest.mark.parametrize("how", ["closed", "silent"])
def test_an_unreachable_sender_is_replaced_by_the_server(
    two: Two, photo: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a moment the download goes through the server."""
    assert download_module._REACH <= 3.0
    monkeypatch.setattr(download_module, "_REACH", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as hole:
        port = int(hole.getsockname()[1])
        if how == "closed":
            hole.close()
        tell = JsonFileConnection.listen

        def listen(connection: JsonFileConnection, file: str, real: int, *more: str) -> None:
            tell(connection, file, port if real else 0, *more)

        monkeypatch.setattr(JsonFileConnection, "listen", listen)
        two.send(photo)
        _, said = two.fetch(entry_file(two.bob))
    two.end()
    assert said.endswith("(through the server)")
    assert everything(two.folder) == {"photo.jpg": PHOTO}


def test_an_address_that_has_failed_is_not_tried_again(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    """The download asks where the sender is each time that the server has more, and is told the same address."""
    with socket.create_server(("127.0.0.1", 0)) as hole:
        port = int(hole.getsockname()[1])
    asked, dialled = list[str](), list[int]()
    connect = JsonFileConnection.__init__

    def reach(_: JsonFileConnection, file: str) -> Way:
        asked.append(file)
        return Way(file=file, host="127.0.0.1", port=port, token="token", sha256="")

    def note(connection: JsonFileConnection, host: str, port: int, *given: Any, **options: Any) -> None:
        dialled.append(port)
        connect(connection, host, port, *given, **options)

    monkeypatch.setattr(JsonFileConnection, "reach", reach)
    monkeypatch.setattr(JsonFileConnection, "__init__", note)
    file, waiting = offer(two.alice), threading.Event()
    transfer = Download(GetFile(file=file), two.folder, 0, lambda _: True, lambda: None, direct=True)
    wait = transfer.control.wait

    def waits(note: str) -> None:
        wait(note)
        if note.endswith("waiting for the sender"):
            waiting.set()

    monkeypatch.setattr(transfer.control, "wait", waits)
    thread = threading.Thread(target=transfer.run, args=(two.open_connection(two.bob),))
    thread.start()
    assert waiting.wait(DEADLINE)
    fill(two.alice, file)
    thread.join(DEADLINE)
    transfer.close()
    assert everything(two.folder) == {"x.bin": DATA}
    assert len(asked) >= 2
    assert dialled.count(port) == 1


class Damage:
    """Change the pieces that come directly from a sender."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[int, bytes], bytes]) -> None:
        self.count = 0
        read = JsonFileConnection._read

        def bad(connection: JsonFileConnection, count: int) -> None:
            read(connection, count)
            if connection._silence == download_module._STALL:
                self.count += 1
                connection._view[:count] = spoil(self.count, bytes(connection._view[:count]))

        monkeypatch.setattr(JsonFileConnection, "_read", bad)


def test_a_direct_connection_that_breaks_is_continued_through_the_server(
    two: Two, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server sends only the rest."""
    fetched: list[tuple[bool, int]] = []
    real = JsonFileConnection.fetch

    def note(connection: JsonFileConnection, file: str, first: int, end: int) -> Any:
        fetched.append((connection._silence == download_module._STALL, first))
        return real(connection, file, first, end)

    def cut(count: int, piece: bytes) -> bytes:
        if count == 6:
            raise ValueError("cut")
        return piece

    monkeypatch.setattr(JsonFileConnection, "fetch", note)
    Damage(monkeypatch, cut)
    two.send(photo)
    _, said = two.fetch(entry_file(two.bob))
    assert said.endswith("(directly, then through the server)")
    began = fetched.index((True, 0))  # earlier requests: the sender may not have listened yet
    assert fetched[began + 1 :]
    assert all(not direct and first >= 5 << 18 for direct, first in fetched[began + 1 :])
    assert everything(two.folder) == {"photo.jpg": PHOTO}


@pytest.mark.parametrize("last", [3, 10**9], ids=["once", "always"])
def test_damaged_pieces_are_fetched_again(two: Two, photo: Path, last: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """If they are damaged again, they come through the server."""
    Damage(monkeypatch, lambda count, piece: piece if count < 3 or count > last else b"x" + piece[1:])
    two.send(photo)
    _, said = two.fetch(entry_file(two.bob))
    assert said.endswith("(directly)" if last == 3 else "(directly, then through the server)")
    assert everything(two.folder) == {"photo.jpg": PHOTO}


def test_a_download_continues_directly_when_its_sender_comes_back(two: Two, photo: Path) -> None:
    """It continues where it was; the file is offered once."""
    two.folder.mkdir()
    two.send(photo)
    file = entry_file(two.bob)
    two.connections[0].close()
    two.end()
    assert isinstance(two.said.pop(), ConnectionLostError)
    (two.folder / f"photo.jpg.{file}.part").write_bytes(PHOTO[:1_000_000])
    waiting = threading.Event()
    transfer = Download(GetFile(file=file), two.folder, 0, lambda _: True, lambda: None, direct=True)
    wait = transfer.control.wait

    def waits(note: str) -> None:
        wait(note)
        if note.startswith("33 %"):
            waiting.set()

    transfer.control.wait = waits  # type: ignore[method-assign]
    told: list[str] = []
    thread = threading.Thread(target=lambda: told.append(transfer.run(two.open_connection(two.bob))))
    thread.start()
    assert waiting.wait(DEADLINE)
    two.send(photo)
    thread.join(DEADLINE)
    assert told[0].endswith("(directly)")
    assert everything(two.folder) == {"photo.jpg": PHOTO}
    assert two.uploaded() == []


def test_the_result_of_a_direct_upload_does_not_say_away(
    server: Server, two: Two, photo: Path, connect: Connect
) -> None:
    """The receiver was away at the offer, and online at the end."""
    two.bob.close()
    eventually(lambda: not server.chat.directory.is_there("bob"), lambda: "bob is there")
    two.send(photo)
    two.bob = connect(server.address, "bob")
    file = entry_file(two.bob)
    two.fetch(file)
    two.end()
    assert two.said == [f"Sent photo.jpg (3.0 MB) to bob: {file} (directly)"]


def test_a_sender_who_comes_back_is_notified_of_the_receipt(server: Server, two: Two, photo: Path) -> None:
    """Both lose the server after the last byte, and the receiver reconnects first."""
    two.send(photo)
    file = entry_file(two.bob)
    shared = server.chat.files.enter(file, "alice")
    transfer = Download(GetFile(file=file), two.folder, 0, lambda _: True, lambda: None, direct=True)
    connection = two.open_connection(two.bob)
    taken, learns = connection.taken, connection._wait_for_more

    def first(file: str, sha256: str = "") -> None:
        two.connections[0].close()
        two.end()
        eventually(lambda: shared.direct_sender is None, lambda: "she still listens")
        taken(file, sha256)

    def then(until: float) -> bool:
        two.send(photo)
        return learns(until)

    connection.taken, connection._wait_for_more = first, then  # type: ignore[method-assign]
    assert transfer.run(connection).endswith("(directly)")
    two.end()
    server.chat.files.leave(shared)
    assert isinstance(two.said[0], ConnectionLostError)
    assert two.said[1] == f"Sent photo.jpg (3.0 MB) to bob: {file} (directly)"
    assert two.uploaded() == []


# Processes


def between_two(process: Process, connect: Connect, tmp_path: Path, data: bytes) -> tuple[Client, Client, str]:
    """Return alice, who sends a file to bob directly, bob, who fetches it into `in`, and the file's id."""
    (tmp_path / "big").write_bytes(data)
    alice = Client(process.address, "alice", f"/send --direct bob {tmp_path / 'big'}")
    bob = connect(process.address, "bob")
    file = entry_file(bob)
    bob.close()
    return alice, Client(process.address, "bob", f"/get {file}", folder=tmp_path / "in"), file


def test_two_client_processes_transfer_directly(start_process: StartProcess, connect: Connect, tmp_path: Path) -> None:
    """The server's folder has no byte of the file."""
    data = os.urandom(64 << 20)
    process = start_process()
    alice, receiver, _ = between_two(process, connect, tmp_path, data)
    code, _, err = receiver.end()
    assert (code, "(directly)" in err) == (0, True), err
    code, _, err = alice.end()
    assert (code, "(directly)" in err) == (0, True), err
    assert everything(tmp_path / "in") == {"big": data}
    assert not [path for path in (process.folder / "files").rglob("*") if path.is_file()]


def test_a_killed_sender_resumes_after_its_restart(
    start_process: StartProcess, connect: Connect, tmp_path: Path
) -> None:
    """The receiver waits, and gets the rest when the sender is back, directly or through the server."""
    data = os.urandom(256 << 20)
    process = start_process()
    alice, receiver, file = between_two(process, connect, tmp_path, data)
    part = tmp_path / "in" / f"big.{file}.part"
    line = connect(process.address, "waiter")
    while not part.exists() or not part.stat().st_size:
        line.request(Files())
    alice.kill()
    alice = Client(process.address, "alice", f"/send bob {tmp_path / 'big'}")
    code, _, err = receiver.end()
    assert (code, "(directly, then through the server)" in err) == (0, True), err
    code, _, err = alice.end()
    assert (code, "(through the server)" in err) == (0, True), err
    assert everything(tmp_path / "in") == {"big": data}
