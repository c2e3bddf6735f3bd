"""The client's files: what is read, what is written, how far it is, and transfers against a real server."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from server import Server
from terminal.carrier import JsonCarrier, LineLostError
from terminal.progress import Progress, time_words
from terminal.sources import Source
from terminal.targets import Target
from terminal.transfer import Fetching, Sending, Stopped
from tests.conftest import StartProcess, StartServer
from tests.helpers import ROOT, Json, Process, endpoint
from wire.errors import Refused
from wire.file_frames import Cancel, Fetched, FilePart, GetFile, Have, Ranges, SendFile
from wire.frames import Entry, Join
from wire.limits import Limits

Connect = Callable[..., Json]
Carry = Callable[[Json], JsonCarrier]
DATA = os.urandom(3_000_000)


def info(name: str, size: int, parts: list[FilePart] | None = None) -> Ranges:
    """What a server says of a file."""
    return Ranges(file="abcd2345", name=name, size=size, sender="bob", parts=parts or [])


def everything(folder: Path) -> dict[str, bytes]:
    """What is in a folder, by path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# What is read


def test_a_folder_is_its_files_one_after_the_other(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for name, text in {"a": "abc", "b": "", "sub/c": "defg", "z": ""}.items():
        (folder / name).write_text(text)
    (folder / "link").symlink_to("/etc/hostname")
    source = Source(str(folder))
    assert source.name == "photos"
    assert source.parts == [FilePart("a", 3), FilePart("b", 0), FilePart("z", 0), FilePart("sub/c", 4)]
    for first in range(7):
        for end in range(first, 8):
            assert source.read(first, end - first) == b"abcdefg"[first:end]
    source.check()
    same = Source(str(folder))
    assert (source.id("bob", 0), source.id("bob", 1) != source.id("bob", 0)) == (same.id("bob", 0), True)
    (folder / "a").write_text("x")
    with pytest.raises(Refused) as changed:
        source.check()
    assert changed.value.code == "file-conflict"
    assert Source(str(folder)).id("bob", 0) != same.id("bob", 0)
    source.close()


@pytest.mark.parametrize("path", ["nothing", "empty", "/dev/null", "a\0b"])
def test_what_cannot_be_sent_is_refused(tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(Refused):
        Source(path)


# What is written


@pytest.mark.parametrize("name", ["../../evil", "/etc/passwd", "C:\\x", "a\0b", "x" * 300, ".", "", "..", "con"])
def test_nothing_is_written_outside_the_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "in" / "downloads"
    target = Target(folder, info(name, 3), 0)
    target.append(memoryview(b"abc"))
    path = target.keep()
    assert path.parent == folder
    parts = [FilePart(f"../{name}/../../x", 1), FilePart(f"{name}/y", 2), FilePart("y", 0), FilePart("Y/y", 0)]
    target = Target(folder, info(name, 3, parts), 0)
    target.append(memoryview(b"abc"))
    assert target.keep().parent == folder
    assert {file.name for file in tmp_path.iterdir()} == {"in"}
    assert {file.name for file in (tmp_path / "in").iterdir()} == {"downloads"}
    assert len(list(folder.iterdir())) == 2


def test_nothing_is_written_over(tmp_path: Path) -> None:
    for number in range(3):
        target = Target(tmp_path, info("a.txt", 1), 0)
        target.append(memoryview(b"%d" % number))
        target.keep()
    assert everything(tmp_path) == {"a.txt": b"0", "a (1).txt": b"1", "a (2).txt": b"2"}
    for number in range(2):
        target = Target(tmp_path, info("d", 2, [FilePart("x:y", 1), FilePart("x?y", 1)]), 0)
        target.append(memoryview(b"%d!" % number))
        target.keep()
    assert everything(tmp_path / "d") == {"x_y": b"0", "x_y (1)": b"!"}
    assert everything(tmp_path / "d (1)") == {"x_y": b"1", "x_y (1)": b"!"}


def test_a_part_goes_on_where_it_was(tmp_path: Path) -> None:
    target = Target(tmp_path, info("a", 6), 0)
    target.append(memoryview(b"abc"))
    with pytest.raises(Refused) as refused:
        Target(tmp_path, info("a", 6), 0)
    assert refused.value.code == "file-conflict"  # one at a time
    target.close()
    assert everything(tmp_path) == {"a.abcd2345.part": b"abc"}
    target = Target(tmp_path, info("a", 6), 0)
    assert target.have == 3
    target.append(memoryview(b"def"))
    assert target.digest() == hashlib.sha256(b"abcdef").hexdigest()
    target.write(memoryview(b"X"), 2)
    assert target.digest(anew=True) == hashlib.sha256(b"abXdef").hexdigest()
    assert target.sum(1, 2) == hashlib.sha256(b"bX").hexdigest()
    target.keep()
    assert everything(tmp_path) == {"a": b"abXdef"}


def test_what_is_too_large_is_refused_before_a_byte_is_taken(tmp_path: Path) -> None:
    with pytest.raises(Refused) as refused:
        Target(tmp_path, info("a", 101), 100)
    assert refused.value.code == "too-large"
    with pytest.raises(Refused) as refused:
        Target(tmp_path, info("a", 2**52), 0)
    assert refused.value.code == "not-stored"
    with pytest.raises(Refused):
        Target(Path("/proc/nowhere"), info("a", 1), 0)


def test_a_link_in_the_place_of_a_part_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a.abcd2345.part").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Refused):
        Target(tmp_path, info("a", 1), 0)
    assert not (tmp_path / "elsewhere").exists()


# How far it is


def test_progress_is_a_line() -> None:
    progress = Progress("get", "photo.jpg")
    progress.begin(4_000_000, 1_000_000, 10.0)
    assert progress.line() == "get photo.jpg [#####---------------]  25 %  1.0 MB of 4.0 MB"
    progress.done = 2_000_000
    progress.mark(12.0)
    assert progress.line().endswith(" 50 %  2.0 MB of 4.0 MB  500 kB/s  0:04 left")
    progress.note = "waiting"
    assert progress.line() == "get photo.jpg: waiting"
    assert [time_words(seconds) for seconds in (0, 61, 3_599.7, 36_000, 1e9)] == [
        "0:00", "1:01", "1:00:00", "10:00:00", "a long time",
    ]  # fmt: skip


# Against a server


@pytest.fixture
def carry(server: Server) -> Iterator[Carry]:
    """A further line of somebody: `carry(connection)`."""
    made: list[JsonCarrier] = []

    def make(client: Json) -> JsonCarrier:
        made.append(JsonCarrier(*endpoint(server.address), client.welcome.name, client.welcome.token))
        return made[-1]

    yield make
    for carrier in made:
        carrier.close()


def sending(path: Path, to: str = "bob") -> Sending:
    """A transfer."""
    return Sending(SendFile(to=to, path=str(path)), lambda: None)


def fetching(file: str, folder: Path, ask: Callable[[str], bool] = lambda _: True, largest: int = 0) -> Fetching:
    """Another one."""
    return Fetching(GetFile(file=file), folder, largest, ask, lambda: None)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A file to send."""
    path = tmp_path / "photo.jpg"
    path.write_bytes(DATA)
    return path


def test_a_file_comes_as_it_was(server: Server, connect: Connect, carry: Carry, photo: Path, tmp_path: Path) -> None:
    """With the receipt; and sent once more, nothing is sent."""
    alice, bob = connect(server.address, "alice"), connect(server.address, "bob")
    transfer = sending(photo)
    assert transfer.run(carry(alice)) == f"photo.jpg (3.0 MB) is sent to bob: {transfer.file} (by the server)"
    assert sending(photo).run(carry(alice)) == f"photo.jpg (3.0 MB) was there already: {transfer.file}"
    fetch = fetching(transfer.file, tmp_path / "in")
    assert fetch.run(carry(bob)).startswith("photo.jpg (3.0 MB) is here: ")
    assert everything(tmp_path / "in") == {"photo.jpg": DATA}
    assert fetch.progress.done == len(DATA)
    assert alice.expect(Fetched).user == "bob"
    alice.request(Cancel(file=transfer.file))
    again = sending(photo)
    again.run(carry(alice))
    assert again.file != transfer.file


def test_a_receipt_that_is_lost_is_given_again(
    server: Server, connect: Connect, carry: Carry, photo: Path, tmp_path: Path
) -> None:
    """The file is there once."""
    alice = connect(server.address, "alice")
    transfer = sending(photo, "alice")
    transfer.run(carry(alice))
    carrier, fetch = carry(alice), fetching(transfer.file, tmp_path / "in")

    def lost(file: str, sha256: str = "") -> None:
        raise LineLostError("in that moment")

    carrier.taken = lost  # type: ignore[method-assign]
    with pytest.raises(LineLostError):
        fetch.run(carrier)
    assert fetch.run(carry(alice)).startswith("photo.jpg (3.0 MB) is here: ")
    assert everything(tmp_path / "in") == {"photo.jpg": DATA}


def test_a_folder_comes_as_it_was(server: Server, connect: Connect, carry: Carry, tmp_path: Path) -> None:
    """To all of a channel."""
    alice, bob = connect(server.address, "alice"), connect(server.address, "bob")
    for client in (alice, bob):
        client.request(Join("lab"))
    folder = tmp_path / "things"
    (folder / "deep" / "er").mkdir(parents=True)
    for name, data in {"a": b"x" * 10, "deep/b": b"", "deep/er/c": DATA}.items():
        (folder / name).write_bytes(data)
    transfer = sending(folder, "#lab")
    transfer.run(carry(alice))
    fetching(transfer.file, tmp_path / "in").run(carry(bob))
    assert everything(tmp_path / "in" / "things") == everything(folder)
    with pytest.raises(Refused) as refused:
        sending(folder, "#den").run(carry(alice))
    assert refused.value.code == "no-such-channel"


def test_a_fetch_that_follows(server: Server, connect: Connect, carry: Carry, photo: Path, tmp_path: Path) -> None:
    """It begins while nothing is there, and ends with the upload."""
    alice, bob = connect(server.address, "alice"), connect(server.address, "bob")
    carrier, offered, waiting = carry(alice), threading.Event(), threading.Event()
    transfer = sending(photo)

    def slow_offer(request: Any, offer: Any = carrier.offer) -> Any:
        answer = offer(request)
        transfer.file = answer.file
        offered.set()
        waiting.wait(10)
        return answer

    carrier.offer = slow_offer  # type: ignore[assignment,method-assign]
    sender = threading.Thread(target=transfer.run, args=(carrier,))
    sender.start()
    assert offered.wait(10)
    fetch = fetching(transfer.file, tmp_path / "in")
    wait = fetch._wait

    def waits(note: str) -> None:
        wait(note)
        waiting.set()

    fetch._wait = waits  # type: ignore[method-assign]
    fetch.run(carry(bob))
    sender.join()
    assert everything(tmp_path / "in") == {"photo.jpg": DATA}


def test_a_cut_line_costs_nothing(server: Server, connect: Connect, carry: Carry, photo: Path, tmp_path: Path) -> None:
    """Both sides go on where they were; with `no`, the receiver begins anew."""
    alice, bob = connect(server.address, "alice"), connect(server.address, "bob")
    transfer, carrier = sending(photo), carry(alice)
    puts: list[int] = []

    def cut(file: str, offset: int, data: Any, put: Any = carrier.put) -> None:
        if offset > 0:
            carrier.settle()
            carrier.close()
        put(file, offset, data)

    carrier.put = cut  # type: ignore[method-assign]
    with pytest.raises(LineLostError):
        transfer.run(carrier)
    carrier = carry(alice)

    def note(file: str, offset: int, data: Any, put: Any = carrier.put) -> None:
        puts.append(offset)
        put(file, offset, data)

    carrier.put = note  # type: ignore[method-assign]
    transfer.run(carrier)
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
        (folder / f"photo.jpg.{transfer.file}.part").write_bytes(DATA[:1_000_000])
        carrier, fetched = carry(bob), list[int]()

        def fetch(file: str, first: int, end: int, real: Any = carrier.fetch, to: list[int] = fetched) -> Any:
            to.append(first)
            return real(file, first, end)

        carrier.fetch = fetch  # type: ignore[method-assign]
        fetching(transfer.file, folder, say(answer)).run(carrier)
        assert fetched == [sure]
        assert everything(folder) == {"photo.jpg": DATA}
    assert asked == ["Resume photo.jpg (33 %)?"] * 2


def test_damage_is_mended(server: Server, connect: Connect, carry: Carry, photo: Path, tmp_path: Path) -> None:
    """On the way up and on the way down; what cannot be mended stays a part."""
    alice, bob = connect(server.address, "alice"), connect(server.address, "bob")
    carrier, damaged = carry(alice), list[int]()

    def damage(file: str, offset: int, data: Any, put: Any = carrier.put) -> None:
        if not damaged:
            damaged.append(offset)
            data = memoryview(bytes([data[0] ^ 1]) + bytes(data[1:]))
        put(file, offset, data)

    carrier.put = damage  # type: ignore[method-assign]
    transfer = sending(photo)
    transfer.run(carrier)
    (tmp_path / "in").mkdir()
    part = tmp_path / "in" / f"photo.jpg.{transfer.file}.part"
    part.write_bytes(b"wrong" + DATA[5:1_000_000])
    fetching(transfer.file, tmp_path / "in").run(carry(bob))
    assert everything(tmp_path / "in") == {"photo.jpg": DATA}
    part.write_bytes(b"wrong")
    carrier = carry(bob)
    carrier.sum = lambda file, first, length: hashlib.sha256(part.read_bytes()[:length]).hexdigest()  # type: ignore[method-assign]
    with pytest.raises(Refused) as refused:
        fetching(transfer.file, tmp_path / "in").run(carrier)
    assert refused.value.code == "checksum-mismatch"
    assert part.exists()
    assert set(everything(tmp_path / "in")) == {"photo.jpg", part.name}


def test_a_stopped_transfer_leaves_its_part(
    server: Server, connect: Connect, carry: Carry, photo: Path, tmp_path: Path
) -> None:
    """And one that is refused leaves nothing."""
    alice = connect(server.address, "alice")
    transfer = sending(photo)
    transfer.run(carry(alice))
    fetch = fetching(transfer.file, tmp_path / "in")
    fetch.stop()
    with pytest.raises(Stopped):
        fetch.run(carry(alice))
    fetch.close()
    assert list(everything(tmp_path / "in")) == [f"photo.jpg.{transfer.file}.part"]
    with pytest.raises(Refused):
        fetching(transfer.file, tmp_path / "other", largest=10).run(carry(alice))
    with pytest.raises(Refused):
        fetching("zzzzzzzz", tmp_path / "other").run(carry(alice))
    assert not (tmp_path / "other").exists()


def test_a_small_chunk_is_enough(start_server: StartServer, connect: Connect, photo: Path, tmp_path: Path) -> None:
    """A server that gives less than was asked for is asked again."""
    server = start_server(limits=Limits(chunk=50_000))
    alice = connect(server.address, "alice")
    carrier = JsonCarrier(*endpoint(server.address), "alice", alice.welcome.token)
    transfer = sending(photo)
    transfer.run(carrier)
    fetching(transfer.file, tmp_path / "in").run(carrier)
    assert everything(tmp_path / "in") == {"photo.jpg": DATA}
    carrier.close()


# Processes


class Client:
    """`client.py` as a filter, in a process of its own."""

    def __init__(self, address: str, name: str, *lines: str, folder: Path | None = None) -> None:
        command = [sys.executable, str(ROOT / "client.py"), address, "--name", name, "--wait", "120"]
        if folder is not None:
            command += ["--downloads", str(folder)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdin is not None
        self.process.stdin.write("".join(f"{line}\n" for line in lines))
        self.process.stdin.close()
        self.process.stdin = None

    def end(self) -> tuple[int, str, str]:
        """Its exit status, and what it said."""
        out, err = self.process.communicate(timeout=180)
        return self.process.returncode, out, err

    def kill(self) -> None:
        """`kill -9`."""
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()


def test_two_clients_and_a_server_that_is_killed(start_process: StartProcess, connect: Connect, tmp_path: Path) -> None:
    """Amid the way up, and amid the way down: it goes on by itself, and is right."""
    data = os.urandom(48 << 20)
    (tmp_path / "big").write_bytes(data)
    process = start_process()
    watcher = connect(process.address, "bob")
    alice = Client(process.address, "alice", f"/send bob {tmp_path / 'big'}")
    file = entry_file(watcher)
    watcher.request(Have(file=file, watch=True))
    process.restart()
    code, _, err = alice.end()
    assert (code, "is sent to bob" in err) == (0, True), err
    bob = Client(process.address, "bob", f"/get {file}", folder=tmp_path / "in")
    wait_for_part(tmp_path / "in", process)
    process.restart()
    code, _, err = bob.end()
    assert (code, "is here: " in err) == (0, True), err
    assert everything(tmp_path / "in") == {"big": data}
    assert Client(process.address, "bob", f"/get {file}x").end()[0] == 1


@pytest.mark.parametrize("way", ["mqtt", "socket"])
def test_by_mqtt_a_file_is_sent_and_fetched_alike(
    start_process: StartProcess, connect: Connect, tmp_path: Path, way: str
) -> None:
    """Over the one line that there is, also when the server is killed meanwhile; and to the other kind of line."""
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
    assert (code, err.count("is sent to #lab")) == (0, 2), err
    lines = ("/join lab", f"/get {first}", f"/get {second}")
    bob = Client(mqtt if way == "mqtt" else process.address, "bob", *lines, folder=tmp_path / "in")
    code, _, err = bob.end()
    assert (code, err.count("is here: ")) == (0, 2), err
    assert everything(tmp_path / "in") == {"big": data, "folder/a": b"abc"}


def entry_file(client: Json) -> str:
    """The file of the next offer."""
    file = client.expect(Entry).file
    assert file is not None
    return file


def wait_for_part(folder: Path, process: Process) -> None:
    """Until something has come: asking the server is what takes the time."""
    line = Json(process.address, "waiter")
    while not list(folder.glob("*.part")) and not (folder / "big").exists():
        line.request(Join("waiting"))
    line.close()
