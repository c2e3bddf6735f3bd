"""The client's files on disk: sources of uploads, targets of downloads, and the progress line."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from terminal.files.download import Download
from terminal.files.progress import Progress, time_words
from terminal.files.sources import ChangedError, Source
from terminal.files.targets import Target
from tests.support.files import everything, info
from wire.errors import Refused
from wire.frames import FilePart, GetFile


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


@pytest.mark.parametrize("path", ["nothing", "empty", "/dev/null", "a\0b", "~nobody-of-that-name/x"])
def test_an_unreadable_source_is_refused(tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(Refused):
        Source(path)


def test_a_tilde_is_expanded_or_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a shell. An unknown user's tilde once ended the client."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "~draft").write_text("abc")
    assert Source("~draft").path == tmp_path / "~draft"
    assert Source("~/~draft").path == tmp_path / "~draft"
    order = GetFile(file="k3x7abcd", folder="~nobody-of-that-name")
    assert Download(order, tmp_path, 0, lambda _: True, lambda: None).file == "k3x7abcd"


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


def test_no_file_is_replaced(tmp_path: Path) -> None:
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


def test_a_partial_file_resumes(tmp_path: Path) -> None:
    target = Target(tmp_path, info("a", 6), 0)
    target.append(memoryview(b"abc"))
    with pytest.raises(Refused) as refused:
        Target(tmp_path, info("a", 6), 0)
    assert refused.value.code == "file-conflict"  # one download at a time
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


def test_a_file_that_is_too_large_is_refused_before_a_byte_is_fetched(tmp_path: Path) -> None:
    with pytest.raises(Refused) as refused:
        Target(tmp_path, info("a", 101), 100)
    assert refused.value.code == "too-large"
    with pytest.raises(Refused) as refused:
        Target(tmp_path, info("a", 2**52), 0)
    assert refused.value.code == "not-stored"
    with pytest.raises(Refused):
        Target(Path("/proc/nowhere"), info("a", 1), 0)


def test_a_link_in_place_of_the_partial_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a.abcd2345.part").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Refused):
        Target(tmp_path, info("a", 1), 0)
    assert not (tmp_path / "elsewhere").exists()


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


def test_the_rate_is_that_of_the_last_seconds_and_starts_anew_with_each_connection() -> None:
    progress = Progress("get", "photo.jpg")
    progress.begin(10_000, 0, 0.0)
    rates = []
    for now, done in ((1.0, 1_000), (6.0, 1_000), (7.0, 1_600)):
        progress.done = done
        progress.mark(now)
        rates.append(progress.rate)
    assert rates == [1_000.0, 0.0, 600.0]
    progress.begin(10_000, 1_600, 8.0)
    progress.done = 1_800
    progress.mark(9.0)
    assert progress.rate == 200.0


def test_a_partial_file_that_is_too_long_is_cut(tmp_path: Path) -> None:
    (tmp_path / "a.abcd2345.part").write_bytes(b"abcdef")
    target = Target(tmp_path, info("a", 3), 0)
    assert target.digest() == hashlib.sha256(b"abc").hexdigest()
    target.keep()
    assert everything(tmp_path) == {"a": b"abc"}


def test_each_file_of_a_folder_is_checked_and_a_rewritten_one_has_changed(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / name).write_text("abc")
    source = Source(str(folder))
    source.check()
    before = (folder / "b").stat().st_mtime_ns
    os.utime(folder / "b", ns=(before, before + 1))
    with pytest.raises(ChangedError):
        source.check()


def test_a_folder_without_room_keeps_its_partial_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It leaves no other file. With room, the download completes."""
    parts = [FilePart("a", 2), FilePart("sub/b", 3)]
    target = Target(tmp_path, info("d", 5, parts), 0)
    target.append(memoryview(b"abcde"))
    copy = Target._copy

    def full(self: Target, path: Path, at: int, size: int) -> None:
        copy(self, path, at, size)
        if at:
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Target, "_copy", full)
        with pytest.raises(OSError, match="No space"):
            target.keep()
    target.close()
    assert [path.name for path in tmp_path.iterdir()] == ["d.abcd2345.part"]
    Target(tmp_path, info("d", 5, parts), 0).keep()
    assert everything(tmp_path) == {"d/a": b"ab", "d/sub/b": b"cde"}


def test_a_download_without_room_leaves_nothing(tmp_path: Path) -> None:
    """An earlier partial file stays."""
    with pytest.raises(Refused, match="x needs 1,153 PB; "):
        Target(tmp_path, info("x", 1 << 60), 0)
    assert everything(tmp_path) == {}
    (tmp_path / "x.abcd2345.part").write_bytes(b"abc")
    with pytest.raises(Refused, match="x needs 1,153 PB; "):
        Target(tmp_path, info("x", 1 << 60), 0)
    assert everything(tmp_path) == {"x.abcd2345.part": b"abc"}


def test_a_temporary_read_error_is_not_a_change(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change cancels the offer; such an error must not."""
    source = Source(str(photo))

    def none(*_: object) -> int:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", none)
        with pytest.raises(OSError, match="Too many"):
            source.read(0, 1)
    photo.unlink()
    with pytest.raises(ChangedError):
        source.read(0, 1)
    with pytest.raises(ChangedError):
        source.check()


def test_a_folder_with_thousands_of_one_name_costs_one_look_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An offer of 2,000 parts with one name cost two million looks at the disk, or ten seconds."""
    looks = 0
    exists = Path.exists

    def counted(path: Path) -> bool:
        nonlocal looks
        looks += 1
        return exists(path)

    parts = [FilePart("a", 1), *[FilePart(name, 1) for name in ["a"] * 1_000 + ["a/b"] * 1_000]]
    target = Target(tmp_path, info("d", len(parts), parts), 0)
    target.append(memoryview(bytes(len(parts))))
    monkeypatch.setattr(Path, "exists", counted)
    folder = target.keep()
    assert looks < 3 * len(parts)
    assert sum(path.is_file() for path in folder.rglob("*")) == len(parts)


def test_a_folder_with_too_many_files_is_refused_before_a_byte_is_fetched(tmp_path: Path) -> None:
    parts = [FilePart(str(number), 0) for number in range(10_001)]
    with pytest.raises(Refused, match="has 10001 files"):
        Target(tmp_path, info("d", 0, parts), 0)
    assert not list(tmp_path.iterdir())
