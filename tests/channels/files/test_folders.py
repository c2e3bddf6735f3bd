"""Folders of thousands of files, and servers with small limits of a payload."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from server import Server
from terminal.files.download import Download
from terminal.files.json_connection import JsonFileConnection
from terminal.files.upload import Upload
from tests.support.clients import Json, endpoint
from tests.support.files import PHOTO, everything, fill, refused
from tests.support.fixtures import StartServer
from wire.errors import Refused
from wire.frames import Cancel, Entry, Error, FilePart, Files, GetFile, Offer, Offered, SendFile
from wire.limits import Limits

Connect = Callable[..., Json]


def sending(path: Path) -> Upload:
    """Return a transfer that sends a folder to its own user."""
    return Upload(SendFile(to="alice", path=str(path)), lambda: None)


def fetching(file: str, folder: Path) -> Download:
    """Return a transfer that fetches it."""
    return Download(GetFile(file=file), folder, 0, lambda _: True, lambda: None)


def test_a_folder_of_thousands(start_server: StartServer, connect: Connect) -> None:
    """Its parts follow the frame's line, which is too short for them. Their names count until the offer ends."""
    server = start_server(limits=Limits(files_per_user=600_000))
    alice, bob = connect(server.address, "alice"), connect(server.address, "bob")
    parts = [FilePart(f"{number:0200}", 1) for number in range(2_000)]
    behind = Offer(name="d", size=2_000, user="bob", payload=msgspec.json.encode(parts))
    file = alice.request(behind).file
    assert bob.expect(Entry).text == f"offers d/ (2000 files, 2.0 kB): /get {file} in client.py"
    fill(alice, file, bytes(2_000))
    line = JsonFileConnection(*endpoint(server.address), "bob", bob.welcome.token)
    assert line.have(file).parts == parts
    line.close()
    assert refused(alice, behind) == "quota"
    alice.request(Cancel(file=file))
    assert isinstance(alice.request(behind), Offered)
    for payload in (b"{", b"[1]", b'[{"name":"a"}]', b'[{"name":"../a","size":1}]', b"\xff"):
        assert refused(bob, Offer(name="d", size=1, user="bob", payload=payload)) in ("bad-frame", "bad-file-name")


def test_the_client_sends_a_folder_of_thousands(server: Server, connect: Connect, tmp_path: Path) -> None:
    """The client refuses a folder that has more files than the server takes."""
    alice = connect(server.address, "alice")
    connection = JsonFileConnection(*endpoint(server.address), "alice", alice.welcome.token)
    folder = tmp_path / "things"
    folder.mkdir()
    for number in range(3_000):
        (folder / f"{number:0100}").write_bytes(b"%d" % number)
    transfer = sending(folder)
    transfer.run(connection)
    fetching(transfer.file, tmp_path / "in").run(connection)
    assert everything(tmp_path / "in" / "things") == everything(folder)
    for number in range(5_000):
        (folder / f"x{number:0200}").touch()
    with pytest.raises(Refused) as refused:
        sending(folder)
    assert (
        refused.value.sentence
        == "things has too many files, or their names are too long. Pack it into an archive first."
    )
    connection.close()


def test_a_server_that_takes_less_at_a_time(start_server: StartServer, connect: Connect, tmp_path: Path) -> None:
    """The server tells its limit, and the client sends no more at a time. It refuses what it cannot cut."""
    server = start_server(limits=Limits(payload=10_000))
    alice = connect(server.address, "alice")
    connection = JsonFileConnection(*endpoint(server.address), "alice", alice.welcome.token)
    (tmp_path / "x").write_bytes(PHOTO[:100_000])
    transfer = sending(tmp_path / "x")
    transfer.run(connection)
    fetching(transfer.file, tmp_path / "in").run(connection)
    assert everything(tmp_path / "in") == {"x": PHOTO[:100_000]}
    (tmp_path / "d").mkdir()
    for number in range(200):
        (tmp_path / "d" / f"{number:0100}").touch()
    with pytest.raises(Refused) as refused:
        sending(tmp_path / "d").run(connection)
    assert refused.value.code == "too-large"
    connection.close()


def test_a_server_that_takes_no_payload(start_server: StartServer, connect: Connect, tmp_path: Path) -> None:
    """The client says so and offers nothing, instead of trying for ever."""
    server = start_server(limits=Limits(payload=0))
    alice = connect(server.address, "alice")
    connection = JsonFileConnection(*endpoint(server.address), "alice", alice.welcome.token)
    (tmp_path / "x").write_bytes(b"x")
    with pytest.raises(Refused, match="accepts no files"):
        sending(tmp_path / "x").run(connection)
    assert alice.request(Files()).files == []
    connection.close()


def test_a_folder_of_too_many_files_or_bytes_is_refused(start_server: StartServer, connect: Connect) -> None:
    server = start_server(limits=Limits(folder_files=10, folder_bytes=1_000))
    alice = connect(server.address, "alice")

    def sentence(parts: list[FilePart], payload: bytes = b"") -> str:
        answer = alice.request(Offer(name="d", size=len(parts), user="bob", parts=parts, payload=payload))
        assert isinstance(answer, Error), answer
        return answer.error

    assert sentence([FilePart(str(number), 1) for number in range(11)]) == "d has 11 files. The limit is 10."
    assert sentence([FilePart("a", 1), FilePart("b", 1), FilePart("a", 1)]) == "Two files in d have the same path."
    assert sentence([], b"[" * 1_001).startswith("The list of files has 1001 bytes. The limit is 1000;")
