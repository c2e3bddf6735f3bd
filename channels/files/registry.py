"""Floor 2: the registry of files: which are offered in which log, who may fetch them, and how long they are kept.

A file is offered in a log, by an entry that points at it. The members of that log and the user who offers the file may
fetch it. Any other user gets the same answer as for a file that does not exist.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from store import Alone, FileRow, FileSummary, ServerRow, Servers, Store
from wire.clock import now
from wire.errors import Refused
from wire.file_names import check_file_name, check_path, size_words
from wire.frames import FilePart
from wire.limits import Limits

from ..locks import leaf
from .away import Lines
from .descriptors import Descriptors
from .expiry import Expiry
from .quotas import RESERVE, Owner, Quotas, Usage, charge, charge_complete
from .shared_file import DAY, MINUTE, SharedFile, names_size, ranges_on_disk
from .site import Site

_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # no two look alike
_ID = 8
_FETCHED = 100  # names in a list of those who have fetched a file
_NONE = "No such file, or it was not offered to you. /files lists yours."


@dataclass(frozen=True, slots=True)
class Sender:
    """The sender of a file: a user's key and name, and the network of the address, empty if it is not known."""

    key: str
    name: str
    network: str
    registered: bool


def _is_over(row: FileRow, at: int) -> bool:
    """Return True if a file is not offered any more. The expiry ends incomplete files, as their time moves on."""
    return row.state == "gone" or (row.state == "done" and row.until <= at)


class Files:
    """All files, as one server sees them. All methods may be called from any thread."""

    def __init__(
        self, store: Store, limits: Limits, servers: Servers | None = None, tell: Callable[[str], None] | None = None
    ) -> None:
        """`tell` tells the other `servers` that the file with an id has changed. Raises StoreError, OSError."""
        self._store = store
        self._limits = limits
        self._lock = leaf()
        self._open: dict[str, SharedFile] = {}  # those that a connection has open
        self._blobs = store.blobs()
        self.descriptors = Descriptors(limits.open_files)
        self.lines = Lines()  # to other servers
        self.departures = 0  # memberships that have ended, after which open files are checked again
        self.site = Site(store, servers or Alone(), tell or (lambda id: None), self._adopt)
        self._adopting = threading.Lock()  # a baton
        self._take_over()
        self._quotas = Quotas(limits, self._usage())
        self._expiry = Expiry(self._sweep)
        self._blobs.sweep(lambda: store.kept_files(self.site.folder if self.site.several else None))

    def _take_over(self) -> None:
        """Be the home of the files in this folder whose home is gone, as at the start after a crash."""
        site = self.site
        if not site.several:
            return
        for row in self._store.files_without_folder():
            if self._blobs.has_blob(row.sha256) if row.state == "done" else self._blobs.part_size(row.id):
                self._store.set_folder(row.id, site.folder)
        self._store.adopt_files(site.here, site.folder, site.others())

    def _adopt(self) -> None:
        """Do so while the server runs. Raises StoreError, OSError."""
        with self._adopting:
            adopted = self._store.adopt_files(self.site.here, self.site.folder, self.site.others())
            self._quotas.add([self._usage_of(row, registered) for row, registered in adopted])
        for row, _ in adopted:
            self.changed_elsewhere(row.id)
            self.site.changed(row.id)
            self._expiry.due(row.until)

    def _usage(self) -> Iterator[Usage]:
        """Yield what is on the disk of the files that this server writes. Called at the start.

        Raises StoreError, OSError.
        """
        home = self.site.here if self.site.several else None
        for done in self._store.done_sizes(RESERVE, home):
            yield Usage(Owner(done.sender_key, done.network), done.registered, done.size, 0)
        for row, registered in self._store.open_files(home):
            yield self._usage_of(row, registered)

    def _usage_of(self, row: FileRow, registered: bool) -> Usage:
        """Return what one file uses. An incomplete one gets its time anew: nobody could continue it meanwhile."""
        owner, names = Owner(row.sender_key, row.network), names_size(row.parts)
        if row.state == "done":
            return Usage(owner, registered, charge_complete(row.size, names), 0)
        self._store.extend_file(row.id, self._open_until(row.made))
        return Usage(owner, registered, charge(ranges_on_disk(row, self._blobs), names), 1)

    def _open_until(self, made: int) -> int:
        """Return until when an incomplete file is offered if no byte of it comes from now on."""
        return min(now() + self._limits.offer_minutes * MINUTE, made + self._limits.file_days * DAY)

    def _sweep(self) -> int | None:
        """End the files that have expired. Return when the next one expires. Raises StoreError, OSError."""
        at, others = now(), self.site.others()
        for id in self._store.overdue_files(at, others):
            self._end_or_extend(id, at)
        self._store.forget_files(at - self._limits.file_days * DAY)
        return self._store.next_overdue(others)

    def _end_or_extend(self, id: str, at: int) -> None:
        """End an offer, unless it is of an incomplete file of which bytes have come lately.

        Without its home, an incomplete file stays as long as a complete one: the home may come back.
        """
        shared = self._enter(id)
        try:
            until = shared.still_offered()
            if until > at:
                self._store.extend_file(id, until)
            else:
                shared.end()
        finally:
            self.leave(shared)

    def close(self) -> None:
        """End the thread of the expiry, and the lines to other servers."""
        self._expiry.close()
        self.lines.close()
        self.site.close()

    # Other servers

    def find(self, file: str, user: str) -> FileRow:
        """Return a file that the user of that key may fetch, by the server's id or the user's own. Raises Refused."""
        row = self._store.own_file(user, file) or self._store.file(file)
        if row is None:
            raise Refused("no-such-file", _NONE)
        self.check(row, user)
        if _is_over(row, now()):
            raise Refused("gone", f"{row.name} is no longer offered.")
        return row

    def locate(self, file: str, user: str, *, reads: bool) -> tuple[FileRow, ServerRow | None]:
        """Return such a file, and the server that has to be asked about it; None for this one. Raises Refused."""
        row = self.find(file, user)
        return row, self.site.server_of(row, reads=reads)

    def changed_elsewhere(self, id: str) -> None:
        """Look at a file again before it is used: another server has changed it."""
        shared = self._open.get(id)
        if shared is not None:
            shared.look_again()

    def was_away(self) -> None:
        """Count anew what this server writes: others may have taken it for dead. Raises StoreError, OSError.

        Bytes that come at this moment may be counted wrongly until the next start.
        """
        self._look_at_open()
        with self._adopting:
            self._quotas.replace(self._usage())

    def _look_at_open(self) -> None:
        with self._lock:
            left = list(self._open)
        for id in left:
            self.changed_elsewhere(id)

    def look_again(self) -> None:
        """Look at all files again, and take over those whose home is gone. Raises StoreError, OSError."""
        self.membership_ended()  # perhaps
        self._look_at_open()
        if self.site.several:
            self._adopt()
            self._expiry.due(now())  # those whose home is gone may be overdue

    # Offers

    def offer(
        self, log: int, sender: Sender, name: str, size: int, own: str = "", parts: Sequence[FilePart] = (),
        sha256: str = "", *, uploaded: bool = False,
    ) -> FileRow:  # fmt: skip
        """Offer a file in the log with the id `log`, and return its row. `uploaded`: it cannot go to a client directly.

        An offer that is made again returns the first one's row. Raises Refused.
        """
        name, parts = self._checked(name, size, parts)
        id = "".join(secrets.choice(_LETTERS) for _ in range(_ID))
        made = now()
        sha256 = sha256.lower()
        kept = self._store.own_file(sender.key, own) if own else None
        if kept is None:
            row = FileRow(
                id, log, sender.key, sender.name, own or f"/{id}", name, size, made, self._open_until(made),
                sha256=sha256, parts=tuple(parts), network=sender.network, home=self.site.here,
            )  # fmt: skip
            kept = self._add(row, sender.registered, max(size, RESERVE) if uploaded else 0)
        if _is_over(kept, made):
            raise Refused("gone", f"{kept.name} is no longer offered.")
        same = (kept.name, kept.size, kept.parts, kept.log) == (name, size, tuple(parts), log)
        if not same or (sha256 and kept.sha256 and sha256 != kept.sha256):
            raise Refused("file-conflict", f"You have offered another file with that id: {kept.name}.")
        return kept

    def _add(self, row: FileRow, registered: bool, size: int) -> FileRow:
        """Store an offer and count it; `size` is what must fit. Return the one with the same own id if it is there."""
        owner, names = Owner(row.sender_key, row.network), names_size(row.parts)
        elsewhere = self.site.elsewhere(*owner, RESERVE)
        self._quotas.offer(owner, names, size, registered=registered, elsewhere=elsewhere)
        kept: FileRow | None = None
        try:
            kept = self._store.add_file(row)
        finally:
            if kept is not row:
                self._quotas.shrink(owner, charge((), names), 1)
        self._expiry.due(row.until)
        return kept

    def registered(self, user: str) -> None:
        """The user of that key has registered the name, so the files of that user are no longer those of a guest."""
        self._quotas.registered(user)

    def _checked(self, name: str, size: int, parts: Sequence[FilePart]) -> tuple[str, Sequence[FilePart]]:
        """Return the name and the parts without invisible characters in names. Raises Refused."""
        name = check_file_name(name)
        most = self._limits.file_size
        if most and size > most:
            raise Refused("too-large", f"{name} has {size_words(size)}. The limit of a file is {size_words(most)}.")
        if len(parts) > self._limits.folder_files:
            raise Refused("too-large", f"{name} has {len(parts)} files. The limit is {self._limits.folder_files}.")
        parts = [FilePart(check_path(part.name), part.size) for part in parts]
        if names_size(parts) > self._limits.folder_bytes:
            sentence = f"The list of files has more than {self._limits.folder_bytes} bytes. Send an archive instead."
            raise Refused("too-large", sentence)
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

    def list(self, user: str, after: str, limit: int) -> list[tuple[FileSummary, list[str]]]:
        """Return at most `limit` files that are offered by or to the user of that key, with names of who fetched them.

        The list begins after the file with the id `after`. Only the sender of a file gets the names, and some of them
        only if there are many.
        """
        rows = self._store.files_of(user, now(), after, limit)
        names = self._store.fetched([row.id for row in rows if row.sender_key == user], _FETCHED)
        return [(self._as_it_is(row), names.get(row.id, [])) for row in rows]

    def _as_it_is(self, row: FileSummary) -> FileSummary:
        """Return the row of a file that may be open, with the ranges that the store does not know yet."""
        shared = self._open.get(row.id)
        known = shared is not None and shared.written_here and row.state == "open"
        return replace(row, ranges=shared.ranges) if shared is not None and known else row

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
            if _is_over(row, now()):
                raise Refused("gone", f"{row.name} is no longer offered.")
        except BaseException:
            self.leave(shared)
            raise
        return shared

    def _enter(self, id: str) -> SharedFile:
        with self._lock:
            shared = self._open.get(id)
            if shared is None:
                shared = self._open[id] = SharedFile(
                    id, self._store, self._blobs, self._limits, self._quotas, self.descriptors, self.site
                )
            shared.users += 1
            return shared

    def leave(self, shared: SharedFile) -> None:
        """Close a file that `enter` has opened.

        The last one to leave has the ranges stored before the next one can load the file from the store.
        """
        with self._lock:
            shared.users -= 1
            idle = not shared.users
        if not idle:
            return
        changes = shared.settle()
        with self._lock:
            last = not shared.users and shared.changes == changes and self._open.pop(shared.id, None) is shared
        if last:
            shared.close()

    def finish(self, shared: SharedFile, sha256: str, size: int | None = None) -> FileRow:
        """See `SharedFile.finish`. Without a `size`, it is not checked."""
        return shared.finish(sha256.lower(), size)

    def end(self, id: str) -> None:
        """End the offer of a file, and remove its bytes."""
        shared = self._enter(id)
        try:
            shared.end()
        finally:
            self.leave(shared)
