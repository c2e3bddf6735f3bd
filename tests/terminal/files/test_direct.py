"""Files that go straight from one client to another: the way, and what happens when there is none, or a bad one."""

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
from terminal.files.channel import ConnectionLostError, JsonFileChannel
from terminal.files.direct_offer import DirectOptions
from terminal.files.download import Download
from terminal.files.upload import Upload
from tests.support.clients import Json, endpoint
from tests.support.files import PHOTO, entry_file, everything
from tests.support.fixtures import StartProcess
from tests.support.processes import Process
from tests.support.processes.clients import Client
from tests.support.waiting import DEADLINE, eventually
from wire.errors import Refused
from wire.frames import Entry, Fetched, FileList, Files, GetFile, SendFile

Connect = Callable[..., Json]


class Two:
    """Alice, who sends, and bob, who fetches, with a further line each; what alice says in the end is in `said`."""

    def __init__(self, server: Server, connect: Connect, tmp_path: Path) -> None:
        self.where = endpoint(server.address)
        self.folder = tmp_path / "in"
        self.stored = tmp_path / "data" / "files"
        self.alice = connect(server.address, "alice")
        self.bob = connect(server.address, "bob", direct=True)
        self.channels: list[JsonFileChannel] = []
        self.said: list[object] = []
        self._threads: list[threading.Thread] = []

    def open_channel(self, client: Json) -> JsonFileChannel:
        """A further line of one of them."""
        self.channels.append(JsonFileChannel(*self.where, client.welcome.name, client.welcome.token))
        return self.channels[-1]

    def send(self, path: Path, *, asked: bool = True, patience: float = 0.0) -> Upload:
        """Have alice send a file, on a thread of its own, and wait until bob sees it."""
        transfer = Upload(SendFile(to="bob", path=str(path), direct=asked), lambda: None, DirectOptions(0, patience))
        channel = self.open_channel(self.alice)

        def run() -> None:
            try:
                self.said.append(transfer.run(channel))
            except (ConnectionLostError, Refused) as error:
                self.said.append(error)
            finally:
                transfer.close()

        self._threads.append(threading.Thread(target=run))
        self._threads[-1].start()
        return transfer

    def fetch(self, file: str, *, direct: bool = True) -> tuple[Download, str]:
        """Have bob fetch it; what he is told."""
        transfer = Download(GetFile(file=file), self.folder, 0, lambda _: True, lambda: None, direct=direct)
        try:
            return transfer, transfer.run(self.open_channel(self.bob))
        finally:
            transfer.close()

    def uploaded(self) -> list[Path]:
        """What the server has of any file."""
        return [path for path in self.stored.rglob("*") if path.is_file()]

    def end(self) -> None:
        """Wait for alice."""
        for thread in self._threads:
            thread.join(DEADLINE)
            assert not thread.is_alive()
        self._threads.clear()

    def close(self) -> None:
        """End all lines."""
        for channel in self.channels:
            channel.close()
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
    assert said == f"Received photo.jpg (3.0 MB): {two.folder / 'photo.jpg'} (directly)"
    assert two.said == [f"Sent photo.jpg (3.0 MB) to bob: {file} (directly)"]
    assert everything(two.folder) == {"photo.jpg": PHOTO}
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
    assert said.endswith("(through the server)")
    assert str(two.said[0]).endswith("(through the server)")
    assert everything(two.folder) == {"photo.jpg": PHOTO}


def test_without_being_asked_it_waits_only_for_who_can_fetch_it(two: Two, photo: Path, connect: Connect) -> None:
    """And not for ever; in a script, not at all."""
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
    assert transfer.run(two.open_channel(two.alice)).endswith("(through the server)")
    transfer.close()
    plain.expect(Entry)


def test_nothing_goes_directly_from_who_never_does_that(photo: Path) -> None:
    with pytest.raises(Refused) as refused:
        Upload(SendFile(to="bob", path=str(photo), direct=True), lambda: None)
    assert refused.value.code == "not-direct"


@pytest.mark.parametrize("how", ["closed", "silent"])
def test_a_sender_who_cannot_be_reached(two: Two, photo: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes by the server, after a moment."""
    assert download_module._REACH <= 3.0
    monkeypatch.setattr(download_module, "_REACH", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as hole:
        port = int(hole.getsockname()[1])
        if how == "closed":
            hole.close()
        tell = JsonFileChannel.listen

        def listen(channel: JsonFileChannel, file: str, real: int, sha256: str = "") -> None:
            tell(channel, file, port if real else 0, sha256)

        monkeypatch.setattr(JsonFileChannel, "listen", listen)
        two.send(photo)
        _, said = two.fetch(entry_file(two.bob))
    two.end()
    assert said.endswith("(through the server)")
    assert everything(two.folder) == {"photo.jpg": PHOTO}


class Damage:
    """What a bad line does to the pieces that come straight from a sender."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[int, bytes], bytes]) -> None:
        self.count = 0
        read = JsonFileChannel._read

        def bad(channel: JsonFileChannel, count: int) -> None:
            read(channel, count)
            if channel._silence == download_module._STALL:
                self.count += 1
                channel._view[:count] = spoil(self.count, bytes(channel._view[:count]))

        monkeypatch.setattr(JsonFileChannel, "_read", bad)


def test_a_line_that_breaks_in_the_middle(two: Two, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest comes by the server, and only the rest."""
    fetched: list[tuple[bool, int]] = []
    real = JsonFileChannel.fetch

    def note(channel: JsonFileChannel, file: str, first: int, end: int) -> Any:
        fetched.append((channel._silence == download_module._STALL, first))
        return real(channel, file, first, end)

    def cut(count: int, piece: bytes) -> bytes:
        if count == 6:
            raise ValueError("cut")
        return piece

    monkeypatch.setattr(JsonFileChannel, "fetch", note)
    Damage(monkeypatch, cut)
    two.send(photo)
    _, said = two.fetch(entry_file(two.bob))
    assert said.endswith("(directly, then through the server)")
    began = fetched.index((True, 0))  # before it, the sender may not have listened yet
    assert fetched[began + 1 :]
    assert all(not direct and first >= 5 << 18 for direct, first in fetched[began + 1 :])
    assert everything(two.folder) == {"photo.jpg": PHOTO}


@pytest.mark.parametrize("last", [3, 10**9], ids=["once", "always"])
def test_what_is_damaged_on_the_way_is_no_file(
    two: Two, photo: Path, last: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is fetched again; if that does not help, by the server."""
    Damage(monkeypatch, lambda count, piece: piece if count < 3 or count > last else b"x" + piece[1:])
    two.send(photo)
    _, said = two.fetch(entry_file(two.bob))
    assert said.endswith("(directly)" if last == 3 else "(directly, then through the server)")
    assert everything(two.folder) == {"photo.jpg": PHOTO}


def test_a_sender_who_comes_back_is_reached(two: Two, photo: Path) -> None:
    """Who waits for them goes on from where it was, the same way; the file is offered once."""
    two.folder.mkdir()
    two.send(photo)
    file = entry_file(two.bob)
    two.channels[0].close()
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
    thread = threading.Thread(target=lambda: told.append(transfer.run(two.open_channel(two.bob))))
    thread.start()
    assert waiting.wait(DEADLINE)
    two.send(photo)
    thread.join(DEADLINE)
    assert told[0].endswith("(directly)")
    assert everything(two.folder) == {"photo.jpg": PHOTO}
    assert two.uploaded() == []


def test_who_was_away_has_been_there(server: Server, two: Two, photo: Path, connect: Connect) -> None:
    """What is said in the end is about then, not about when it was offered."""
    two.bob.close()
    eventually(lambda: not server.chat.directory.is_there("bob"), lambda: "bob is there")
    two.send(photo)
    two.bob = connect(server.address, "bob")
    file = entry_file(two.bob)
    two.fetch(file)
    two.end()
    assert two.said == [f"Sent photo.jpg (3.0 MB) to bob: {file} (directly)"]


def test_a_sender_who_comes_back_is_told(server: Server, two: Two, photo: Path) -> None:
    """All of it had come when both of them lost the server, and the receiver is back first."""
    two.send(photo)
    file = entry_file(two.bob)
    upload = server.chat.files.enter(file, "alice")
    transfer = Download(GetFile(file=file), two.folder, 0, lambda _: True, lambda: None, direct=True)
    channel = two.open_channel(two.bob)
    taken, learns = channel.taken, channel._wait_for_more

    def first(file: str, sha256: str = "") -> None:
        two.channels[0].close()
        two.end()
        eventually(lambda: upload.direct_sender is None, lambda: "she still listens")
        taken(file, sha256)

    def then(until: float) -> bool:
        two.send(photo)
        return learns(until)

    channel.taken, channel._wait_for_more = first, then  # type: ignore[method-assign]
    assert transfer.run(channel).endswith("(directly)")
    two.end()
    server.chat.files.leave(upload)
    assert isinstance(two.said[0], ConnectionLostError)
    assert two.said[1] == f"Sent photo.jpg (3.0 MB) to bob: {file} (directly)"
    assert two.uploaded() == []


# Processes


def between_two(process: Process, connect: Connect, tmp_path: Path, data: bytes) -> tuple[Client, Client, str]:
    """Alice, who sends something to bob directly, bob, who is about to fetch it into `in`, and the file's id."""
    (tmp_path / "big").write_bytes(data)
    alice = Client(process.address, "alice", f"/send --direct bob {tmp_path / 'big'}")
    bob = connect(process.address, "bob")
    file = entry_file(bob)
    bob.close()
    return alice, Client(process.address, "bob", f"/get {file}", folder=tmp_path / "in"), file


def test_two_clients_without_the_server_in_between(
    start_process: StartProcess, connect: Connect, tmp_path: Path
) -> None:
    """As anybody would use it; nothing of the file is in the server's folder."""
    data = os.urandom(64 << 20)
    process = start_process()
    alice, receiver, _ = between_two(process, connect, tmp_path, data)
    code, _, err = receiver.end()
    assert (code, "(directly)" in err) == (0, True), err
    code, _, err = alice.end()
    assert (code, "(directly)" in err) == (0, True), err
    assert everything(tmp_path / "in") == {"big": data}
    assert not [path for path in (process.folder / "files").rglob("*") if path.is_file()]


def test_a_sender_who_is_killed_in_the_middle(start_process: StartProcess, connect: Connect, tmp_path: Path) -> None:
    """Who fetches waits, and gets the rest when they are back, by whichever way."""
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
