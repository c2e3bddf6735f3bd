"""Floor 1: the data folder: locked, so that two servers never write into the same one, and watched while it is open.

The lock is on the folder itself and not on a path: a folder that was made anew under the same name is another one, and
a symbolic link to a folder in use is no way around the lock.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from reporting import events, report

from ..contract import StoreError

_PERIOD = 0.1  # seconds between two looks at the folder
_SETTLED = 3_000_000_000  # nanoseconds after which a change of a folder shows in its time on every file system


class DataFolder:
    """A locked folder. `check` may be called by any thread."""

    def __init__(self, path: Path) -> None:
        """Create the folder and lock it. Raises StoreError if it cannot be used, or if another process has the lock."""
        self.path = path
        self._place = str(path.absolute())
        self._locks: list[int] = []
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
            # The file tells the process, and earlier versions lock it.
            self._lock(os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            self.release()
            raise StoreError(f"The data folder {path} cannot be used: {error.strerror}.") from error
        self._write_process_number(self._locks[-1])
        self._identity = _identity(os.fstat(self._locks[0]))
        self._files: dict[str, tuple[int, int]] = {}  # by absolute path
        self._shared = ""
        self._next_look = 0.0  # by time.monotonic
        self._seen = 0  # the folder's time of change at which all files were in their places

    def _lock(self, descriptor: int) -> None:
        self._locks.append(descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            raise StoreError(f"The data folder {self.path} is in use by another server{_owner(self.path)}.") from None

    def _write_process_number(self, descriptor: int) -> None:
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            consequence = "The data folder does not name the process that uses it."
            report(events.StoreProblem(f"{self.path / 'lock'}: {error.strerror}", consequence))

    def watch(self, files: list[str], shared: str) -> None:
        """From now on, `check` misses these files of the folder. `shared` is one that the process has mapped."""
        for name in files:
            path = f"{self._place}/{name}"
            self._files[path] = _identity(Path(path).stat())
        self._shared = f"{self._place}/{shared}"

    def check(self) -> None:
        """Raise StoreError if the folder was moved or removed, or cannot be written; soon also if a watched file was.

        Call it before each use of the database: SQLite notices none of it, and goes on in files that nobody finds
        again. On a file system or in a file that has become read-only, SQLite would write into the file that it has
        mapped, and the kernel would end the process by SIGBUS. It takes half a microsecond: the folder itself is
        looked at ten times a second.
        """
        if not os.access(self._shared, os.W_OK):
            raise StoreError(self._problem() or self._read_only(self._shared))
        at = time.monotonic()
        if at >= self._next_look:
            problem = self._problem()
            self._next_look = 0.0 if problem else at + _PERIOD
            if problem:
                raise StoreError(problem)

    def _problem(self) -> str | None:
        """Return what is wrong. The files are looked at only after a change of the folder's time."""
        try:
            found = Path(self._place).stat()
        except OSError:
            return self._moved()
        if _identity(found) != self._identity:
            return self._moved()
        if found.st_mtime_ns == self._seen:
            return None
        for path, identity in self._files.items():
            try:
                same = _identity(Path(path).stat()) == identity
            except OSError:
                same = False
            if not same:
                return (
                    f"{path} was removed or replaced while the server was running. Nothing can be stored."
                    " Stop the server, and put the file back or restore the data folder from a copy."
                )
            if not os.access(path, os.W_OK):
                return self._read_only(path)
        if time.time_ns() - found.st_mtime_ns > _SETTLED:
            self._seen = found.st_mtime_ns
        return None

    def _read_only(self, path: str) -> str:
        return f"The data folder {self.path} has become read-only: {path} cannot be written."

    def _moved(self) -> str:
        return (
            f"The data folder {self.path} was moved or removed while the server was running. Nothing can be stored."
            " Put it back, or restart the server."
        )

    def release(self) -> None:
        """Let another server have the folder."""
        while self._locks:
            os.close(self._locks.pop())


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _owner(folder: Path) -> str:
    """Return who says to have the folder, for a message."""
    try:
        number = (folder / "lock").read_text(errors="replace")[:20].strip()
    except OSError:
        number = ""
    return f" (process {number or 'unknown'})"


def share_folder(folder: Path) -> int:
    """Keep servers with SQLite from a folder until the returned descriptor is closed; others may share it.

    Creates the folder. Raises StoreError if a server with SQLite uses it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise StoreError(f"The data folder {folder} cannot be used: {error.strerror}.") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise StoreError(f"The data folder {folder} is in use by another server{_owner(folder)}.") from None
    return descriptor


def lock_for_reading(folder: Path) -> int | None:
    """Keep servers from a folder until the returned descriptor is closed; None if one has it. Raises StoreError."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise StoreError(f"The data folder {folder} cannot be used: {error.strerror}.") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
