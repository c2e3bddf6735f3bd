"""Floor 1: what is in files, as files: a part while it is filled, then a blob under its SHA-256, the same content once.

`<folder>/parts/<id>` becomes `<folder>/blobs/<first two digits>/<sha256>`. A blob is only ever made whole, by a link to
a part that was verified, or by a copy that is renamed; so what has the name has the content, after whatever crash.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Collection
from pathlib import Path

FOLDER = "files"
SPARE = 64 << 20  # bytes of the disk that files leave free: without room, nothing could be said, nor a file taken back
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV}  # link(2): as of FAT, and of some networks


class Blobs:
    """The files in one folder. Any thread may call any of it; nobody may keep and drop one blob at a time."""

    def __init__(self, folder: Path, *, synced: bool = False) -> None:
        """`synced`: what was written is on disk, not only with the system, before anybody is told."""
        self._parts = folder / "parts"
        self._blobs = folder / "blobs"
        self.synced = synced

    def open_part(self, file: str) -> int:
        """A descriptor to fill a part with, which is made if it is new. Raises OSError."""
        self._parts.mkdir(parents=True, exist_ok=True)
        return os.open(self._parts / file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def check_room(self, size: int) -> None:
        """Whether there is room for so many bytes more. Raises OSError, as if the disk were full, if not."""
        facts = os.statvfs(self._parts)
        if facts.f_blocks and facts.f_bavail * facts.f_frsize < size + SPARE:  # some file systems do not say
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def read_part(self, file: str) -> int:
        """A descriptor to read a part with. Raises OSError."""
        return os.open(self._parts / file, os.O_RDONLY | os.O_CLOEXEC)

    def part_size(self, file: str) -> int:
        """How long a part is; 0 if there is none. Raises OSError."""
        try:
            return (self._parts / file).stat().st_size
        except FileNotFoundError:
            return 0

    def read_blob(self, sha256: str) -> int:
        """A descriptor to read a blob with; it stays good when the blob is dropped. Raises OSError."""
        return os.open(self._place(sha256), os.O_RDONLY | os.O_CLOEXEC)

    def _place(self, sha256: str) -> Path:
        return self._blobs / sha256[:2] / sha256

    def keep(self, file: str, sha256: str) -> None:
        """Make a verified part a blob, unless there is one of that content. The part stays, until `drop_part`."""
        place = self._place(sha256)
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(self._parts / file, place)
        except FileExistsError:
            return
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            self._copy(self._parts / file, place)
        if self.synced:
            for path in (place, place.parent, self._blobs):  # the folder may be as new as the file in it
                _sync(path)

    def _copy(self, part: Path, place: Path) -> None:
        """For a file system that has no second names."""
        if place.exists():
            return
        self.check_room(part.stat().st_size)
        copy = place.with_suffix(".new")
        try:
            shutil.copyfile(part, copy)
            if self.synced:
                _sync(copy)
            copy.replace(place)
        except BaseException:
            copy.unlink(missing_ok=True)
            raise

    def drop_part(self, file: str) -> None:
        """Remove a part; no harm if there is none."""
        (self._parts / file).unlink(missing_ok=True)

    def drop_blob(self, sha256: str) -> None:
        """Remove a blob; no harm if there is none."""
        self._place(sha256).unlink(missing_ok=True)

    def sweep(self, parts: Collection[str], blobs: Collection[str]) -> None:
        """Remove everything but these: what a crash has left between a file and its row."""
        for file in self._parts.glob("*"):
            if file.name not in parts:
                file.unlink(missing_ok=True)
        for file in self._blobs.glob("*/*"):
            if file.name not in blobs:
                file.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
