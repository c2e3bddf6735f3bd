"""Stored files: their expiry, a full disk, a store that fails, and kill -9."""

from __future__ import annotations

import os
import queue
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from channels.files.expiry import Expiry
from server import Config, Server
from store import Blobs, StoreError
from tests.support.clients import Json
from tests.support.files import DATA, SHA, fetch, fill, kept, offer, put, refused
from tests.support.fixtures import StartProcess, StartServer
from tests.support.stores import WatchedStore
from tests.support.waiting import DEADLINE, eventually
from wire.clock import now
from wire.frames import Attach, Error, Files, Finish, Finished, Get, Have, Kept, More, Offer, Offered, Put, Ranges
from wire.limits import Limits

Connect = Callable[..., Json]


def test_files_end(
    start_server: StartServer, connect: Connect, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An expired file cannot be fetched, and the next start removes it."""
    now = [1_790_000_000_000]
    monkeypatch.setattr("channels.files.registry.now", lambda: now[0])
    server = Server(Config(port=0, mqtt_port=0, data=str(tmp_path / "data"), limits=Limits(file_days=2)))
    alice = connect(server.address, "alice")
    file = offer(alice)
    fill(alice, file)
    now[0] += 2 * 86_400_000 - 1
    assert fetch(alice, file) == DATA
    now[0] += 1
    other = connect(server.address)
    other.request(Attach(name="alice", token=alice.welcome.token))
    assert refused(other, Have(file=file)) == "gone"
    assert alice.request(Files()).files == []
    alice.close()
    server.close()
    (tmp_path / "data" / "files" / "parts" / "left").write_bytes(b"x")  # as after a crash
    start_server()
    assert kept(tmp_path / "data") == []


def test_a_full_disk(server: Server, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """The upload is refused with one error, records no range without bytes, and goes on when the disk has room."""
    alice = connect(server.address, "alice")
    file = offer(alice)

    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("store.blobs.os.pwrite", full)
        assert refused(alice, Put(file=file, offset=0, payload=DATA)) == "not-stored"
    assert alice.request(Have(file=file)).have == []
    fill(alice, file)


def test_files_leave_room_on_the_disk_for_messages(
    server: Server, connect: Connect, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On a full disk the server could store no message, take back no file, and not start."""
    alice = connect(server.address, "alice")
    file = offer(alice)
    put(alice, file, 0, 1_000)
    with monkeypatch.context() as patch:
        patch.setattr("store.blobs.SPARE", 1 << 60)
        assert refused(alice, Put(file=file, offset=1_000, payload=DATA[1_000:])) == "not-stored"
        assert alice.request(Have(file=file)).have == [[0, 1_000]]
        assert sorted(path.stat().st_size for path in kept(tmp_path / "data")) == [16, 1_000]  # a range, and its bytes
    fill(alice, file)


def test_a_disk_or_a_store_that_fails_records_nothing(
    server: Server, connect: Connect, stores: list[WatchedStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The part may have the bytes, but no range says so."""
    alice = connect(server.address, "alice")
    file = offer(alice)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Blobs, "record_range", full)
        assert refused(alice, Put(file=file, offset=0, payload=DATA)) == "not-stored"
    assert alice.request(Have(file=file)).have == []
    put(alice, file, 0, len(DATA))

    def fail(method: str) -> None:
        if method == "finish_file":
            raise StoreError("the disk is full")

    stores[0].before = fail
    assert refused(alice, Finish(file=file, sha256=SHA)) == "not-stored"
    stores[0].before = None
    assert isinstance(alice.request(Finish(file=file, sha256=SHA)), Finished)


def test_small_puts_write_as_much_as_they_bring(
    server: Server, connect: Connect, stores: list[WatchedStore], tmp_path: Path
) -> None:
    """3,500 puts of one byte wrote 155 MB: the list of all ranges for each."""
    told: list[str] = []
    stores[0].before = told.append
    alice = connect(server.address, "alice")
    file = offer(alice, 1 << 20)
    for at in range(2_000):
        put(alice, file, at, at + 1, DATA)
    assert "keep_ranges" not in told
    assert (tmp_path / "data" / "files" / "parts" / f"{file}.ranges").stat().st_size == 2_000 * 16
    for at in range(Limits().ranges - 1):
        put(alice, file, 3_000 + 2 * at, 3_001 + 2 * at, DATA)
    answer = alice.request(Put(file=file, offset=250_000, payload=b"x"))
    assert isinstance(answer, Error)
    assert answer.error == "The upload has 1024 ranges with gaps between them. Fill some of the gaps first."
    put(alice, file, 2_000, 2_001, DATA)
    alice.close()
    ranges = tmp_path / "data" / "files" / "parts" / f"{file}.ranges"
    eventually(lambda: not ranges.exists(), lambda: "the store does not know the ranges")
    assert told.count("keep_ranges") == 1
    assert len(connect(server.address, "alice").request(Have(file=file)).have) == Limits().ranges


def test_after_kill_9_it_goes_on(start_process: StartProcess, connect: Connect) -> None:
    """Acknowledged bytes, offers and finished files are kept. An offer that is made again is the same one."""
    process = start_process()
    alice = connect(process.address, "alice")
    whole, half = offer(alice), offer(alice, id="h")
    fill(alice, whole)
    put(alice, half, 100_000, 200_000)
    process.restart()
    alice, bob = connect(process.address, "alice"), connect(process.address, "bob")
    assert fetch(bob, whole) == DATA
    assert alice.request(Offer(name="x.bin", size=len(DATA), user="bob", id="h")).have == [[100_000, 200_000]]
    assert bob.request(Get(file=half, offset=100_000, length=9)).payload == DATA[100_000:100_009]
    put(alice, half, 0, 100_000)
    put(alice, half, 200_000, len(DATA))
    assert isinstance(alice.request(Finish(file=half, sha256=SHA)), Finished)
    process.restart()
    assert fetch(connect(process.address, "bob"), half) == DATA


def test_killed_amid_the_transfer_what_is_recorded_is_right(start_process: StartProcess, connect: Connect) -> None:
    """After each kill -9 while chunks are under way, the ranges of `have` hold the bytes that were sent."""
    process = start_process()
    data, chance = os.urandom(4 << 20), random.Random(7)
    piece = 1 << 16
    for _ in range(4):
        alice = connect(process.address, "alice")
        state = alice.request(Offer(name="r", size=len(data), user="bob", id="r"))
        for first, end in state.have:
            for at in range(first, end, 1 << 18):
                length = min(1 << 18, end - at)
                assert alice.request(Get(file=state.file, offset=at, length=length)).payload == data[at : at + length]
        spans = list(range(0, len(data), piece))
        chance.shuffle(spans)
        alice.send(*[Put(file=state.file, offset=at, payload=data[at : at + piece], ref=f"p{at}") for at in spans[:30]])
        alice.expect(Kept)
        alice.expect(Kept)
        process.restart()
    alice = connect(process.address, "alice")
    fill(alice, state.file, data)
    assert fetch(connect(process.address, "bob"), state.file) == data


def test_files_expire_while_the_server_runs(
    start_server: StartServer, connect: Connect, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A connection that has one open is told."""
    clock = [now()]
    monkeypatch.setattr("channels.files.registry.now", lambda: clock[0])
    monkeypatch.setattr("channels.files.expiry.now", lambda: clock[0])
    server = start_server(limits=Limits(file_days=2))
    alice, bob = connect(server.address, "alice"), connect(server.address, "bob")
    whole = offer(alice)
    fill(alice, whole)
    clock[0] += 1
    part = offer(alice)
    put(alice, part, 0, 1000)
    bob.request(Have(file=part, watch=True))
    clock[0] += 2 * 86_400_000
    new = offer(alice)
    assert bob.expect(More).file == part
    assert {refused(bob, Have(file=file)) for file in (part, whole)} == {"gone"}
    eventually(lambda: not kept(tmp_path / "data"), lambda: repr(kept(tmp_path / "data")))  # one after the other
    assert isinstance(bob.request(Have(file=new)), Ranges)


def test_expiry_waits_until_the_next_is_due() -> None:
    """It looks when it is made, when that time has come, when an earlier one is due, and again after a failure."""
    looks: queue.SimpleQueue[None] = queue.SimpleQueue()
    answers: list[int | Exception | None] = [None, None, now() + 50, RuntimeError("no disk"), now() + 10**15, None]
    left = iter(answers)

    def sweep() -> int | None:
        looks.put(None)
        answer = next(left)
        if isinstance(answer, Exception):
            raise answer
        return answer

    expiry = Expiry(sweep)
    looks.get(timeout=DEADLINE)
    looks.get(timeout=DEADLINE)  # the thread's own
    expiry.due(now() + 10**15)  # nothing was: it looks, is told of the next, and looks when that has come
    looks.get(timeout=DEADLINE)
    looks.get(timeout=DEADLINE)
    expiry.due(now())  # that failed, and is tried again in a minute; this is sooner
    looks.get(timeout=DEADLINE)
    expiry.due(now() + 1)
    looks.get(timeout=DEADLINE)
    expiry.close()
    assert list(left) == []


def test_a_part_that_has_lost_its_end(start_server: StartServer, connect: Connect, tmp_path: Path) -> None:
    """After a loss of power, only the bytes that are missing are sent again."""
    server = Server(Config(port=0, mqtt_port=0, data=str(tmp_path / "data")))
    alice = connect(server.address, "alice")
    file = offer(alice, id="mine")
    put(alice, file, 0, len(DATA))
    alice.close()
    server.close()
    os.truncate(tmp_path / "data" / "files" / "parts" / file, 1000)
    alice = connect(start_server().address, "alice")
    state = alice.request(Offer(name="x.bin", size=len(DATA), user="bob", id="mine"))
    assert isinstance(state, Offered), state
    assert state.have == alice.request(Have(file=file)).have == [[0, 1000]]
    fill(alice, file)
    assert fetch(alice, file) == DATA
