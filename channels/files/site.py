"""Floor 2: where the bytes of files are, with several servers on one store.

One server at a time writes a file: its home, at first the one where it was offered. The store has the home and the
data folder with the bytes, so the servers agree. When a home is gone, a server with the same folder adopts its files;
of those without a byte, any server may.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from store import FileRow, FilesElsewhere, ServerRow, Servers, Store
from wire.errors import LocalError, Refused

_NOTHING = FilesElsewhere()


class Site:
    """This server's part of the files. Any thread may call it."""

    def __init__(self, store: Store, servers: Servers, tell: Callable[[str], None], adopt: Callable[[], None]) -> None:
        """`tell` tells the other servers that a file has changed; `adopt` takes the files of servers that are gone.

        Raises LocalError.
        """
        self._store = store
        self._servers = servers
        self._tell = tell
        self._adopt = adopt
        self.several = not servers.alone
        self.here = servers.here
        self.folder = ""
        self._blobs = store.blobs()
        self._mark = _mark(servers.here, servers.secret)
        if not self.several:
            return
        try:
            self.folder = self._blobs.identity()
            self._blobs.mark(self._mark)
            servers.use_folder(self.folder)
            self._look_at_marks()
        except OSError as error:
            raise LocalError(f"The folder of files cannot be used: {error.strerror}.") from error

    def _look_at_marks(self) -> None:
        """Remove the marks of servers that are gone. Raises LocalError if the folder is a copy of another server's.

        Such a copy has the id of the other folder, but not all of its files.
        """
        for each in self._servers.others():
            if each.folder == self.folder and not self._blobs.is_marked(_mark(each.number, each.secret)):
                self._blobs.unmark(self._mark)
                raise LocalError(
                    f"The data folder is a copy of that of another server on this database, {each.name or 'which'},"
                    " which is running. Start with an empty data folder, or let both use the same one."
                )
        numbers = self._servers.numbers()
        for mark in self._blobs.marks():
            if int(mark.partition("-")[0]) not in numbers:
                self._blobs.unmark(mark)

    def close(self) -> None:
        """Leave the folder."""
        if self.several:
            self._blobs.unmark(self._mark)

    def is_home(self, row: FileRow) -> bool:
        """Return True if this server writes the file."""
        return not self.several or row.home == self.here

    def serves(self, row: FileRow, *, reads: bool) -> bool:
        """Return True if this server can do what is asked: `reads` is True if it needs the bytes only."""
        return self.is_home(row) or (reads and row.state == "done" and row.folder == self.folder)

    def others(self) -> list[int]:
        """Return the numbers of the other servers that are not gone."""
        return [number for number in self._servers.numbers() if number != self.here] if self.several else []

    def changed(self, id: str) -> None:
        """Tell the other servers that a file has changed."""
        if self.several:
            self._tell(id)

    def elsewhere(self, user: str, network: str, least: int) -> FilesElsewhere:
        """Return what the files with other homes take."""
        return self._store.sizes_elsewhere(self.here, user, network, least) if self.several else _NOTHING

    def server_of(self, row: FileRow, *, reads: bool) -> ServerRow | None:
        """Return the server that has to be asked about a file; None for this one. Raises Refused if none has it."""
        if self.serves(row, reads=reads):
            return None
        if row.home not in self._servers.numbers() and (row.folder == self.folder or not row.folder):
            self._adopt()
            row = self._store.file(row.id) or row
            if self.serves(row, reads=reads):
                return None
        living = {each.number: each for each in self._servers.others() if each.address}
        if row.home in living:
            return living[row.home]
        same = next((each for each in living.values() if row.folder and each.folder == row.folder), None)
        if same is None:
            raise self.away(row)
        return same

    def away(self, row: FileRow) -> Refused:
        """Return the refusal for a file whose bytes nobody has who runs."""
        name = self._servers.last_server(row.folder) if row.folder else ""
        server = f"the server {name}, which" if name else "a server that"
        return Refused("file-away", f"The bytes of {row.name} are at {server} is not running.")

    def moved(self, row: FileRow) -> Refused:
        """Return the refusal for a file that another server has adopted: whoever asks again is led to that one."""
        return Refused("file-away", f"The bytes of {row.name} are at another server. Ask again.")


def _mark(number: int, secret: str) -> str:
    """Return the name of a server's mark in its folder, which tells nobody the secret."""
    return f"{number}-{hashlib.sha256(secret.encode()).hexdigest()[:16]}"
