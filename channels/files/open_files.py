"""Floor 2: the files that one connection has open, at most a few at a time."""

from __future__ import annotations

from dataclasses import dataclass

from store import FileRow
from wire.errors import Refused
from wire.ranges import RangeSet

from ..session_reader import SessionReader
from .registry import Files
from .shared_file import SharedFile

_MOST = 16  # files that one connection has open at once


@dataclass(slots=True)
class OpenFile:
    """A file that a connection has open.

    `shared` is the same object for every connection that has the file open.
    `departures` is how many memberships had ended when the user's right to fetch it was checked.
    `unreached` counts requests that the peer may have sent before it learned that the sender listens; 0 if it does not
    want the file directly.
    """

    shared: SharedFile
    departures: int
    unreached: int = 0

    @property
    def row(self) -> FileRow:
        """The file as it is now. Raises Refused if it is not offered any more."""
        row = self.shared.row
        assert row is not None
        if row.state == "gone":
            raise Refused("gone", f"{row.name} is no longer offered.")
        return row

    @property
    def available(self) -> RangeSet:
        """The ranges that the server has. Raises Refused if the file is not offered any more."""
        ranges = self.shared.ranges  # before the row, since a file that is done has no ranges
        row = self.row
        return ranges if row.state == "open" else ((0, row.size),) if row.size else ()


class OpenFiles:
    """Files by the id that the peer uses. The connection's own thread calls all methods."""

    def __init__(self, files: Files, reader: SessionReader) -> None:
        """`reader` says whose connection it is, and is told of changes of the files."""
        self._files = files
        self._reader = reader
        self._open: dict[str, OpenFile] = {}  # the one used last at the end

    def serves(self, file: str, *, reads: bool) -> bool:
        """Return True if a file is open whose bytes are here: see `Site.serves`."""
        found = self._open.get(file)
        return found is not None and found.shared.serves(reads=reads)

    def forget(self, file: str) -> None:
        """Close a file, if it is open: its bytes are at another server."""
        found = self._open.pop(file, None)
        if found is not None:
            self._close(found)

    def open(self, file: str) -> OpenFile:
        """Return a file that the user may fetch, and open it if it is not. Raises Refused."""
        found, files = self._open.pop(file, None), self._files
        departures = files.departures
        if found is None:
            found = OpenFile(files.enter(file, self._reader.user_key), departures)
        else:
            found.shared.load()
            if found.departures != departures:
                self._check_again(found, departures)
        self._open[file] = found
        if len(self._open) > _MOST:
            self._close(self._open.pop(next(iter(self._open))))
        return found

    def _check_again(self, found: OpenFile, departures: int) -> None:
        """Raise Refused if the membership that has ended was this user's, in the log of the file."""
        try:
            row = found.shared.row
            assert row is not None
            self._files.check(row, self._reader.user_key)
        except BaseException:
            self._close(found)
            raise
        found.departures = departures

    def own(self, file: str) -> OpenFile:
        """Return a file that the user offers. Raises Refused."""
        found = self.open(file)
        if found.row.sender_key != self._reader.user_key:
            raise Refused("not-allowed", f"Only {found.row.sender_name} can upload {found.row.name}.")
        return found

    def _close(self, found: OpenFile) -> None:
        found.shared.forget(self._reader)
        self._files.leave(found.shared)

    def close(self) -> None:
        """Close all files."""
        while self._open:
            self._close(self._open.popitem()[1])
