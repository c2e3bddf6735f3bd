"""The data folder: one server at a time, folders that cannot be used, and folders that change under a server."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from store import StoreError, open_store
from store.sqlite import FILE
from store.sqlite import folder as data_folder
from tests.support.repository import ROOT
from tests.support.stores import NOW, posting, texts


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    """Or in place of a folder above it."""
    file = tmp_path / "data"
    file.write_text("a file")
    with pytest.raises(StoreError, match=f"data folder {file} cannot be used: File exists"):
        open_store(file)
    with pytest.raises(StoreError, match="cannot be used: Not a directory"):
        open_store(file / "below")


def test_a_second_server_is_refused(tmp_path: Path) -> None:
    """The sentence names the first one's process. After the first server has closed it, the folder can be opened."""
    lock = tmp_path / "data" / "deep" / "lock"
    lock.parent.mkdir(parents=True)
    lock.write_text("12345678901234567890\n")  # of a server that was killed
    first = open_store(tmp_path / "data" / "deep")
    assert lock.read_text() == f"{os.getpid()}\n"
    with pytest.raises(StoreError, match=rf"in use by another server \(process {os.getpid()}\)"):
        open_store(tmp_path / "data" / "deep")
    lab = first.open_channel("lab")
    first.append([posting(lab, "ann", "still mine")], NOW)
    first.close()
    open_store(tmp_path / "data" / "deep").close()


OPEN = """
import os, sys
from pathlib import Path
from store import StoreError, open_store
if os.getuid() == 0:
    os.setuid(65534)
try:
    open_store(Path(sys.argv[1]))
except StoreError as error:
    print(error)
"""


def test_a_folder_without_write_permission_is_refused() -> None:
    """Root may write everywhere, so the child process becomes another user if the tests run as root."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o555)
        for target in (folder, folder / "data"):
            result = subprocess.run(
                [sys.executable, "-c", OPEN, str(target)], cwd=ROOT, capture_output=True, text=True, check=True
            )
            assert result.stdout == f"The data folder {target} cannot be used: Permission denied.\n"
        folder.chmod(0o755)


def test_the_lock_is_on_the_folder(tmp_path: Path) -> None:
    """Neither a symbolic link to it nor a removed lock file lets a second server in."""
    folder, link = tmp_path / "data", tmp_path / "link"
    first = open_store(folder)
    link.symlink_to(folder)
    with pytest.raises(StoreError, match=f"data folder {link} is in use by another server .process {os.getpid()}."):
        open_store(link)
    (folder / "lock").unlink()
    with pytest.raises(StoreError, match=f"data folder {folder} is in use by another server .process unknown."):
        open_store(folder)
    first.close()
    open_store(link).close()


def test_a_folder_made_anew_is_another_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second server may have it, and the first one leaves it alone, from its next look at the folder on."""
    monkeypatch.setattr(data_folder, "_PERIOD", 0.0)
    folder = tmp_path / "data"
    first = open_store(folder)
    lab = first.open_channel("lab")
    shutil.rmtree(folder)
    second = open_store(folder)
    new = second.open_channel("lab")
    second.append([posting(new, "ann", "mine")], NOW)
    with pytest.raises(StoreError, match=f"{folder} was moved or removed while the server was running"):
        first.append([posting(lab, "bob", "lost")], NOW)
    first.close()
    assert texts(second, new) == ["mine"]
    second.close()
    again = open_store(folder)
    assert texts(again, again.open_channel("lab")) == ["mine"]
    again.close()


def remove_folder(folder: Path) -> None:
    """`rm -r data`."""
    shutil.rmtree(folder)


def move_folder(folder: Path) -> None:
    """`mv data old`."""
    folder.rename(folder.with_name("old"))


def remove_file(folder: Path) -> None:
    """`rm data/partyline.db`."""
    (folder / FILE).unlink()


def remove_write_ahead_log(folder: Path) -> None:
    """`rm data/partyline.db-wal`."""
    (folder / f"{FILE}-wal").unlink()


def replace_file(folder: Path) -> None:
    """`mv copy.db data/partyline.db`."""
    copy = folder.with_name("copy.db")
    shutil.copy(folder / FILE, copy)
    copy.rename(folder / FILE)


CHANGES = [remove_folder, move_folder, remove_file, remove_write_ahead_log, replace_file]


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_the_folder_is_noticed(
    tmp_path: Path, change: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By every call, from the first one on: nothing is answered as stored that nobody would find again.

    A single file that is gone is noticed by the next look at the folder.
    """
    if change not in (remove_folder, move_folder):
        monkeypatch.setattr(data_folder, "_PERIOD", 0.0)
    folder = tmp_path / "data"
    store = open_store(folder)
    lab = store.open_channel("lab")
    store.append([posting(lab, "ann", "before")], NOW)
    change(folder)
    calls: list[Callable[[], object]] = [
        lambda: store.append([posting(lab, "ann", "after")], NOW),
        lambda: store.move({(lab.id, "ann"): 1}, {}),
        lambda: store.join(lab, "ann"),
        lambda: store.open_account("ann"),
        lambda: store.read(lab, 0, 9),
    ]
    for call in calls:
        with pytest.raises(StoreError, match=r"while the server was running\. Nothing can be stored\."):
            call()
    store.close()


def test_a_folder_that_is_put_back_is_used_again(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    store = open_store(folder)
    lab = store.open_channel("lab")
    move_folder(folder)
    with pytest.raises(StoreError, match="was moved or removed"):
        store.append([posting(lab, "ann", "a")], NOW)
    folder.with_name("old").rename(folder)
    store.append([posting(lab, "ann", "b")], NOW)
    assert texts(store, lab) == ["b"]
    store.close()


def test_other_files_in_the_folder_may_come_and_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a settled folder is looked at again after its next change."""
    monkeypatch.setattr(data_folder, "_PERIOD", 0.0)
    store = open_store(tmp_path)
    lab = store.open_channel("lab")
    os.utime(tmp_path, ns=(NOW, NOW))  # as if the last change were long ago
    for at in range(3):
        store.append([posting(lab, "ann", f"{at}")], NOW)
        (tmp_path / f"copy{at}").touch()
    os.utime(tmp_path, ns=(NOW, NOW))
    store.append([posting(lab, "ann", "3")], NOW)
    (tmp_path / FILE).unlink()
    with pytest.raises(StoreError, match=f"{FILE} was removed or replaced"):
        store.append([posting(lab, "ann", "4")], NOW)
    store.close()


READ_ONLY = """
import subprocess, sys
from pathlib import Path
from store import StoreError, open_store
from tests.support.stores import NOW, posting
folder = Path(sys.argv[1])
store = open_store(folder)
lab = store.open_channel("lab")
for _ in range(50):
    store.append([posting(lab, "ann", "x" * 500)], NOW)
subprocess.run(["chattr", *sys.argv[2:]], check=True)
try:
    for call in (lambda: store.append([posting(lab, "ann", "y")], NOW), lambda: store.read(lab, 0, 9)):
        try:
            call()
        except StoreError as error:
            print(error)
finally:
    subprocess.run(["chattr", "-R", "-i", folder], check=True)
assert store.append([posting(lab, "ann", "z")], NOW).numbers[0] == range(51, 52)
store.close()
"""


@pytest.mark.parametrize("of", [["-R", "+i", "."], ["+i", f"{FILE}-shm"]], ids=["all", "mapped"])
def test_a_folder_that_becomes_read_only_ends_no_server(tmp_path: Path, of: list[str]) -> None:
    """SQLite writes into a file that is mapped, and the kernel answers that with SIGBUS."""
    probe = tmp_path / "probe"
    probe.touch()
    chattr = shutil.which("chattr")
    if chattr is None or subprocess.run([chattr, "+i", probe], capture_output=True, check=False).returncode:
        pytest.skip("needs root and a file system with immutable files")
    subprocess.run([chattr, "-i", probe], check=True)
    done = subprocess.run(
        [sys.executable, "-c", READ_ONLY, str(tmp_path / "data"), *of[:-1], str(tmp_path / "data" / of[-1])],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, (done.returncode, done.stderr)
    sentence = f"The data folder {tmp_path / 'data'} has become read-only: "
    assert [line.startswith(sentence) for line in done.stdout.splitlines()] == [True, True], done.stdout
