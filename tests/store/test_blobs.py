"""The bytes of files: a part becomes a blob, with and without hard links; a sweep removes what a crash has left."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from pathlib import Path

import pytest

from store.blobs import Blobs
from tests.support.waiting import ended, eventually

SHA = "ab" + "0" * 62
DATA = b"the content" * 1_000


@pytest.fixture(params=[False, True], ids=["process", "power"])
def blobs(tmp_path: Path, request: pytest.FixtureRequest) -> Blobs:
    """The bytes of files in the test's folder, with one part, `id`."""
    made = Blobs(tmp_path, synced=request.param)
    descriptor = made.open_part("id")
    os.write(descriptor, DATA)
    os.close(descriptor)
    return made


def files(folder: Path) -> dict[str, bytes]:
    """Return the content of every file in a folder, by its path."""
    return {str(each.relative_to(folder)): each.read_bytes() for each in folder.rglob("*") if each.is_file()}


def without_links(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """Let os.link fail with that error."""

    def link(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("store.blobs.os.link", link)


@pytest.mark.parametrize("code", [0, errno.EPERM, errno.EOPNOTSUPP])
def test_a_part_becomes_a_blob_once(blobs: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """The part stays for its readers."""
    if code:
        without_links(monkeypatch, code)
    for _ in range(2):
        blobs.keep("id", SHA)
        assert files(tmp_path) == {"parts/id": DATA, f"blobs/ab/{SHA}": DATA}
    blobs.drop_part("id")
    descriptor = blobs.read_blob(SHA)
    assert os.read(descriptor, len(DATA) + 1) == DATA
    os.close(descriptor)


def test_the_pieces_of_a_part_are_written_at_their_offsets(
    blobs: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that the system cuts short goes on; with durability `power`, the part is synced once."""
    synced: list[int] = []
    pwrite = os.pwrite
    monkeypatch.setattr("store.blobs.os.pwrite", lambda to, data, offset: pwrite(to, data[:2], offset))
    monkeypatch.setattr("store.blobs.os.fdatasync", synced.append)
    descriptor = blobs.open_part("new")
    blobs.write_part(descriptor, [(0, memoryview(b"abcde")), (8, memoryview(b"xyz"))])
    os.close(descriptor)
    assert blobs.part_size("new") == 11
    assert (tmp_path / "parts" / "new").read_bytes() == b"abcde\0\0\0xyz"
    assert synced == ([descriptor] if blobs._synced else [])


def test_a_part_needs_room_on_the_disk(blobs: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that would leave less than SPARE bytes writes nothing; a file system that reports no size has room."""
    facts = os.statvfs(tmp_path)
    free = facts.f_bavail * facts.f_frsize
    descriptor = blobs.open_part("new")
    monkeypatch.setattr("store.blobs.os.statvfs", lambda _: facts)
    monkeypatch.setattr("store.blobs.SPARE", free - 2)
    blobs.write_part(descriptor, [(0, memoryview(b"ab"))])
    with pytest.raises(OSError, match="No space"):
        blobs.write_part(descriptor, [(0, memoryview(b"xy")), (2, memoryview(b"z"))])
    assert (tmp_path / "parts" / "new").read_bytes() == b"ab"
    no_size = os.statvfs_result((4096, 4096, 0, 0, 0, 0, 0, 0, 0, 255))
    monkeypatch.setattr("store.blobs.os.statvfs", lambda _: no_size)
    blobs.write_part(descriptor, [(0, memoryview(b"xyz"))])
    os.close(descriptor)


def test_a_part_can_be_opened_again_and_read(blobs: Blobs) -> None:
    """It keeps its bytes; a part that does not exist has length 0 and cannot be read."""
    os.close(blobs.open_part("id"))
    assert blobs.part_size("id") == len(DATA)
    descriptor = blobs.read_part("id")
    assert os.read(descriptor, len(DATA) + 1) == DATA
    os.close(descriptor)
    assert blobs.part_size("unknown") == 0
    with pytest.raises(FileNotFoundError):
        blobs.read_part("unknown")
    with pytest.raises(FileNotFoundError):
        blobs.read_blob(SHA)


def test_a_dropped_blob_can_be_read_to_its_end(blobs: Blobs, tmp_path: Path) -> None:
    """By the descriptor that was opened before; dropping twice does nothing."""
    blobs.keep("id", SHA)
    descriptor = blobs.read_blob(SHA)
    for _ in range(2):
        blobs.drop_blob(SHA)
        blobs.drop_part("id")
    assert os.read(descriptor, len(DATA) + 1) == DATA
    os.close(descriptor)
    assert files(tmp_path) == {}


def test_a_copy_is_synced_before_it_is_renamed(blobs: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a loss of power could leave a blob without its content."""
    without_links(monkeypatch, errno.EPERM)
    synced: list[tuple[str, bool]] = []
    place = tmp_path / "blobs" / "ab" / SHA
    monkeypatch.setattr("store.blobs._sync", lambda path: synced.append((path.name, place.exists())))
    blobs.keep("id", SHA)
    if blobs._synced:
        assert synced == [(f"{SHA}.new", False), (SHA, True), ("ab", True), ("blobs", True)]
    else:
        assert synced == []


def test_a_blob_is_synced_with_its_folders(blobs: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With durability `power` only: a loss of power can lose a new folder with the blob in it."""
    synced: list[Path] = []
    monkeypatch.setattr("store.blobs._sync", synced.append)
    blobs.keep("id", SHA)
    folder = tmp_path / "blobs"
    assert synced == ([folder / "ab" / SHA, folder / "ab", folder] if blobs._synced else [])


def test_a_disk_that_is_full_during_the_copy(blobs: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_links(monkeypatch, errno.EPERM)

    def copy(_part: Path, copy: Path) -> None:
        copy.write_bytes(DATA[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("store.blobs.shutil.copyfile", copy)
    with pytest.raises(OSError, match="No space"):
        blobs.keep("id", SHA)
    assert files(tmp_path) == {"parts/id": DATA}


def test_a_copy_needs_room_on_the_disk(blobs: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_links(monkeypatch, errno.EPERM)
    monkeypatch.setattr("store.blobs.SPARE", 1 << 60)
    with pytest.raises(OSError, match="No space"):
        blobs.keep("id", SHA)
    assert files(tmp_path) == {"parts/id": DATA}


def test_another_error_of_the_link_is_raised(blobs: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_links(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        blobs.keep("id", SHA)
    assert files(tmp_path) == {"parts/id": DATA}


def test_a_sweep_removes_unknown_files(blobs: Blobs, tmp_path: Path) -> None:
    blobs.keep("id", SHA)
    (tmp_path / "blobs" / "ab" / f"{SHA}.new").write_bytes(b"half a copy, after a crash")
    (tmp_path / "parts" / "unknown").write_bytes(b"a part without a row")
    blobs.sweep(lambda: ({"id"}, {SHA}))
    assert files(tmp_path) == {"parts/id": DATA, f"blobs/ab/{SHA}": DATA}
    blobs.sweep(lambda: (set(), set()))
    assert files(tmp_path) == {}


def record(blobs: Blobs, *ranges: tuple[int, int]) -> None:
    descriptor = blobs.open_record("id")
    for first, end in ranges:
        blobs.record_range(descriptor, first, end)
    os.close(descriptor)


def test_the_ranges_of_a_part_are_recorded_beside_it(blobs: Blobs, tmp_path: Path) -> None:
    """A piece of a record, as a loss of power leaves it, is no range, and the next record replaces it."""
    assert blobs.recorded_ranges("id") == ()
    record(blobs, (10, 20))
    with (tmp_path / "parts" / "id.ranges").open("ab") as file:
        file.write(b"torn")
    assert blobs.recorded_ranges("id") == ((10, 20),)
    record(blobs, (0, 5), (20, 1 << 40))
    assert blobs.recorded_ranges("id") == ((0, 5), (10, 1 << 40))
    blobs.sweep(lambda: ({"id"}, set()))
    assert set(files(tmp_path)) == {"parts/id", "parts/id.ranges"}
    blobs.clear_record("id")
    assert blobs.recorded_ranges("id") == ()
    record(blobs, (0, 1))
    blobs.sweep(lambda: (set(), set()))
    assert files(tmp_path) == {}


# A folder that several servers share


def test_a_folder_has_one_id(tmp_path: Path) -> None:
    """Servers that start at the same moment agree on it."""
    assert Blobs(tmp_path / "files").known_identity() == ""
    found: list[str] = []
    made = [Blobs(tmp_path / "files", shared=True) for _ in range(8)]
    threads = [threading.Thread(target=lambda each=each: found.append(each.identity())) for each in made]
    for thread in threads:
        thread.start()
    ended(threads, lambda: len(found))
    assert len(found) == 8
    assert {*found} == {Blobs(tmp_path / "files").known_identity()}
    assert Blobs(tmp_path / "other").identity() not in found


def test_one_server_at_a_time_writes_a_part(tmp_path: Path) -> None:
    one, other = Blobs(tmp_path, shared=True), Blobs(tmp_path, shared=True)
    descriptor = one.open_part("id")
    with pytest.raises(BlockingIOError):
        other.open_part("id")
    os.close(other.open_part("another"))
    os.close(other.read_part("id"))
    os.close(descriptor)
    os.close(other.open_part("id"))


def test_one_server_at_a_time_has_the_turn(tmp_path: Path) -> None:
    one, other = Blobs(tmp_path, shared=True), Blobs(tmp_path, shared=True)
    order: list[str] = []

    def second() -> None:
        with other.turn():
            order.append("second")

    thread = threading.Thread(target=second)
    with one.turn():
        thread.start()
        eventually(waits_for_lock, lambda: "it does not wait")
        order.append("first")
    ended([thread], lambda: len(order))
    assert order == ["first", "second"]


def waits_for_lock() -> bool:
    """Return True if a thread of this process waits for a lock of a file."""
    waiting = [line for line in Path("/proc/locks").read_text().splitlines() if "->" in line]
    return any(f" {os.getpid()} " in line for line in waiting)


def test_a_part_that_comes_during_a_sweep_stays(tmp_path: Path) -> None:
    """The rows are read after the folder: of a part that is seen, the row was there before."""
    one, other = Blobs(tmp_path, shared=True), Blobs(tmp_path, shared=True)
    os.close(one.open_part("stray"))

    def kept() -> tuple[set[str], set[str]]:
        os.close(other.open_part("new"))
        return set(), set()

    one.sweep(kept)
    assert set(files(tmp_path)) == {"lock", "parts/new"}


def test_marks_tell_who_uses_a_folder(tmp_path: Path) -> None:
    one = Blobs(tmp_path, shared=True)
    assert one.marks() == []
    one.mark("3-ab")
    one.mark("4-cd")
    assert sorted(Blobs(tmp_path).marks()) == ["3-ab", "4-cd"]
    assert Blobs(tmp_path).is_marked("3-ab")
    assert not Blobs(tmp_path).is_marked("5-ef")
    shutil.copytree(tmp_path, tmp_path / "copy")
    assert not Blobs(tmp_path / "copy").is_marked("3-ab")
    one.unmark("3-ab")
    assert not Blobs(tmp_path).is_marked("3-ab")
    one.unmark("3-ab")
    assert one.marks() == ["4-cd"]
    one.unmark("4-cd")
