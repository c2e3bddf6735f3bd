"""Files between several `server.py` on one PostgreSQL, while the one that writes a file is killed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from socket import gethostname

import pytest

from tests.support.clients import Json
from tests.support.files.exchange import refused
from tests.support.files.proxy import FileProxy, Gate
from tests.support.postgres import shared_cluster
from tests.support.processes import Process
from tests.support.processes.clients import Client
from tests.support.waiting import eventually
from wire.frames import Cancel, Cancelled, Entry, Error, Files, Finish, Finished, Get, Have, Kept, Offer, Put, Ranges

SIZE = 24 << 20
Start = Callable[[int], list[Process]]
Connect = Callable[..., Json]


@pytest.fixture(params=["shared", "separate"])
def folders(request: pytest.FixtureRequest) -> str:
    """Return which data folders the servers have: one for all, or one each."""
    return str(request.param)


@pytest.fixture
def start(folders: str, tmp_path: Path) -> Iterator[Start]:
    """Start so many servers on one database; killed afterwards."""
    cluster = shared_cluster()
    name = cluster.new_database()
    started: list[Process] = []
    where = ["--data", str(tmp_path / "shared")] if folders == "shared" else []

    def make(count: int) -> list[Process]:
        options = ["--database", cluster.socket_url(name), *where]
        started.extend(Process(tmp_path / f"server{at}", *options) for at in range(count))
        up = "SELECT now() - pg_postmaster_start_time() > interval '5 seconds'"  # before, nobody is taken for dead
        eventually(lambda: bool(cluster.sql(up)[0][0]), lambda: "PostgreSQL has just started")
        return started

    yield make
    for process in started:
        process.kill()
    assert not [process.log for process in started if "Traceback" in process.log]
    cluster.drop_database(name)


@pytest.fixture
def data(tmp_path: Path) -> bytes:
    """Return what is in the file `big` of the test's folder."""
    made = os.urandom(SIZE)
    (tmp_path / "big").write_bytes(made)
    return made


def received(folder: Path) -> list[tuple[str, bytes]]:
    """Return what a client has downloaded."""
    return [(path.name, path.read_bytes()) for path in folder.iterdir()]


def test_a_transfer_goes_on_after_its_server_was_killed(
    start: Start, connect: Connect, folders: str, data: bytes, tmp_path: Path
) -> None:
    """The file is uploaded at one server, and fetched at another one meanwhile; the first is killed in the middle.

    With one folder, the sender's client goes on at another server; else it waits until the first one is back.
    """
    one, other, third = start(3)
    with FileProxy(one.address, gate=Gate(up=True)) as proxy:
        assert proxy.gate is not None
        watcher = connect(third.address, "bob")
        sender = Client(f"{proxy.address},{other.address}", "alice", f"/send bob {tmp_path / 'big'}")
        file = watcher.expect(Entry).file
        assert file is not None
        watcher.close()
        follower = Client(third.address, "bob", f"/get {file}", folder=tmp_path / "early")
        proxy.gate.allow(SIZE // 2)
        proxy.gate.wait_until_shut()
        one.kill()
        proxy.cut()
        if folders == "separate":
            one.start()
        proxy.gate.allow(1 << 40)
        for client, said in ((sender, "Sent "), (follower, "Received ")):
            status, _, err = client.end()
            assert status == 0, err
            assert said in err
    assert received(tmp_path / "early") == [("big", data)]
    late = Client(other.address, "bob", f"/get {file}", folder=tmp_path / "late")
    assert late.end()[0] == 0
    assert received(tmp_path / "late") == [("big", data)]


def test_a_download_goes_on_after_the_server_with_the_bytes_was_killed(
    start: Start, connect: Connect, folders: str, data: bytes, tmp_path: Path
) -> None:
    """The receiver's own server lives. With one folder, it has the bytes itself."""
    one, other = start(2)
    sender = Client(one.address, "alice", f"/send @bob {tmp_path / 'big'}")  # who has never been there
    assert sender.end()[0] == 0
    bob = connect(other.address, "bob")
    [info] = bob.request(Files()).files
    bob.close()
    with FileProxy(other.address, gate=Gate(up=False)) as proxy:
        assert proxy.gate is not None
        receiver = Client(proxy.address, "bob", f"/get {info.file}", folder=tmp_path / "in")
        proxy.gate.allow(SIZE // 2)
        proxy.gate.wait_until_shut()
        before = len(proxy.taps)
        one.kill()
        proxy.gate.allow(1 << 40)
        if folders == "separate":
            eventually(lambda: len(proxy.taps) > before, lambda: "the client has not tried again")
            one.start()
        status, _, err = receiver.end()
        assert status == 0, err
        assert err.count(" The client tries again.") == (folders == "separate")
    assert received(tmp_path / "in") == [("big", data)]
    assert all(tap.down <= SIZE for tap in proxy.taps)
    assert sum(tap.down for tap in proxy.taps) < SIZE + (4 << 20), "it goes on where it was"


def test_the_bytes_of_a_killed_server_are_there_when_it_is_back(start: Start, connect: Connect, folders: str) -> None:
    """Or at once at another one that has the same folder."""
    one, other = start(2)
    alice, bob = connect(one.address, "alice"), connect(other.address, "bob")
    done, begun = [alice.request(Offer(name=name, size=10, user="bob")).file for name in ("done.bin", "begun.bin")]
    assert isinstance(alice.request(Put(file=done, offset=0, payload=b"0123456789")), Kept)
    assert isinstance(alice.request(Finish(file=done)), Finished)
    assert isinstance(alice.request(Put(file=begun, offset=3, payload=b"345")), Kept)
    assert bob.request(Get(file=begun, offset=3, length=7)).payload == b"345"
    one.kill()
    if folders == "separate":
        for file, name in ((done, "done.bin"), (begun, "begun.bin")):
            answer = bob.request(Have(file=file))
            assert isinstance(answer, Error)
            assert answer.code == "file-away"
            where = f"{gethostname()}:{one.address.partition(':')[2]}"
            sentence = f"The bytes of {name} are at the server {where}, which is not running."
            eventually(
                lambda: bob.request(Have(file=file)).error == sentence,  # noqa: B023
                lambda: repr(bob.request(Have(file=file))),  # noqa: B023
            )
        assert sorted(info.have for info in bob.request(Files()).files) == [3, 10]
        one.start()
    for file, have, whole in ((done, [[0, 10]], True), (begun, [[3, 6]], False)):
        eventually(lambda: isinstance(bob.request(Have(file=file)), Ranges), lambda: repr(bob.inbox))  # noqa: B023
        there = bob.request(Have(file=file))
        assert (there.have, there.done) == (have, whole)
    again = connect(other.address, "alice")
    assert isinstance(again.request(Put(file=begun, offset=0, payload=b"0123456789")), Kept)
    assert isinstance(again.request(Finish(file=begun)), Finished)
    for file in (done, begun):
        assert bob.request(Get(file=file, offset=0, length=10)).payload == b"0123456789"


def test_a_file_without_a_byte_goes_on_at_another_server(start: Start, connect: Connect) -> None:
    one, other = start(2)
    alice = connect(one.address, "alice")
    file = alice.request(Offer(name="x.bin", size=3, user="bob", id="mine")).file
    one.kill()
    again = connect(other.address, "alice")
    eventually(
        lambda: isinstance(again.request(Put(file=file, offset=0, payload=b"abc")), Kept), lambda: repr(again.received)
    )
    assert again.request(Offer(name="x.bin", size=3, user="bob", id="mine")).have == [[0, 3]]
    assert isinstance(again.request(Finish(file=file)), Finished)
    one.start()
    assert connect(one.address, "bob").request(Get(file=file, offset=0, length=3)).payload == b"abc"


def test_an_offer_of_a_killed_server_is_taken_back_and_made_anew(
    start: Start, connect: Connect, tmp_path: Path
) -> None:
    """No byte of the first upload gets into the second one."""
    one, other = start(2)
    alice = connect(one.address, "alice")
    file = alice.request(Offer(name="x.bin", size=10, user="bob", id="first")).file
    assert isinstance(alice.request(Put(file=file, offset=0, payload=b"old")), Kept)
    one.kill()
    again = connect(other.address, "alice")
    eventually(lambda: isinstance(again.request(Cancel(file=file)), Cancelled), lambda: repr(again.received))
    assert refused(again, Have(file=file)) == "gone"
    second = again.request(Offer(name="x.bin", size=10, user="bob", id="second"))
    assert second.have == []
    assert isinstance(again.request(Put(file=second.file, offset=0, payload=b"newcontent")), Kept)
    assert isinstance(again.request(Finish(file=second.file)), Finished)
    one.start()
    bob = connect(one.address, "bob")
    assert bob.request(Get(file=second.file, offset=0, length=10)).payload == b"newcontent"
    assert refused(bob, Have(file=file)) == "gone"
    assert not list(tmp_path.rglob(f"parts/{file}*"))
