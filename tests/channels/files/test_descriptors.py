"""Descriptors of files: few for all connections, whatever they hold open; one refusal if all are in use."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from channels.files.descriptors import Descriptors
from tests.support.clients import Json
from tests.support.files import fill, offer, put, refused
from tests.support.fixtures import StartProcess
from tests.support.processes import descriptors
from tests.support.waiting import DEADLINE
from wire.errors import Refused
from wire.frames import Attach, Cancel, Chunk, Get


class Folder:
    """A folder whose files can be opened. `opened` has their names, as often as they were opened."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.opened: list[str] = []

    def opening(self, name: str) -> Callable[[], int]:
        def open_file() -> int:
            self.opened.append(name)
            return os.open(self._path / name, os.O_RDWR | os.O_CREAT)

        return open_file


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """An empty folder."""
    return Folder(tmp_path)


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def test_the_descriptor_used_least_recently_makes_room(folder: Folder) -> None:
    files = Descriptors(2)
    for name in ("a", "b", "a", "c", "a", "b"):
        with files.use(name, folder.opening(name)) as descriptor:
            assert _is_open(descriptor)
        assert len(files) <= 2
    assert folder.opened == ["a", "b", "c", "b"]
    files.drop("a")
    files.drop("a")
    files.drop("b")
    assert len(files) == 0


def test_a_file_in_use_stays_open_and_the_limit_has_a_sentence(folder: Folder) -> None:
    files = Descriptors(2)
    with files.use("a", folder.opening("a")) as a, files.use("b", folder.opening("b")) as b:
        with files.use("a", folder.opening("a")) as again:
            assert again == a
        with pytest.raises(Refused) as refused, files.use("c", folder.opening("c")):
            pass
        assert refused.value.code == "busy"
        assert refused.value.sentence == "The server reads or writes 2 files now, which is the limit. Try again."
        files.drop("b")
        assert _is_open(b), "it is closed after its use"
    assert not _is_open(b)
    with files.use("c", folder.opening("c")), files.use("a", folder.opening("a")):
        pass
    assert folder.opened == ["a", "b", "c"]
    files.drop("a")
    files.drop("c")
    assert len(files) == 0


def test_a_file_that_cannot_be_opened_takes_no_room(folder: Folder) -> None:
    files = Descriptors(1)
    for _ in range(3):
        with pytest.raises(FileNotFoundError), files.use("x", lambda: os.open("/nowhere/x", os.O_RDONLY)):
            pass
    with files.use("a", folder.opening("a")):
        pass
    files.drop("a")
    assert len(files) == 0


def test_a_file_that_is_dropped_while_it_is_opened_is_closed_after_its_use(folder: Folder) -> None:
    """A file that is gone kept its bytes until its descriptor was the one used least recently."""
    made = Descriptors(10)

    def opened_and_dropped() -> int:
        descriptor = folder.opening("a")()
        made.drop("a")
        return descriptor

    with made.use("a", opened_and_dropped) as descriptor:
        assert _is_open(descriptor)
    assert not _is_open(descriptor)
    assert len(made) == 0


def test_two_threads_that_open_one_file_leave_one_descriptor(folder: Folder) -> None:
    files, both, found = Descriptors(4), threading.Barrier(2), list[int]()

    def open_file() -> int:
        both.wait(DEADLINE)
        return folder.opening("a")()

    def use() -> None:
        with files.use("a", open_file) as descriptor:
            both.wait(DEADLINE)
            found.append(descriptor)
            both.wait(DEADLINE)

    threads = [threading.Thread(target=use) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    assert (len(set(found)), len(files)) == (2, 1)
    assert sum(map(_is_open, found)) == 1
    files.drop("a")
    assert not any(map(_is_open, found))


def test_many_connections_that_hold_many_files_open_take_few_descriptors(
    start_process: StartProcess, tmp_path: Path
) -> None:
    """Each connection held up to 16, so 200 of them took 3,200 of the server's descriptors."""
    config = tmp_path / "config.yaml"
    config.write_text("limits: {open_files: 8}")
    process = start_process("--config", str(config))
    with ExitStack() as stack:
        alice, bob = (stack.enter_context(Json(process.address, name)) for name in ("alice", "bob"))
        readers = [bob, *[stack.enter_context(Json(process.address)) for _ in range(9)]]
        for reader in readers[1:]:
            reader.request(Attach(name="bob", token=bob.welcome.token))
        before = descriptors(process.pid)
        files: dict[str, bytes] = {}
        for at in range(16):
            file = offer(alice, 1_000)
            files[file] = os.urandom(1_000)
            if at % 2:
                fill(alice, file, files[file])
            else:
                put(alice, file, 0, 1_000, files[file])
        for reader in (*readers, *readers):
            for file, data in files.items():
                answer = reader.request(Get(file=file, offset=0, length=1_000))
                assert isinstance(answer, Chunk), answer
                assert answer.payload == data
        assert descriptors(process.pid) <= before + 8
        for file in files:
            alice.request(Cancel(file=file))
            assert refused(bob, Get(file=file, offset=0, length=1)) == "gone"
        assert descriptors(process.pid) <= before, "files that are gone are closed, so that their bytes leave the disk"
