"""Floor 1: the bytes of files: a part during the upload, then a blob named by its SHA-256.

`<folder>/parts/<id>` becomes `<folder>/blobs/<first two digits>/<sha256>`; files with the same content share one blob.
A blob appears under its name as a whole, by a link to a verified part, or by a copy that is renamed. So a blob has the
content that its name says, after any crash.

`<folder>/parts/<id>.ranges` records which ranges of a part were written since the database was told, 16 bytes each: a
database writes some thousand bytes at least, whatever the size of a range.

Servers on one database may share the folder. Then `<folder>/id` says which folder it is, so that each of them knows
whose bytes it can read, and `<folder>/lock` is locked by the one that makes or drops a blob.

This module moves bytes and decides nothing: which ranges of a part are valid, who may read a file, and when a part
becomes a blob is in channels/files/, and the rows are in the database.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import struct
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from wire.ranges import RangeSet, union

FOLDER = "files"
SPARE = 64 << 20  # bytes of the disk that files leave free: on a full one, no post and no end of an offer can be stored
_SERVERS = "servers"
_RANGES = ".ranges"  # the ending of the record of a part
_RECORD = struct.Struct("<QQ")  # the first byte of a range, and the one after its last
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV}  # link(2): FAT and some network file systems


class Blobs:
    """The parts and blobs in one folder. Any thread may call any method; every method may raise OSError.

    The caller has the `turn` while it runs `keep` or `drop_blob`, until it has told the database.
    """

    def __init__(self, folder: Path, *, synced: bool = False, shared: bool = False) -> None:
        """With `synced`, what a method wrote is on disk when it returns, so that it survives a loss of power.

        `shared`: other processes may use the folder, too.
        """
        self._folder = folder
        self._parts = folder / "parts"
        self._blobs = folder / "blobs"
        self._synced = synced
        self._shared = shared
        self._turn = threading.Lock()
        self._marks: dict[str, int] = {}  # the descriptors of the marks that are locked here

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Run the block while no other thread, and no other server in this folder, runs one."""
        with self._turn:
            if not self._shared:
                yield
                return
            self._folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                yield
            finally:
                os.close(descriptor)

    def identity(self) -> str:
        """Return the id of the folder; make one, the same for all servers in it, if it has none."""
        found = self.known_identity()
        if found:
            return found
        self._folder.mkdir(parents=True, exist_ok=True)
        with self.turn():
            if not self.known_identity():
                new = self._folder / "id.new"
                new.write_text(secrets.token_hex(16))
                _sync(new)
                new.replace(self._folder / "id")
        return self.known_identity()

    def mark(self, server: str) -> None:
        """Leave a mark of a server that uses the folder, locked until `unmark`: a copy of the mark is not."""
        (self._folder / _SERVERS).mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._folder / _SERVERS / server, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._marks[server] = descriptor
        fcntl.flock(descriptor, fcntl.LOCK_EX)

    def unmark(self, server: str) -> None:
        """Remove the mark of a server."""
        (self._folder / _SERVERS / server).unlink(missing_ok=True)
        descriptor = self._marks.pop(server, None)
        if descriptor is not None:
            os.close(descriptor)

    def is_marked(self, server: str) -> bool:
        """Return True if a process that runs has left this mark here."""
        try:
            descriptor = os.open(self._folder / _SERVERS / server, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def marks(self) -> list[str]:
        """Return the marks of all servers."""
        return [file.name for file in (self._folder / _SERVERS).glob("*")]

    def known_identity(self) -> str:
        """Return the id of the folder, empty if it has none."""
        try:
            return (self._folder / "id").read_text()
        except FileNotFoundError:
            return ""

    def open_part(self, file: str) -> int:
        """Return a descriptor to write a part; create the part if it is missing.

        In a shared folder, raises BlockingIOError while another server has such a descriptor: one that the others take
        for dead, since it has lost the database, goes on until it learns of that.
        """
        self._parts.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._parts / file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if self._shared:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BaseException:
                os.close(descriptor)
                raise
        return descriptor

    def write_part(self, descriptor: int, pieces: Sequence[tuple[int, memoryview]]) -> None:
        """Write pieces of a part, each at its offset. They are on disk at the return, if the blobs are `synced`.

        Raises OSError(ENOSPC), and writes nothing, if the disk would have less than SPARE bytes left.
        """
        self._check_room(sum([len(data) for _, data in pieces]))
        for offset, data in pieces:
            done = 0
            while done < len(data):
                done += os.pwrite(descriptor, data[done:], offset + done)
        if self._synced:
            os.fdatasync(descriptor)

    def _check_room(self, size: int) -> None:
        facts = os.statvfs(self._parts)
        if facts.f_blocks and facts.f_bavail * facts.f_frsize < size + SPARE:  # some file systems report 0 blocks
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def open_record(self, file: str) -> int:
        """Return a descriptor to add to the record of a part's ranges; create the record if it is missing."""
        return os.open(self._record(file), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def record_range(self, descriptor: int, first: int, end: int) -> None:
        """Record that a range of a part is written. The record survives what the bytes of `write_part` survive."""
        size = os.fstat(descriptor).st_size
        whole = size - size % _RECORD.size  # a full disk or a loss of power may leave a piece of a record
        if os.pwrite(descriptor, _RECORD.pack(first, end), whole) < _RECORD.size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if self._synced:
            os.fdatasync(descriptor)

    def recorded_ranges(self, file: str) -> RangeSet:
        """Return the recorded ranges of a part; none without a record."""
        try:
            data = self._record(file).read_bytes()
        except FileNotFoundError:
            return ()
        whole = len(data) - len(data) % _RECORD.size
        return union(_RECORD.iter_unpack(data[:whole]))

    def clear_record(self, file: str) -> None:
        """Remove the record of a part, after the database was told; do nothing if there is none."""
        self._record(file).unlink(missing_ok=True)

    def _record(self, file: str) -> Path:
        return self._parts / f"{file}{_RANGES}"

    def read_part(self, file: str) -> int:
        """Return a descriptor to read a part."""
        return os.open(self._parts / file, os.O_RDONLY | os.O_CLOEXEC)

    def part_size(self, file: str) -> int:
        """Return the length of a part in bytes, 0 if it does not exist."""
        try:
            return (self._parts / file).stat().st_size
        except FileNotFoundError:
            return 0

    def has_blob(self, sha256: str) -> bool:
        """Return True if a blob exists."""
        return self._place(sha256).exists()

    def read_blob(self, sha256: str) -> int:
        """Return a descriptor to read a blob. It stays valid when the blob is dropped."""
        return os.open(self._place(sha256), os.O_RDONLY | os.O_CLOEXEC)

    def _place(self, sha256: str) -> Path:
        return self._blobs / sha256[:2] / sha256

    def keep(self, file: str, sha256: str) -> None:
        """Make a verified part a blob, unless that blob exists. The part stays until `drop_part`."""
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
        if self._synced:
            for path in (place, place.parent, self._blobs):  # the blob's folder may be new, too
                _sync(path)

    def _copy(self, part: Path, place: Path) -> None:
        """Copy a file as a whole, unless it is there."""
        if place.exists():
            return
        self._check_room(part.stat().st_size)
        copy = place.with_name(f"{place.name}.new")
        try:
            shutil.copyfile(part, copy)
            if self._synced:
                _sync(copy)
            copy.replace(place)
        except BaseException:
            copy.unlink(missing_ok=True)
            raise

    def take_blob(self, sha256: str, other: Blobs) -> bool:
        """Copy a blob of another folder, unless it is here. Return False if the copy has not that SHA-256."""
        place = self._place(sha256)
        place.parent.mkdir(parents=True, exist_ok=True)
        self._parts.mkdir(parents=True, exist_ok=True)
        self._copy(other._place(sha256), place)
        with place.open("rb") as copied:
            return hashlib.file_digest(copied, "sha256").hexdigest() == sha256

    def take_part(self, file: str, other: Blobs) -> None:
        """Copy a part of another folder, and its record before it: each range that the record has is in the part."""
        self._parts.mkdir(parents=True, exist_ok=True)
        if other._record(file).exists():
            self._copy(other._record(file), self._record(file))
        self._copy(other._parts / file, self._parts / file)

    def drop_part(self, file: str) -> None:
        """Remove a part and its record; do nothing if they do not exist."""
        (self._parts / file).unlink(missing_ok=True)
        self.clear_record(file)

    def drop_blob(self, sha256: str) -> None:
        """Remove a blob; do nothing if it does not exist."""
        self._place(sha256).unlink(missing_ok=True)

    def found(self) -> tuple[set[str], set[str]]:
        """Return the names of all parts and all blobs that are there."""
        parts = {file.name for file in self._parts.glob("*") if file.suffix != _RANGES}
        return parts, {file.name for file in self._blobs.glob("*/*")}

    def sweep(self, kept: Callable[[], tuple[Collection[str], Collection[str]]]) -> None:
        """Remove all parts and blobs but those that are `kept`: a crash before a file's row is written leaves such.

        `kept` reads the rows after the look at the folder, where another server may add a part at any time, after it
        has written a row.
        """
        with self.turn():
            found_parts, found_blobs = list(self._parts.glob("*")), list(self._blobs.glob("*/*"))
            parts, blobs = kept()
            for file in found_parts:
                if file.name.removesuffix(_RANGES) not in parts:
                    file.unlink(missing_ok=True)
            for file in found_blobs:
                if file.name not in blobs:
                    file.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
