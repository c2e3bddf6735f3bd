"""Floor 4: the target of a download: `x.part` until its SHA-256 is verified, then a file or folder of a free name.

It writes only below the download folder, never replaces a file, and shows nothing but the partial file before the
whole is verified.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from wire.errors import Refused
from wire.file_names import safe_name, safe_path, size_words
from wire.frames import Ranges
from wire.limits import Limits

_PIECE = 1 << 20
_NAMES = 10_000  # attempts to find a free name: `name (1)` and so on


class Target:
    """The local file or folder of one download. `have` is the number of bytes in the partial file."""

    def __init__(self, folder: Path, info: Ranges, largest: int) -> None:
        """Open the partial file, or create it. Raises Refused before a byte is fetched."""
        self.name = safe_name(info.name)
        self.size = info.size
        self._folder = folder
        self._parts = info.parts
        self._part = folder / f"{self.name}.{safe_name(info.file)}.part"
        if largest and info.size > largest:
            raise Refused(
                "too-large",
                f"{self.name} has {size_words(info.size)}; your limit is {size_words(largest)} (--largest).",
            )
        if info.parts and sum(part.size for part in info.parts) != info.size:
            raise Refused("bad-frame", f"{self.name} is damaged: the sizes of its files do not add up.")
        if len(info.parts) > Limits().folder_files:
            raise Refused(
                "too-large", f"{self.name} has {len(info.parts)} files; the limit is {Limits().folder_files}."
            )
        try:
            folder.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)
            self._descriptor = os.open(self._part, flags, 0o666)
        except OSError as error:
            raise Refused("not-stored", f"Cannot write {self._part}: {error.strerror}.") from error
        try:
            self._claim()
            self.have = min(os.fstat(self._descriptor).st_size, self.size)
            room = shutil.disk_usage(folder).free
            needed = (self.size - self.have) + (self.size if self._parts else 0)
            if needed > room:
                if not self.have:
                    self._part.unlink()
                raise Refused(
                    "not-stored", f"{self.name} needs {size_words(needed)}; the disk has {size_words(room)} free."
                )
        except BaseException:
            os.close(self._descriptor)
            raise
        self._hash = hashlib.sha256()
        self._hashed = 0

    def _claim(self) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Refused("file-conflict", f"{self.name} is already being downloaded by another client.") from None

    def restart(self) -> None:
        """Empty the partial file."""
        os.ftruncate(self._descriptor, 0)
        self.have = 0

    def append(self, data: memoryview) -> None:
        """Append to the partial file. Raises OSError."""
        if self._hashed == self.have:
            self._hash.update(data)
            self._hashed += len(data)
        self.write(data, self.have)
        self.have += len(data)

    def write(self, data: memoryview, at: int) -> None:
        """Write at an offset. Raises OSError."""
        while data:
            count = os.pwrite(self._descriptor, data, at)
            data, at = data[count:], at + count

    def digest(self, *, anew: bool = False) -> str:
        """Return the SHA-256 of the partial file; `anew` reads it again after `write`."""
        if anew:
            self._hash, self._hashed = hashlib.sha256(), 0
        while self._hashed < self.have and (piece := os.pread(self._descriptor, _PIECE, self._hashed)):
            piece = piece[: self.have - self._hashed]
            self._hash.update(piece)
            self._hashed += len(piece)
        return self._hash.hexdigest()

    def sum(self, first: int, length: int) -> str:
        """Return the SHA-256 of a range."""
        return hashlib.sha256(os.pread(self._descriptor, length, first)).hexdigest()

    def keep(self) -> Path:
        """Turn the verified partial file into a file or folder with the first free name. Raises OSError."""
        os.ftruncate(self._descriptor, self.size)  # the partial file may be longer
        path = self._unpack() if self._parts else self._place(self._part, self._folder, self.name)
        self.close()
        return path

    @staticmethod
    def _place(part: Path, folder: Path, name: str) -> Path:
        """Move a file to the first free name; at no moment can another file be replaced."""
        for path in _names(folder, name):
            try:
                os.link(part, path)
            except FileExistsError:
                continue
            except OSError:  # a file system without links: claim the name, then move there
                try:
                    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
                except FileExistsError:
                    continue
                part.replace(path)
                return path
            part.unlink()
            return path
        raise FileExistsError(f"there are too many files called {name}")

    def _unpack(self) -> Path:
        """Copy the files of a folder into a temporary one, and rename that."""
        room = self._part.with_suffix(".unpacked")
        shutil.rmtree(room, ignore_errors=True)
        room.mkdir()
        try:
            self._fill(room)
            for path in _names(self._folder, self.name):
                if not os.path.lexists(path):
                    room.rename(path)
                    self._part.unlink()
                    return path
            raise FileExistsError(f"there are too many folders called {self.name}")
        except BaseException:  # e.g. a full disk: the partial file is enough to try again
            shutil.rmtree(room, ignore_errors=True)
            raise

    def _fill(self, room: Path) -> None:
        """Copy the files of a folder to their paths in it."""
        at = 0
        free = _FreeNames()
        for part in self._parts:
            *folders, name = safe_path(part.name)
            below = room
            for step in folders:
                below = below / step
                with contextlib.suppress(FileExistsError):
                    below.mkdir()
                if not below.is_dir():  # a file has that name
                    below = free.find(room, step)
                    below.mkdir()
            self._copy(free.find(below, name), at, part.size)
            at += part.size

    def _copy(self, path: Path, at: int, size: int) -> None:
        with path.open("xb") as file:
            while size:
                data = os.pread(self._descriptor, min(_PIECE, size), at)
                if not data:
                    raise OSError("the part is too short")
                file.write(data)
                at, size = at + len(data), size - len(data)

    def discard(self) -> None:
        """Delete the partial file."""
        self._part.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Close the partial file, which stays."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class _FreeNames:
    """Finds names that no file has yet, without a second look at one that was taken before.

    So thousands of files of one name cost one look each, not one for each file before it.
    """

    def __init__(self) -> None:
        self._names: dict[tuple[Path, str], Iterator[Path]] = {}

    def find(self, folder: Path, name: str) -> Path:
        """Return the path of the first free name in the folder. Raises FileExistsError."""
        names = self._names.setdefault((folder, name), _names(folder, name))
        for path in names:
            if not path.exists():
                return path
        raise FileExistsError(f"there are too many files called {name}")


def _names(folder: Path, name: str) -> Iterator[Path]:
    """Yield `name`, `name (1)`, `name (2)` … with the number before the ending."""
    yield folder / name
    stem, dot, ending = name.rpartition(".")
    for number in range(1, _NAMES):
        yield folder / (f"{stem} ({number}){dot}{ending}" if stem else f"{name} ({number})")
