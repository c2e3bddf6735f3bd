"""Uploads and downloads through a real server, by file connections and by two client processes."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from server import Server
from terminal.files.connection import ConnectionLostError
from terminal.files.download import Download
from terminal.files.json_connection import JsonFileConnection
from terminal.files.transfer import StoppedError
from terminal.files.upload import Upload
from tests.support.clients import Json, endpoint
from tests.support.files import PHOTO, entry_file, everything, offer
from tests.support.fixtures import StartProcess, StartServer
from tests.support.processes import Process
from tests.support.processes.clients import Client
from tests.support.waiting import DEADLINE
from wire.errors import Refused
from wire.frames import Cancel, Fetched, Files, GetFile, Have, Join, SendFile
from wire.limits import Limits

Connect = Callable[..., Json]
OpenConnection = Callable[[Json], JsonFileConnection]


@pytest.fixture
def open_connection(server: Server) -> Iterator[OpenConnection]:
    """Open a file connection of a connected user: `open_connection(connection)`."""
    made: list[JsonFileConnection] = []

    def make(client: Json) -> JsonFileConnection:
        made.append(JsonFileConnection(*endpoint(server.address), client.welcome.name, client.welcome.token))
        return made[-1]

    yield make
    for connection in made:
        connection.close()


def sending(path: Path, to: str = "bob") -> Upload:
    """Return an upload."""
    return Upload(SendFile(to=to, path=str(path)), lambda: None)


def fetching(file: str, folder: Path, ask: Callable[[str], bool] = lambda _: True, largest: int = 0) -> Download:
    """Return a download."""
    return Download(GetFile(file=file), folder, largest, ask, lambda: None)


def test_a_file_arrives_unchanged(
    server: Server, connect: Connect, open_connection: OpenConnection, photo: Path, tmp_path: Path
) -> None:
    """The sender gets a receipt. The second upload of the same file sends no byte."""
    alice, bob = connect(server.address, "alice"), connect(server.address, "bob")
    transfer = sending(photo)
    assert (
        transfer.run(open_connection(alice)) == f"Sent photo.jpg (3.0 MB) to bob: {transfer.file} (through the server)"
    )
    assert (
        sending(photo).run(open_connection(alice)) == f"photo.jpg (3.0 MB) was already on the server: {transfer.file}"
    )

    def never(question: str) -> bool:
        raise AssertionError(f"without a partial file: {question}")

    fetch = fetching(transfer.file, tmp_path / "in", never)
    assert fetch.run(open_connection(bob)).startswith("Received photo.jpg (3.0 MB): ")
    assert everything(tmp_path / "in") == {"photo.jpg": PHOTO}
    assert fetch.control.progress.done == len(PHOTO)
    assert alice.expect(Fetched).user == "bob"
    alice.request(Cancel(file=transfer.file))
    again = sending(photo)
    again.run(open_connection(alice))
    assert again.file != transfer.file


def test_a_lost_receipt_is_sent_again(
    server: Server, connect: Connect, open_connection: OpenConnection, photo: Path, tmp_path: Path
) -> None:
    """The file is stored once."""
    alice = connect(server.address, "alice")
    transfer = sending(photo, "alice")
    transfer.run(open_connection(alice))
    connection, fetch = open_connection(alice), fetching(transfer.file, tmp_path / "in")

    def lost(file: str, sha256: str = "") -> None:
        raise ConnectionLostError("in that moment")

    connection.taken = lost  # type: ignore[method-assign]
    with pytest.raises(ConnectionLostError):
        fetch.run(connection)
    assert fetch.run(open_connection(alice)).startswith("Received photo.jpg (3.0 MB): ")
    assert everything(tmp_path / "in") == {"photo.jpg": PHOTO}


def test_a_folder_arrives_unchanged_in_a_channel(
    server: Server, connect: Connect, open_connection: OpenConnection, tmp_path: Path
) -> None:
    alice, bob = connect(server.address, "alice"), connect(server.address, "bob")
    for client in (alice, bob):
        client.request(Join("lab"))
    folder = tmp_path / "things"
    (folder / "deep" / "er").mkdir(parents=True)
    for name, data in {"a": b"x" * 10, "deep/b": b"", "deep/er/c": PHOTO}.items():
        (folder / name).write_bytes(data)
    transfer = sending(folder, "#lab")
    transfer.run(open_connection(alice))
    fetching(transfer.file, tmp_path / "in").run(open_connection(bob))
    assert everything(tmp_path / "in" / "things") == everything(folder)
    with pytest.raises(Refused) as refused:
        sending(folder, "#den").run(open_connection(alice))
    assert refused.value.code == "no-such-channel"


def test_a_download_follows_the_upload(
    server: Server, connect: Connect, open_connection: OpenConnection, photo: Path, tmp_path: Path
) -> None:
    """It begins before the first byte is uploaded, and ends with the upload."""
    alice, bob = connect(server.address, "alice"), connect(server.address, "bob")
    connection, offered, waiting = open_connection(alice), threading.Event(), threading.Event()
    transfer = sending(photo)

    def slow_offer(request: Any, offer: Any = connection.offer) -> Any:
        answer = offer(request)
        transfer.file = answer.file
        offered.set()
        waiting.wait(DEADLINE)
        return answer

    connection.offer = slow_offer  # type: ignore[assignment,method-assign]
    sender = threading.Thread(target=transfer.run, args=(connection,))
    sender.start()
    assert offered.wait(DEADLINE)
    fetch = fetching(transfer.file, tmp_path / "in")
    wait = fetch.control.wait

    def waits(note: str) -> None:
        wait(note)
        waiting.set()

    fetch.control.wait = waits  # type: ignore[method-assign]
    fetch.run(open_connection(bob))
    sender.join()
    assert everything(tmp_path / "in") == {"photo.jpg": PHOTO}


def test_transfers_resume_after_a_lost_connection(
    server: Server, connect: Connect, open_connection: OpenConnection, photo: Path, tmp_path: Path
) -> None:
    """Both sides continue where they were. If the user answers no, the download begins again."""
    alice, bob = connect(server.address, "alice"), connect(server.address, "bob")
    transfer, connection = sending(photo), open_connection(alice)
    puts: list[int] = []

    def cut(file: str, offset: int, data: Any, put: Any = connection.put) -> None:
        if offset > 0:
            connection.settle()
            connection.close()
        put(file, offset, data)

    connection.put = cut  # type: ignore[method-assign]
    with pytest.raises(ConnectionLostError):
        transfer.run(connection)
    connection = open_connection(alice)

    def note(file: str, offset: int, data: Any, put: Any = connection.put) -> None:
        puts.append(offset)
        put(file, offset, data)

    connection.put = note  # type: ignore[method-assign]
    transfer.run(connection)
    assert puts == [1 << 20, 2 << 20]
    asked: list[str] = []

    def say(yes: bool) -> Callable[[str], bool]:
        def answer(question: str) -> bool:
            asked.append(question)
            return yes

        return answer

    for answer, sure in ((True, 1_000_000), (False, 0)):
        folder = tmp_path / str(answer)
        folder.mkdir()
        (folder / f"photo.jpg.{transfer.file}.part").write_bytes(PHOTO[:1_000_000])
        connection, fetched = open_connection(bob), list[int]()

        def fetch(file: str, first: int, end: int, real: Any = connection.fetch, to: list[int] = fetched) -> Any:
            to.append(first)
            return real(file, first, end)

        connection.fetch = fetch  # type: ignore[method-assign]
        fetching(transfer.file, folder, say(answer)).run(connection)
        assert fetched == [sure]
        assert everything(folder) == {"photo.jpg": PHOTO}
    assert asked == ["Resume photo.jpg (33 %)?"] * 2


def test_damaged_parts_are_repaired(
    server: Server, connect: Connect, open_connection: OpenConnection, photo: Path, tmp_path: Path
) -> None:
    """In an upload and in a download. What cannot be repaired stays a partial file."""
    alice, bob = connect(server.address, "alice"), connect(server.address, "bob")
    connection, damaged = open_connection(alice), list[int]()

    def damage(file: str, offset: int, data: Any, put: Any = connection.put) -> None:
        if not damaged:
            damaged.append(offset)
            data = memoryview(bytes([data[0] ^ 1]) + bytes(data[1:]))
        put(file, offset, data)

    connection.put = damage  # type: ignore[method-assign]
    transfer = sending(photo)
    transfer.run(connection)
    (tmp_path / "in").mkdir()
    part = tmp_path / "in" / f"photo.jpg.{transfer.file}.part"
    part.write_bytes(b"wrong" + PHOTO[5:1_000_000])
    fetching(transfer.file, tmp_path / "in").run(open_connection(bob))
    assert everything(tmp_path / "in") == {"photo.jpg": PHOTO}
    part.write_bytes(b"wrong")
    connection = open_connection(bob)
    sums: list[int] = []

    def same(file: str, first: int, length: int) -> str:
        sums.append(first)
        return hashlib.sha256(part.read_bytes()[:length]).hexdigest()

    connection.sum = same  # type: ignore[method-assign]
    with pytest.raises(Refused) as refused:
        fetching(transfer.file, tmp_path / "in").run(connection)
    assert refused.value.code == "checksum-mismatch"
    assert sums == [0]  # another attempt would change nothing
    assert part.exists()
    assert set(everything(tmp_path / "in")) == {"photo.jpg", part.name}


def test_a_stopped_download_keeps_its_partial_file(
    server: Server, connect: Connect, open_connection: OpenConnection, photo: Path, tmp_path: Path
) -> None:
    """A refused download leaves nothing."""
    alice = connect(server.address, "alice")
    transfer = sending(photo)
    transfer.run(open_connection(alice))
    fetch = fetching(transfer.file, tmp_path / "in")
    fetch.stop()
    with pytest.raises(StoppedError):
        fetch.run(open_connection(alice))
    fetch.close()
    assert list(everything(tmp_path / "in")) == [f"photo.jpg.{transfer.file}.part"]
    with pytest.raises(Refused):
        fetching(transfer.file, tmp_path / "other", largest=10).run(open_connection(alice))
    with pytest.raises(Refused):
        fetching("zzzzzzzz", tmp_path / "other").run(open_connection(alice))
    assert not (tmp_path / "other").exists()


def test_a_server_with_small_chunks_is_asked_again(
    start_server: StartServer, connect: Connect, photo: Path, tmp_path: Path
) -> None:
    server = start_server(limits=Limits(chunk=50_000))
    alice = connect(server.address, "alice")
    connection = JsonFileConnection(*endpoint(server.address), "alice", alice.welcome.token)
    transfer = sending(photo)
    transfer.run(connection)
    fetching(transfer.file, tmp_path / "in").run(connection)
    assert everything(tmp_path / "in") == {"photo.jpg": PHOTO}
    connection.close()


def test_every_method_of_a_closed_connection_raises_connection_lost(server: Server, connect: Connect) -> None:
    """Another thread may close it at any moment."""
    alice = connect(server.address, "alice")
    file = offer(alice)
    for what in (
        JsonFileConnection.more,
        lambda line: line.event(0),
        lambda line: line.have(file, watch=True),
        lambda line: line.put(file, 0, b"x"),
        lambda line: list(line.fetch(file, 0, 1)),
    ):
        connection = JsonFileConnection(*endpoint(server.address), "alice", alice.welcome.token)
        connection.close()
        with pytest.raises(ConnectionLostError):
            what(connection)


def test_a_host_that_no_resolver_takes_raises_connection_lost() -> None:
    """The server tells the host of a direct transfer; the download then continues through the server."""
    with pytest.raises(ConnectionLostError, match="that is not a host name"):
        JsonFileConnection("a..b", 7000, "bob", "token")


# Processes


def test_transfers_survive_a_killed_server(start_process: StartProcess, connect: Connect, tmp_path: Path) -> None:
    """The server is killed during the upload and during the download."""
    data = os.urandom(48 << 20)
    (tmp_path / "big").write_bytes(data)
    process = start_process()
    watcher = connect(process.address, "bob")
    alice = Client(process.address, "alice", f"/send bob {tmp_path / 'big'}")
    file = entry_file(watcher)
    watcher.request(Have(file=file, watch=True))
    process.restart()
    code, _, err = alice.end()
    assert (code, "Sent " in err) == (0, True), err
    bob = Client(process.address, "bob", f"/get {file}", folder=tmp_path / "in")
    wait_for_part(tmp_path / "in", process)
    process.restart()
    code, _, err = bob.end()
    assert (code, "Received " in err) == (0, True), err
    assert everything(tmp_path / "in") == {"big": data}
    assert Client(process.address, "bob", f"/get {file}x").end()[0] == 1


@pytest.mark.parametrize("way", ["mqtt", "socket"])
def test_files_over_mqtt_are_sent_and_fetched(
    start_process: StartProcess, connect: Connect, tmp_path: Path, way: str
) -> None:
    """Over the MQTT connection, also while the server is killed; and from MQTT to a client on the socket."""
    data = os.urandom(8 << 20)
    (tmp_path / "big").write_bytes(data)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a").write_bytes(b"abc")
    process = start_process()
    watcher = connect(process.address, "watcher")
    watcher.request(Join("lab"))
    mqtt = f"mqtt://{process.address}"
    alice = Client(mqtt, "alice", "/join lab", f"/send #lab {tmp_path / 'big'}", f"/send #lab {tmp_path / 'folder'}")
    first, second = entry_file(watcher), entry_file(watcher)
    if way == "mqtt":
        process.restart()
    code, _, err = alice.end()
    assert (code, err.count("Sent ")) == (0, 2), err
    lines = ("/join lab", f"/get {first}", f"/get {second}")
    bob = Client(mqtt if way == "mqtt" else process.address, "bob", *lines, folder=tmp_path / "in")
    code, _, err = bob.end()
    assert (code, err.count("Received ")) == (0, 2), err
    assert everything(tmp_path / "in") == {"big": data, "folder/a": b"abc"}


def wait_for_part(folder: Path, process: Process) -> None:
    """Wait until the first bytes came, by requests to the server."""
    line = Json(process.address, "waiter")
    while not list(folder.glob("*.part")) and not (folder / "big").exists():
        line.request(Join("waiting"))
    line.close()


def test_the_offer_of_a_file_that_changes_is_cancelled(
    server: Server, connect: Connect, open_connection: OpenConnection, photo: Path, tmp_path: Path
) -> None:
    """Nobody could complete it. Its waiting receiver gets an error and keeps no partial file."""
    alice, bob = connect(server.address, "alice"), connect(server.address, "bob")
    connection, transfer, fetch = open_connection(alice), sending(photo), list[Download]()
    ended: list[str] = []

    def run() -> None:
        try:
            fetch[0].run(open_connection(bob))
        except Refused as refused:
            ended.append(refused.code)

    def settle(real: Any = connection.settle) -> None:
        real()
        if fetch:
            return
        fetch.append(fetching(transfer.file, tmp_path / "in"))
        waiting, wait = threading.Event(), fetch[0].control.wait

        def waits(note: str) -> None:
            wait(note)
            waiting.set()

        fetch[0].control.wait = waits  # type: ignore[method-assign]
        threads.append(threading.Thread(target=run))
        threads[0].start()
        assert waiting.wait(DEADLINE)
        photo.write_bytes(b"another")

    threads: list[threading.Thread] = []
    connection.settle = settle  # type: ignore[method-assign]
    with pytest.raises(Refused) as refused:
        transfer.run(connection)
    assert "changed during the transfer" in refused.value.sentence
    threads[0].join(DEADLINE)
    assert ended == ["gone"]
    assert everything(tmp_path / "in") == {}
    assert alice.request(Files()).files == []
    assert everything(tmp_path / "data" / "files") == {}
