"""Files where there is no room, or too much of everything: one clear error each, and nothing is left behind."""

from __future__ import annotations

import hashlib
import os
import re
import resource
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from terminal.files.targets import Target
from tests.support.clients import Json
from tests.support.fixtures import StartProcess, StartServer
from tests.support.processes import Process
from tests.support.processes.clients import Running, run, runners
from wire.errors import Refused
from wire.frames import (
    Attach,
    Cancel,
    Entry,
    Error,
    FilePart,
    Files,
    Finish,
    Finished,
    Get,
    Have,
    Kept,
    Offer,
    Offered,
    Put,
    Ranges,
    Taken,
)
from wire.jsonlines import JsonLines
from wire.limits import Limits

Connect = Callable[..., Json]
RECEIVERS = 100
_GET = 1 << 18


def offered(client: Json, size: int, user: str = "bob") -> str:
    """Offer a file; its id."""
    answer = client.request(Offer(name="x", size=size, user=user))
    assert isinstance(answer, Offered), answer
    return answer.file


def sent(client: Json, data: bytes, user: str = "bob") -> str:
    """Offer a file and fill it; its id."""
    file = offered(client, len(data), user)
    for at in range(0, len(data), 1 << 20):
        assert isinstance(client.request(Put(file=file, offset=at, payload=data[at : at + (1 << 20)])), Kept)
    assert isinstance(client.request(Finish(file=file, sha256=hashlib.sha256(data).hexdigest())), Finished)
    return file


def in_folder(folder: Path) -> dict[str, int]:
    """The sizes of all files in a folder, by path."""
    return {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*") if path.is_file()}


def test_the_servers_disk_is_full(start_process: StartProcess, connect: Connect, tmp_path: Path) -> None:
    """`/send` says so and fails; what is there stays a part, and with room it goes on. Nothing else is hurt."""
    data = os.urandom(6 << 20)
    (tmp_path / "x").write_bytes(data)
    process = start_process()
    limit = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (3_500_000, limit[1]))
    send = [process.address, "--name", "alice"]
    done = run(*send, typed=f"/send @bob {tmp_path / 'x'}\n")
    assert done.returncode == 1
    assert "! x: The server could not write to its disk: File too large." in done.stderr
    alice, bob = connect(process.address, "alice"), connect(process.address, "bob")
    (info,) = alice.request(Files()).files
    assert (info.done, info.have) == (False, 3 << 20)
    alice.close()
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, limit)
    assert run(*send, typed=f"/send bob {tmp_path / 'x'}\n").returncode == 0
    assert list(in_folder(tmp_path / "process-data" / "files")) == [
        f"blobs/{(sha := hashlib.sha256(data).hexdigest())[:2]}/{sha}"
    ]
    assert bob.request(Have(file=info.file)).sha256 == sha


def test_the_receivers_disk_is_full(process: Process, connect: Connect, tmp_path: Path) -> None:
    """`/get` says so and fails; the part is all that is there, and with room it goes on from its end."""
    data = os.urandom(6 << 20)
    file = sent(connect(process.address, "alice"), data)
    get = [process.address, "--name", "bob", "--downloads", str(tmp_path / "in")]
    with runners() as start:
        client: Running = start(*get)
        client.expect("You are in no channel yet")
        resource.prlimit(client.process.pid, resource.RLIMIT_FSIZE, (3_500_000, resource.RLIM_INFINITY))
        client.say(f"/get {file}")
        code, _, err = client.end()
    assert (code, "! x: File too large." in err) == (1, True), err
    assert in_folder(tmp_path / "in") == {f"x.{file}.part": 3_500_000}
    done = run(*get, typed=f"/get {file}\n")
    assert done.returncode == 0, done.stderr
    assert {path.name: path.read_bytes() == data for path in (tmp_path / "in").iterdir()} == {"x": True}


def test_a_quota_that_is_reached_amid_a_transfer(start_process: StartProcess, connect: Connect, tmp_path: Path) -> None:
    """Only bytes that are there count: a file that does not fit is refused at its first byte, and goes on with room."""
    config = tmp_path / "config.yaml"
    config.write_text("limits: {files_per_user: 3000000, files: 4000000}")
    process = start_process("--config", str(config))
    (tmp_path / "y").write_bytes(bytes(1_500_000))
    alice, data = connect(process.address, "alice"), os.urandom(2_000_000)
    file, other = offered(alice, len(data)), offered(alice, 1_500_000)
    alice.request(Put(file=file, offset=0, payload=data[:1_000_000]))
    alice.request(Put(file=other, offset=0, payload=data[:1_000_000]))
    answer = alice.request(Put(file=file, offset=1_000_000, payload=data[1_000_000:]))
    assert (answer.code, answer.error) == ("quota", "Your files may have 3.0 MB in all. /cancel one first.")
    alice.request(Cancel(file=other))
    assert run(process.address, "--name", "carol", typed=f"/send @bob {tmp_path / 'y'}\n").returncode == 0
    done = run(process.address, "--name", "dave", typed=f"/send @bob {tmp_path / 'y'}\n")
    assert (done.returncode, "! y: All files here may have 4.0 MB" in done.stderr) == (1, True), done.stderr
    alice.request(Put(file=file, offset=1_000_000, payload=data[1_000_000:]))
    assert isinstance(alice.request(Finish(file=file, sha256=hashlib.sha256(data).hexdigest())), Finished)
    left = in_folder(tmp_path / "process-data" / "files")
    assert sorted(left.values()) == [1_500_000, 2_000_000]


UNLIMITED = Limits(file_size=0, files_per_user=0, files_per_guest=0, files_per_address=0, files_of_guests=0, files=0)


@pytest.mark.parametrize("limits", [Limits(), UNLIMITED])
def test_huge_offers(start_server: StartServer, connect: Connect, tmp_path: Path, limits: Limits) -> None:
    """Refused, or, without limits, an offer that takes no room before its bytes come; an end that lies is refused."""
    server = start_server(limits=limits)
    alice = connect(server.address, "alice")
    answer = alice.request(Offer(name="x", size=2**53 - 1, user="bob"))
    if isinstance(answer, Error):
        assert answer.code == "too-large"
        assert alice.request(Files()).files == []
        return
    assert isinstance(alice.request(Put(file=answer.file, offset=0, payload=b"abc")), Kept)
    last = alice.request(Put(file=answer.file, offset=2**53 - 4, payload=b"abc"))
    assert isinstance(last, Error)
    assert last.code == "not-stored"  # more than any file system takes
    assert alice.request(Finish(file=answer.file, sha256=hashlib.sha256(b"abc").hexdigest())).code == "incomplete"
    alice.request(Cancel(file=answer.file))
    assert in_folder(tmp_path / "data" / "files") == {}
    assert alice.request(Finish(file=answer.file, sha256="")).code == "gone"


@pytest.mark.parametrize("sizes", [(3, 9), (2, 2), (0, 0), (6, 2**40)])
def test_parts_that_lie(tmp_path: Path, sizes: tuple[int, int]) -> None:
    """A server whose folder's files do not make up its size: nothing is made of it."""
    parts = [FilePart("a", sizes[0]), FilePart("b", sizes[1])]
    info = Ranges(file="abcd2345", name="d", size=6, sender="alice", parts=parts)
    with pytest.raises(Refused) as refused:
        Target(tmp_path / "in", info, 0)
    assert refused.value.code == "bad-frame"
    assert not (tmp_path / "in").exists()


def test_to_somebody_away_over_a_restart(start_process: StartProcess, connect: Connect, tmp_path: Path) -> None:
    """A new user fetches the offer after a restart, and the sender, who is away by then, learns of it."""
    data = os.urandom(3_000_000)
    (tmp_path / "x").write_bytes(data)
    process = start_process()
    done = run(process.address, "--name", "alice", typed=f"/send @bob {tmp_path / 'x'}\n")
    assert done.returncode == 0, done.stderr
    process.restart()
    bob = connect(process.address, "bob", since={"@alice": 0})
    file = bob.expect(Entry).file
    assert file is not None
    bob.close()
    done = run(process.address, "--name", "bob", "--downloads", str(tmp_path / "in"), typed=f"/get {file}\n")
    assert done.returncode == 0, done.stderr
    assert {path.name: path.read_bytes() == data for path in (tmp_path / "in").iterdir()} == {"x": True}
    process.restart()
    (info,) = connect(process.address, "alice").request(Files()).files
    assert info.fetched == ["bob"]


@pytest.mark.parametrize("reading", [True, False])
def test_a_hundred_receivers(process: Process, connect: Connect, reading: bool) -> None:
    """The most memory that the server ever takes is within 64 MiB of what it takes idle, whether they read or not."""
    data = os.urandom(4 << 20)
    alice = connect(process.address, "alice")
    file = sent(alice, data)
    idle = peak(process, anew=True)
    asked = b"".join(
        JsonLines.encode(Get(file=file, offset=at, length=_GET)) for at in range(0, len(data), _GET)
    )  # fmt: skip
    lines = [connect(process.address) for _ in range(RECEIVERS)]
    for line in lines:
        line.request(Attach(name="alice", token=alice.welcome.token))
        line.send_bytes(asked)
    if reading:
        threads = [threading.Thread(target=drain, args=(line.socket, len(data))) for line in lines]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert alice.request(Taken(file=file)).ref
    for _ in range(RECEIVERS):
        alice.request(Have(file=file))
    assert peak(process) - idle < 64 << 20


def drain(sock: socket.socket, count: int) -> None:
    """Read at least so many bytes."""
    buffer = bytearray(1 << 16)
    while count > 0 and (got := sock.recv_into(buffer)):
        count -= got


def peak(process: Process, *, anew: bool = False) -> int:
    """The most bytes of memory that the server took since the last time that it was counted `anew`: proc(5)."""
    if anew:
        Path(f"/proc/{process.pid}/clear_refs").write_text("5")
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
    assert found
    return int(found[1]) * 1024
