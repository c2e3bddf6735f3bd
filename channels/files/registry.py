"""Floor 2: files: who offers what to whom, who may fetch it, and how long it is kept.

A file is offered in a log; its entry points at it. Whoever is in that log, and who offers it, may fetch it; to anybody
else it is as if there were none. The bytes are pulled: see transfers.py for what a connection may ask.
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
from .upload import Upload

_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # none looks like another
_ID = 8
_DAY = 86_400_000  # milliseconds
_PARTS = 10_000  # files in a folder
_NONE = "There is no such file, or it is not for you: see /files."


class Files:
    """All files of one server. All methods may be called from any thread."""

    def __init__(self, store: Store, limits: Limits) -> None:
        self._store = store
        self._limits = limits
        self._lock = leaf()
        self._uploads: dict[str, Upload] = {}  # those that somebody has open
        self._place = store.blobs()
        self._blobs = threading.Lock()  # a baton: a blob is not dropped while it is kept for somebody else's file
        self.departures = 0  # memberships that have ended: who has a file open may not fetch it any more
        self._expiry = Expiry(self._sweep)
        self._place.sweep(*store.kept_files())

    def _sweep(self) -> int | None:
        """End the files whose time is over; when that of the next one is. Raises StoreError, OSError."""
        for id in self._store.overdue_files(now()):
            self.end(id)
        return self._store.next_overdue()

    def close(self) -> None:
        """The server goes down."""
        self._expiry.close()

    # Offers

    def offer(
        self, log: int, sender: tuple[str, str], name: str, size: int, own: str = "",
        parts: Sequence[FilePart] = (), sha256: str = "",
    ) -> FileRow:  # fmt: skip
        """Offer a file in the log with that id, as the user with that key and name; made again, the first offer.

        Raises Refused.
        """
        self._check(name, size, parts)
        id = "".join(secrets.choice(_LETTERS) for _ in range(_ID))
        made = now()
        until = made + self._limits.file_days * _DAY
        sha256 = sha256.lower()
        row = FileRow(id, log, *sender, own or f"/{id}", name, size, made, until, sha256=sha256, parts=tuple(parts))
        kept = self._store.add_file(row, self._limits.files_per_user, self._limits.files)
        self._expiry.due(until)
        if kept.state == "gone" or kept.until <= made:
            raise Refused("gone", f"{kept.name} is not offered any more.")
        same = (kept.name, kept.size, kept.parts, kept.log) == (name, size, tuple(parts), log)
        if not same or (sha256 and kept.sha256 and sha256 != kept.sha256):
            raise Refused("file-conflict", f"That id stands for another file that you have offered, {kept.name}.")
        return kept

    def _check(self, name: str, size: int, parts: Sequence[FilePart]) -> None:
        check_file_name(name)
        most = self._limits.file_size
        if most and size > most:
            raise Refused("too-large", f"{name} has {size_words(size)}; a file may have {size_words(most)}.")
        if len(parts) > _PARTS:
            raise Refused("too-large", f"A folder may have {_PARTS} files in it; {name} has {len(parts)}.")
        for part in parts:
            check_path(part.name)
        if parts and sum(part.size for part in parts) != size:
            raise Refused("bad-frame", "The parts do not make up the size.")

    def offered(self, row: FileRow, number: int) -> None:
        """Note which entry offers a file."""
        self._store.set_file_number(row.id, number)

    def may_fetch(self, row: FileRow, user: str) -> bool:
        """Whether the user of that key offers the file, or is in the log where it is offered."""
        if row.sender == user:
            return True
        log = self._store.log(row.log)
        return log is not None and self._store.cursor(log, user) is not None

    def check(self, row: FileRow, user: str) -> None:
        """Raises Refused, the same for a file that is not theirs as for none."""
        if not self.may_fetch(row, user):
            raise Refused("no-such-file", _NONE)

    def membership_ended(self) -> None:
        """Somebody has left a log. What is open is looked at again, by whoever has it open, when it is asked for."""
        with self._lock:
            self.departures += 1

    def list(self, user: str) -> list[tuple[FileRow, list[str]]]:
        """Every file that is offered by or to the user of that key, and who has fetched it."""
        at = now()
        rows = [row for row in self._store.files_of(user) if row.until > at and row.number]
        names = self._store.fetched([row.id for row in rows if row.sender == user])
        return [(row, names.get(row.id, [])) for row in rows]

    def note_fetched(self, row: FileRow, name: str) -> bool:
        """A user has all of a file; whether that is news."""
        return self._store.note_fetched(row.id, name)

    # Open files

    def enter(self, id: str, user: str) -> Upload:
        """Open a file for the user of that key, who may name one of their own by their own id, too.

        To be given back with `leave`. Raises Refused: the same for a file that is not theirs as for none.
        """
        row = self._store.own_file(user, id)
        upload = self._enter(row.id if row is not None else id)
        try:
            row = upload.load()
            if row is None:
                raise Refused("no-such-file", _NONE)
            self.check(row, user)
            if row.state == "gone" or row.until <= now():
                raise Refused("gone", f"{row.name} is not offered any more.")
        except BaseException:
            self.leave(upload)
            raise
        return upload

    def open_blob(self, row: FileRow) -> int:
        """Return a descriptor to read what the server has of a file. Raises OSError."""
        return self._place.read_blob(row.sha256) if row.state == "done" else self._place.read_part(row.id)

    def _enter(self, id: str) -> Upload:
        with self._lock:
            upload = self._uploads.get(id)
            if upload is None:
                upload = self._uploads[id] = Upload(id, self._store, self._place)
            upload.users += 1
            return upload

    def leave(self, upload: Upload) -> None:
        """Let go of a file."""
        with self._lock:
            upload.users -= 1
            last = not upload.users and self._uploads.pop(upload.id, None) is upload
        if last:
            upload.close()

    def finish(self, upload: Upload, sha256: str, size: int | None = None) -> FileRow:
        """Verify a file and keep it. Raises Refused, or OSError."""
        return upload.finish(sha256.lower(), size, self._blobs)

    def end(self, id: str) -> None:
        """Nobody is to have a file any more."""
        upload = self._enter(id)
        try:
            upload.end(self._blobs)
        finally:
            self.leave(upload)
