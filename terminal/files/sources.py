"""Floor 4: the source of an upload: a file, or the files of a folder one after the other, as one run of bytes."""

from __future__ import annotations

import bisect
import copy
import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from wire.errors import Refused
from wire.file_names import check_path, safe_name
from wire.frames import FilePart
from wire.limits import Limits

_GONE = (FileNotFoundError, NotADirectoryError, PermissionError)  # any other error may pass


class ChangedError(Refused):
    """The file differs from the offered one for good."""


@dataclass(frozen=True, slots=True)
class _Piece:
    path: Path
    first: int  # its offset in the whole
    size: int
    changed: int  # nanoseconds since 1970


class Source:
    """A file or a folder as it was when it was opened; `name` is the part of its path that others see."""

    def __init__(self, path: str) -> None:
        """Raises Refused if the path cannot be read, or contains no file."""
        try:
            root = expanded(path).resolve(strict=True)
            folder = root.is_dir()
            paths = list(_below(root)) if folder else [root]
            self._pieces = _measured(paths)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            raise Refused("bad-file-name", f"Cannot read {path}: {getattr(error, 'strerror', error)}.") from error
        if folder and not paths:
            raise Refused("bad-file-name", f"{path} contains no files.")
        self.path = root
        self.name = safe_name(root.name)
        self.size = sum(piece.size for piece in self._pieces)
        self.parts = [
            FilePart(check_path(piece.path.relative_to(root).as_posix()), piece.size)
            for piece in (self._pieces if folder else ())
        ]
        if len(msgspec.json.encode(self.parts)) > Limits().folder_bytes:
            raise Refused(
                "too-large",
                f"{self.name} has too many files, or their names are too long. Pack it into an archive first.",
            )
        self._starts = [piece.first for piece in self._pieces]
        self._open: tuple[int, int] = (-1, -1)  # a piece's index, and its descriptor

    def twin(self) -> Source:
        """Return a copy that another thread can read."""
        twin = copy.copy(self)
        twin._open = (-1, -1)  # noqa: SLF001 - of the same class
        return twin

    def id(self, to: str, attempt: int) -> str:
        """Return an id, the same for the same content and receiver, so that an interrupted offer resumes."""
        facts = [to, str(self.path), *(f"{piece.path} {piece.size} {piece.changed}" for piece in self._pieces), attempt]
        return hashlib.sha256("\n".join(map(str, facts)).encode(errors="surrogateescape")).hexdigest()[:32]

    def read(self, offset: int, length: int) -> bytes:
        """Return these bytes. Raises ChangedError if a file is gone or shorter than before, or OSError."""
        data: list[bytes] = []
        while length:
            at = bisect.bisect_right(self._starts, offset) - 1
            piece = self._pieces[at]
            got = os.pread(self._descriptor(at), min(length, piece.first + piece.size - offset), offset - piece.first)
            if not got:
                raise self._changed(piece)
            data.append(got)
            offset += len(got)
            length -= len(got)
        return data[0] if len(data) == 1 else b"".join(data)

    def _descriptor(self, at: int) -> int:
        if self._open[0] != at:
            self.close()
            try:
                self._open = at, os.open(self._pieces[at].path, os.O_RDONLY | os.O_CLOEXEC)
            except _GONE as error:
                raise self._changed(self._pieces[at]) from error
        return self._open[1]

    def check(self) -> None:
        """Raise ChangedError if a file was changed since it was opened, or OSError."""
        for piece in self._pieces:
            try:
                now = piece.path.stat()
            except _GONE as error:
                raise self._changed(piece) from error
            if (now.st_size, now.st_mtime_ns) != (piece.size, piece.changed):
                raise self._changed(piece)

    @staticmethod
    def _changed(piece: _Piece) -> ChangedError:
        return ChangedError("file-conflict", f"{piece.path} changed during the transfer. Send it again.")

    def close(self) -> None:
        """Close the open file."""
        if self._open[1] >= 0:
            os.close(self._open[1])
        self._open = (-1, -1)


def expanded(path: str) -> Path:
    """Expand `~` and `~user` as a shell does; an unknown user's stays as it is."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def _below(folder: Path) -> Iterator[Path]:
    """Yield each regular file below a folder, sorted; links are not followed, so no file from elsewhere is sent."""
    for root, folders, names in os.walk(folder, onerror=_raise):
        folders.sort()
        for name in sorted(names):
            path = Path(root) / name
            if stat.S_ISREG(path.lstat().st_mode):
                yield path


def _raise(error: OSError) -> None:
    raise error


def _measured(paths: list[Path]) -> list[_Piece]:
    if len(paths) > Limits().folder_files:
        raise Refused("too-large", f"A folder may contain at most {Limits().folder_files} files.")
    pieces: list[_Piece] = []
    first = 0
    for path in paths:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):
            raise Refused("bad-file-name", f"{path} is not a regular file.")
        os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        pieces.append(_Piece(path, first, facts.st_size, facts.st_mtime_ns))
        first += facts.st_size
    return pieces
