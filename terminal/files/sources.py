"""Floor 4: what is sent: a file, or the files of a folder one after the other, read as one run of bytes."""

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

_MOST = 10_000  # files of a folder
_GONE = (FileNotFoundError, NotADirectoryError, PermissionError)  # anything else may be better later
_NAMES = 1_000_000  # bytes of their names, as they are in an offer


class ChangedError(Refused):
    """It is not what was offered any more, and never will be again."""


@dataclass(frozen=True, slots=True)
class _Piece:
    path: Path
    first: int  # where it begins in the whole
    size: int
    changed: int  # nanoseconds since 1970


class Source:
    """A file or a folder as it was when it was opened; `name` is what the other side gets to see of its path."""

    def __init__(self, path: str) -> None:
        """Raises Refused if there is nothing that can be read."""
        try:
            root = expanded(path).resolve(strict=True)
            folder = root.is_dir()
            paths = list(_below(root)) if folder else [root]
            self._pieces = _measured(paths)
        except (OSError, ValueError) as error:  # the latter: a NUL in it
            raise Refused("bad-file-name", f"{path} cannot be read: {getattr(error, 'strerror', error)}.") from error
        if folder and not paths:
            raise Refused("bad-file-name", f"There is no file in {path}.")
        self.path = root
        self.name = safe_name(root.name)
        self.size = sum(piece.size for piece in self._pieces)
        self.parts = [
            FilePart(check_path(piece.path.relative_to(root).as_posix()), piece.size)
            for piece in (self._pieces if folder else ())
        ]
        if len(msgspec.json.encode(self.parts)) > _NAMES:
            raise Refused("too-large", f"{self.name} has too many files, or their names are too long: send it packed.")
        self._starts = [piece.first for piece in self._pieces]
        self._open: tuple[int, int] = (-1, -1)  # which piece, and its descriptor

    def twin(self) -> Source:
        """The same, to be read by another thread."""
        twin = copy.copy(self)
        twin._open = (-1, -1)
        return twin

    def id(self, to: str, attempt: int) -> str:
        """The same for the same content to the same people, so that an offer that was cut short goes on."""
        facts = [to, str(self.path), *(f"{piece.path} {piece.size} {piece.changed}" for piece in self._pieces), attempt]
        return hashlib.sha256("\n".join(map(str, facts)).encode(errors="surrogateescape")).hexdigest()[:32]

    def read(self, offset: int, length: int) -> bytes:
        """These bytes. Raises ChangedError if it has become something else meanwhile, or OSError."""
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
        """Raises ChangedError if something has been written to it since, or OSError."""
        for piece in self._pieces:
            try:
                now = piece.path.stat()
            except _GONE as error:
                raise self._changed(piece) from error
            if (now.st_size, now.st_mtime_ns) != (piece.size, piece.changed):
                raise self._changed(piece)

    @staticmethod
    def _changed(piece: _Piece) -> ChangedError:
        return ChangedError("file-conflict", f"{piece.path} has changed while it was sent: send it again.")

    def close(self) -> None:
        """Let go of what is open."""
        if self._open[1] >= 0:
            os.close(self._open[1])
        self._open = (-1, -1)


def expanded(path: str) -> Path:
    """With `~` and `~user` as a shell has them: what is nobody's home stays as it is."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def _below(folder: Path) -> Iterator[Path]:
    """Every regular file in a folder, sorted; links are not followed, so nothing from elsewhere is sent."""
    for root, folders, names in os.walk(folder, onerror=_raise):
        folders.sort()
        for name in sorted(names):
            path = Path(root) / name
            if stat.S_ISREG(path.lstat().st_mode):
                yield path


def _raise(error: OSError) -> None:
    raise error


def _measured(paths: list[Path]) -> list[_Piece]:
    if len(paths) > _MOST:
        raise Refused("too-large", f"A folder may have {_MOST} files in it.")
    pieces: list[_Piece] = []
    first = 0
    for path in paths:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):
            raise Refused("bad-file-name", f"{path} is no file.")
        os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        pieces.append(_Piece(path, first, facts.st_size, facts.st_mtime_ns))
        first += facts.st_size
    return pieces
