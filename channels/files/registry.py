"""Floor 2: the registry of files: which are offered in which log, who may fetch them, and how long they are kept.

A file is offered in a log, by an entry that points at it. The members of that log and the user who offers the file may
fetch it. Any other user gets the same answer as for a file that does not exist.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Sequence

from store import FileRow, Store
from wire.clock import now
from wire.errors import Refused
from wire.file_names import check_file_name, check_path, size_words
from wire.frames import FilePart
from wire.limits import Limits

from ..locks import leaf
from .expiry import Expiry
from .shared_file import SharedFile

_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # no two look alike
_ID = 8
_DAY = 86_400_000  # milliseconds
_NONE = "No such file, or it was not offered to you. /files lists yours."


class Files:
    """All files of one server. All methods may be called from any thread."""

    def __init__(self, store: Store, limits: Limits) -> None:
        self._store = store
        self._limits = limits
        self._lock = leaf()
        self._open: dict[str, SharedFile] = {}  # those that a connection has open
        self._blobs = store.blobs()
        self._blob_turn = threading.Lock()  # a baton: a blob is not dropped while it becomes the blob of another file
        self.departures = 0  # memberships that have ended, after which open files are checked again
        self._expiry = Expiry(self._sweep)
        self._blobs.sweep(*store.kept_files())

    def _sweep(self) -> int | None:
        """End the files that have expired. Return when the next one expires. Raises StoreError, OSError."""
        for id in self._store.overdue_files(now()):
            self.end(id)
        return self._store.next_overdue()

    def close(self) -> None:
        """End the thread of the expiry."""
        self._expiry.close()

    # Offers

    def offer(
        self, log: int, sender: tuple[str, str], name: str, size: int, own: str = "",
        parts: Sequence[FilePart] = (), sha256: str = "",
    ) -> FileRow:  # fmt: skip
        """Offer a file in the log with the id `log`, as the user with that key and name, and return its row.

        An offer that is made again returns the first one's row. Raises Refused.
        """
        name, parts = self._checked(name, size, parts)
        id = "".join(secrets.choice(_LETTERS) for _ in range(_ID))
        made = now()
        until = made + self._limits.file_days * _DAY
        sha256 = sha256.lower()
        row = FileRow(id, log, *sender, own or f"/{id}", name, size, made, until, sha256=sha256, parts=tuple(parts))
        kept = self._store.add_file(row, self._limits.files_per_user, self._limits.files)
        self._expiry.due(until)
        if kept.state == "gone" or kept.until <= made:
            raise Refused("gone", f"{kept.name} is no longer offered.")
        same = (kept.name, kept.size, kept.parts, kept.log) == (name, size, tuple(parts), log)
        if not same or (sha256 and kept.sha256 and sha256 != kept.sha256):
            raise Refused("file-conflict", f"You have offered another file with that id: {kept.name}.")
        return kept

    def _checked(self, name: str, size: int, parts: Sequence[FilePart]) -> tuple[str, Sequence[FilePart]]:
        """Return the name and the parts without invisible characters in names. Raises Refused."""
        name = check_file_name(name)
        most = self._limits.file_size
        if most and size > most:
            raise Refused("too-large", f"{name} has {size_words(size)}. The limit of a file is {size_words(most)}.")
        if len(parts) > self._limits.folder_files:
            raise Refused("too-large", f"{name} has {len(parts)} files. The limit is {self._limits.folder_files}.")
        parts = [FilePart(check_path(part.name), part.size) for part in parts]
        if len({part.name for part in parts}) < len(parts):
            raise Refused("bad-file-name", f"Two files in {name} have the same path.")
        if parts and sum(part.size for part in parts) != size:
            raise Refused("bad-frame", "The sizes of the parts do not add up to the size of the file.")
        return name, parts

    def offered(self, row: FileRow, number: int) -> None:
        """Store the number of the entry that offers a file."""
        self._store.set_file_number(row.id, number)

    def may_fetch(self, row: FileRow, user: str) -> bool:
        """Return True if the user of that key offers the file, or is in the log where it is offered."""
        if row.sender_key == user:
            return True
        log = self._store.log(row.log)
        return log is not None and self._store.cursor(log, user) is not None

    def check(self, row: FileRow, user: str) -> None:
        """Raise Refused, as for an unknown file, if the user of that key may not fetch the file."""
        if not self.may_fetch(row, user):
            raise Refused("no-such-file", _NONE)

    def membership_ended(self) -> None:
        """Have every connection check its open files again before it uses them: a user has left a log."""
        with self._lock:
            self.departures += 1

    def list(self, user: str) -> list[tuple[FileRow, list[str]]]:
        """Return every file that is offered by or to the user of that key, with the names of those who fetched it.

        Only the sender of a file gets the names.
        """
        at = now()
        rows = [row for row in self._store.files_of(user) if row.until > at and row.number]
        names = self._store.fetched([row.id for row in rows if row.sender_key == user])
        return [(row, names.get(row.id, [])) for row in rows]

    def note_fetched(self, row: FileRow, name: str) -> bool:
        """Store that a user has fetched a file. Return True if it was not stored before."""
        return self._store.note_fetched(row.id, name)

    # Open files

    def enter(self, id: str, user: str) -> SharedFile:
        """Open a file for the user of that key; `leave` closes it.

        `id` is the server's id of the file, or the one that the user chose in the offer.

        Raises Refused, with the same sentence for an unknown file and for one that the user may not fetch.
        """
        row = self._store.own_file(user, id)
        shared = self._enter(row.id if row is not None else id)
        try:
            row = shared.load()
            if row is None:
                raise Refused("no-such-file", _NONE)
            self.check(row, user)
            if row.state == "gone" or row.until <= now():
                raise Refused("gone", f"{row.name} is no longer offered.")
        except BaseException:
            self.leave(shared)
            raise
        return shared

    def open_blob(self, row: FileRow) -> int:
        """Return a descriptor to read what the server has of a file. Raises OSError."""
        return self._blobs.read_blob(row.sha256) if row.state == "done" else self._blobs.read_part(row.id)

    def _enter(self, id: str) -> SharedFile:
        with self._lock:
            shared = self._open.get(id)
            if shared is None:
                shared = self._open[id] = SharedFile(id, self._store, self._blobs, self._limits)
            shared.users += 1
            return shared

    def leave(self, shared: SharedFile) -> None:
        """Close a file that `enter` has opened."""
        with self._lock:
            shared.users -= 1
            last = not shared.users and self._open.pop(shared.id, None) is shared
        if last:
            shared.close()

    def finish(self, shared: SharedFile, sha256: str, size: int | None = None) -> FileRow:
        """See `SharedFile.finish`. Without a `size`, it is not checked."""
        return shared.finish(sha256.lower(), size, self._blob_turn)

    def end(self, id: str) -> None:
        """End the offer of a file, and remove its bytes."""
        shared = self._enter(id)
        try:
            shared.end(self._blob_turn)
        finally:
            self.leave(shared)
