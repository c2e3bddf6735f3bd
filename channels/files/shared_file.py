"""Floor 2: a file that connections have open, during its upload or after: its ranges, its sender, its receivers.

Bytes are written before their range is recorded, so the recorded ranges outlive `kill -9`. A range is recorded beside
the part, and all ranges in the store after some thousand of them, and when no connection has the file open any more.

Bytes that the server has are not written over, so that the checksum can be computed as they come. After a checksum that
did not match, they are.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

import msgspec

from reporting import events, report
from store import Blobs, FileRow, Files, FilesElsewhere, StoreError
from wire.clock import now
from wire.errors import Refused
from wire.frames import FilePart, More, Wanted
from wire.limits import Limits
from wire.ranges import EMPTY, RangeSet, add, clip, missing, union

from ..locks import leaf
from ..session_reader import SessionReader
from .descriptors import Descriptors
from .digest import update_from_file
from .direct_sender import DirectSender
from .quotas import RESERVE, Owner, Quotas, charge, charge_complete
from .site import Site

MINUTE, DAY = 60_000, 86_400_000  # milliseconds
_MISMATCHES = 20  # times that a checksum may not match before the upload has to begin anew
_RECORDS = 4_096  # ranges that are recorded beside a part until the store is told
_WATCHERS = 10_000  # readers that wait for one file
_TELL = 1.0  # seconds after which other servers learn how much of an upload is there


class SharedFile:
    """One file, the same object for all connections that have it open. `users` counts them: see `Files.enter`.

    `_turn` is a baton, not a leaf: a thread that writes, finishes or ends the file holds it across the disk's work, and
    only threads that do the same with the same file wait for it. `ranges` is one immutable object that is replaced, so
    that reading it takes no lock.
    """

    def __init__(
        self, id: str, store: Files, blobs: Blobs, limits: Limits, quotas: Quotas, descriptors: Descriptors, site: Site
    ) -> None:
        self.id = id
        self.users = 0
        self.row: FileRow | None = None
        self.ranges = EMPTY
        self.version = 0  # counts the changes that readers are told of
        self.changes = 0  # counts the ranges that were recorded
        self._store = store
        self._blobs = blobs
        self._limits = limits
        self._quotas = quotas
        self._descriptors = descriptors
        self._site = site
        self._stale = False  # another server has changed the row
        self._owned = False  # the part is locked, so that no other server adds ranges
        self.written_here = False  # the ranges are those on this server's disk
        self._elsewhere: FilesElsewhere | None = None  # before the first byte here
        self._told = 0.0  # by time.monotonic, when the store was last told of the ranges, for `files` at other servers
        # Keys of the descriptors that write the part and the record; the id is the key of the one that reads.
        self._part, self._record = f"{id}.part", f"{id}.ranges"
        self._charged = 0  # bytes that the file counts for the quotas, 0 for one that is gone
        self._names = 0  # bytes of the list of its parts
        self._until = 0  # an incomplete file is offered until then, if nothing comes before
        self._turn = threading.Lock()
        self.direct_sender: DirectSender | None = None  # where its sender listens
        self._lock = leaf()
        self._watchers: set[SessionReader] = set()
        self._recorded = 0  # ranges beside the part, of which the store does not know
        self._hash = hashlib.sha256()
        self._hashed = 0  # bytes that `_hash` covers
        self._mismatches = 0  # after the first one, any bytes may be written over

    def load(self) -> FileRow | None:
        """Return the file's row, None for an unknown id.

        It is read from the store once, and again after another server has changed it.
        """
        if self.row is None or self._stale:
            with self._turn:
                self._load()
        return self.row

    def look_again(self) -> None:
        """Read the row again before it is used, and have those who wait ask again.

        The descriptors are closed, as another server may have to write the part.
        """
        self._stale, self._owned = True, False
        self._close()
        self.changed()

    def serves(self, *, reads: bool) -> bool:
        """Return True if what is asked can be done here, as far as it is known: see `Site.serves`."""
        row = self.row
        return row is not None and not self._stale and self._site.serves(row, reads=reads)

    def _load(self) -> None:
        """Read the row, if that was not done; and the disk, if this server writes the file and has not done so yet."""
        if self.row is not None and not self._stale:
            return
        self._stale = False
        row = self.row = self._store.file(self.id)
        written_here = row is not None and row.state != "gone" and self._site.is_home(row)
        if written_here and self.written_here:
            return
        if self.written_here:
            self._give_up()
        self.written_here = written_here
        if row is None or not written_here:
            return
        self._names, self._until = names_size(row.parts), row.until
        if row.state == "open":
            self.ranges = ranges_on_disk(row, self._blobs)
            self._charged = charge(self.ranges, self._names)
        else:
            self._charged = charge_complete(row.size, self._names)

    def _give_up(self) -> None:
        """Leave the file to another server, which has taken this one for dead: see `Files.was_away`."""
        self._charged = 0
        self.ranges = EMPTY
        self._hash, self._hashed = hashlib.sha256(), 0
        self._recorded = 0
        self._elsewhere = None
        self._owned = False
        self._close()

    def _open_row(self) -> FileRow:
        row = self.row
        assert row is not None
        if row.state == "gone":
            raise Refused("gone", f"{row.name} is no longer offered.")
        return row

    def _writable_row(self) -> FileRow:
        """Return the row of a file that this server writes. Raises Refused."""
        row = self._open_row()
        if self._stale or not self._site.is_home(row):
            raise self._site.moved(row)
        if self._site.several and not self._owned and row.state == "open" and row.folder:
            self._own(row)
        return row

    def _own(self, row: FileRow) -> None:
        """Lock the part, and read which ranges the last home has recorded until it has let go of it.

        Raises Refused while it has not.
        """
        with self._open_part():
            ranges = union([*self.ranges, *ranges_on_disk(row, self._blobs)])
        if ranges != self.ranges:
            size = charge(ranges, self._names)
            self._quotas.shrink(_owner(row), self._charged - size)
            self.ranges, self._charged = ranges, size
            self._hash, self._hashed = hashlib.sha256(), 0
        self._owned = True

    def _place(self, row: FileRow) -> FileRow:
        """Store, before the first byte, that the bytes are in this folder. Return the row."""
        if row.folder or not self._site.several:
            return row
        if not self._store.place_file(self.id, self._site.here, self._site.folder):
            self._stale = True
            raise self._site.moved(row)
        row = self.row = replace(row, folder=self._site.folder)
        return row

    # Writing

    def put(self, offset: int, data: bytes | memoryview, sha256: str = "") -> None:
        """Write bytes of the file that the server does not have. Raises Refused, or OSError from the disk."""
        end = offset + len(data)
        with self._turn:
            row = self._writable_row()
            if end > row.size:
                raise Refused("bad-range", f"{row.name} has {row.size} bytes, so bytes {offset} to {end} do not exist.")
            if row.state == "done":
                return  # a repeat
            if sha256 and hashlib.sha256(data).hexdigest() != sha256.lower():
                raise Refused("checksum-mismatch", f"The SHA-256 of bytes {offset} to {end} does not match.")
            gaps: RangeSet = ((offset, end),) if self._mismatches else missing(self.ranges, offset, end)
            if gaps:
                self._keep(row, gaps, offset, memoryview(data))
                if self._mismatches:
                    self._hash, self._hashed = hashlib.sha256(), 0
            # Not if the server had some of the bytes, which may differ: then `finish` reads them from the disk.
            if offset <= self._hashed < end and gaps == ((self._hashed, end),) and not self._mismatches:
                self._hash.update(memoryview(data)[self._hashed - offset :])
                self._hashed = end
        if gaps:
            self.changed()

    def _keep(self, row: FileRow, gaps: RangeSet, offset: int, data: memoryview) -> None:
        """Write these ranges, and record them. Raises Refused if there are too many, or if a quota is used up."""
        end = offset + len(data)
        ranges = self._with_room(offset, end)
        size = charge(ranges, self._names) - self._charged
        if self._elsewhere is None:
            self._elsewhere = self._site.elsewhere(row.sender_key, row.network, RESERVE)
        rest = charge_complete(row.size, self._names) - self._charged
        self._quotas.grow(_owner(row), size, rest, self._elsewhere)
        try:
            row = self._place(row)
            self._write(gaps, offset, data)
            if ranges != self.ranges:
                self._note(offset, end, ranges)
        except BaseException:
            self._quotas.shrink(_owner(row), size)
            raise
        self._charged += size
        self._until = now() + self._limits.offer_minutes * MINUTE

    def _write(self, gaps: RangeSet, offset: int, data: memoryview) -> None:
        with self._open_part() as part:
            self._blobs.write_part(part, [(first, data[first - offset : end - offset]) for first, end in gaps])

    def _open_part(self) -> AbstractContextManager[int]:
        """Return a block with a descriptor that writes the part. Raises Refused, OSError."""
        return self._descriptors.use(self._part, self._open_to_write)

    def _open_to_write(self) -> int:
        try:
            return self._blobs.open_part(self.id)
        except BlockingIOError:
            sentence = "Another server has not finished with the file yet. Try again."
            raise Refused("file-away", sentence) from None

    def _with_room(self, first: int, end: int) -> RangeSet:
        """Return the ranges with one more. Raises Refused if those are too many, which would be slow to handle."""
        ranges = add(self.ranges, first, end)
        if len(ranges) > self._limits.ranges and len(ranges) > len(self.ranges):
            sentence = (
                f"The upload has {self._limits.ranges} ranges with gaps between them. Fill some of the gaps first."
            )
            raise Refused("bad-range", sentence)
        return ranges

    def _note(self, first: int, end: int, ranges: RangeSet) -> None:
        """Record that a range is written, so that these are the ranges."""
        if self._recorded >= _RECORDS:
            self._tell_store()
        with self._descriptors.use(self._record, lambda: self._blobs.open_record(self.id)) as record:
            self._blobs.record_range(record, first, end)
        self.ranges = ranges
        self._recorded += 1
        self.changes += 1
        if self._site.several and time.monotonic() >= self._told + _TELL:
            self._tell_progress()

    def _tell_progress(self) -> None:
        """Store the ranges for those who list files at other servers. The record beside the part stays."""
        self._told = time.monotonic()
        try:
            self._store.keep_ranges(self.id, self.ranges, self._until, self._site.here)
        except StoreError as error:
            report(events.StoreProblem(str(error), "Other servers show older progress of a file."))

    def _tell_store(self) -> None:
        """Store the ranges that are recorded beside the part. The record stays for another home, if there is one."""
        self._store.keep_ranges(self.id, self.ranges, self._until, self._site.here)
        if self._site.several and not self._is_still_home():
            self._stale = True
            return
        self._descriptors.drop(self._record)
        self._blobs.clear_record(self.id)
        self._recorded = 0

    def _is_still_home(self) -> bool:
        row = self._store.file(self.id)
        return row is not None and self._site.is_home(row)

    def finish(self, sha256: str, size: int | None) -> FileRow:
        """Verify the file, make it a blob, and return its row.

        Raises Refused, or OSError from the disk.
        """
        with self._turn:
            row = self._writable_row()
            if size is not None and size != row.size:
                raise Refused("bad-range", f"{row.name} was offered with {row.size} bytes, not with {size}.")
            sha256 = sha256 or row.sha256
            if row.state == "done":
                if row.sha256 != sha256:
                    raise Refused("checksum-mismatch", f"{row.name} is complete, with the SHA-256 {row.sha256}.")
                return row
            gaps = missing(self.ranges, 0, row.size)
            if gaps:
                raise Refused("incomplete", f"Bytes {gaps[0][0]} to {gaps[0][1]} of {row.name} are missing.")
            if self._mismatches >= _MISMATCHES:
                sentence = f"The SHA-256 of {row.name} did not match {_MISMATCHES} times. /cancel it and send it again."
                raise Refused("checksum-mismatch", sentence)
            digest = self._digest(row.size)
            if (sha256 or digest) != digest:
                self._mismatches += 1
                raise Refused("checksum-mismatch", f"{row.name} is complete, but its SHA-256 does not match.")
            row = self._place(row)
            with self._open_part():  # an empty file has none yet
                pass
            until = row.made + self._limits.file_days * DAY
            with self._blobs.turn():
                self._blobs.keep(self.id, digest)
                if not self._store.finish_file(self.id, digest, until, self._site.here):
                    raise self._not_finished(row)
            size = charge_complete(row.size, self._names)
            self._quotas.shrink(_owner(row), self._charged - size, 1)
            self._charged = size
            self.row = row = self._store.file(self.id) or row
            self._blobs.drop_part(self.id)
            self._close()
            self._recorded = 0
        self.changed()
        self._site.changed(self.id)
        return row

    def _not_finished(self, row: FileRow) -> Refused:
        """Return why the store has not taken the end of the upload."""
        now = self._store.file(self.id) if self._site.several else None
        if now is None or now.state == "gone":
            return Refused("gone", f"{row.name} is no longer offered.")
        self._stale = True
        return self._site.moved(row)

    def _digest(self, size: int) -> str:
        """Return the SHA-256 of the whole. What was hashed already, and not written over, is not read again."""
        if self._hashed < size:
            with self._open_part() as part:
                self._hashed = update_from_file(self._hash, part, self._hashed, size)
            if self._hashed < size:
                raise Refused("incomplete", "The uploaded part is damaged. Send the file again.")
        return self._hash.hexdigest()

    def still_offered(self) -> int:
        """Return until when the file is offered, in milliseconds since 1970. A sender that listens extends the offer.

        It is later than the row's time if bytes have come since. Called by the thread `expiry`.
        """
        with self._turn:
            self._load()
            row = self.row
            if row is None or row.state != "open":
                return row.until if row is not None else 0
            if not self.written_here:
                return row.made + self._limits.file_days * DAY
            until = now() + self._limits.offer_minutes * MINUTE if self.direct_sender is not None else self._until
            return min(until, row.made + self._limits.file_days * DAY)

    def end(self) -> None:
        """End the offer, and remove the bytes, unless they are in the folder of a server that is gone."""
        with self._turn:
            self._load()
            row = self.row
            with self._blobs.turn():
                sha256 = self._store.drop_file(self.id, now())
                if sha256 is not None and row is not None and row.folder == self._site.folder:
                    self._blobs.drop_blob(sha256)
            if row is not None and row.state != "gone" and self.written_here:
                self._quotas.shrink(_owner(row), self._charged, 1 if row.state == "open" else 0)
                self._charged = 0
            self._blobs.drop_part(self.id)
            self._close()
            self._recorded = 0
            self.row, self.ranges, self.written_here = self._store.file(self.id), EMPTY, False
        self.want()  # a sender that listens would wait for ever
        self.changed()
        self._site.changed(self.id)

    def read(self) -> AbstractContextManager[int]:
        """Return a block with a descriptor that reads what the server has. Raises Refused, OSError."""
        return self._descriptors.use(self.id, self._open_to_read)

    def _open_to_read(self) -> int:
        row = self._open_row()
        try:
            return self._open_as(row)
        except FileNotFoundError:  # it was finished just now: the blob appears before the part disappears
            row = self._open_row()
            if row.state != "done":
                raise
            return self._open_as(row)

    def _open_as(self, row: FileRow) -> int:
        return self._blobs.read_blob(row.sha256) if row.state == "done" else self._blobs.read_part(row.id)

    # Waiting for more

    def watch(self, reader: SessionReader, version: int) -> None:
        """Tell a reader, once, when the file has changed since `version`, which may be now."""
        with self._lock:
            news = self.version != version
            if not news and len(self._watchers) < _WATCHERS:
                self._watchers.add(reader)
        if news:
            reader.reply(More(self.id))

    def changed(self) -> None:
        """Tell the readers that wait for a change."""
        with self._lock:
            self.version += 1
            watchers, self._watchers = self._watchers, set()
        for reader in watchers:
            reader.reply(More(self.id))

    def want(self) -> None:
        """Tell a sender that listens, once, that a receiver needs the file from the server."""
        with self._lock:
            sender, self.direct_sender = self.direct_sender, None
        if sender is not None:
            sender.reader.reply(Wanted(self.id))

    def forget(self, reader: SessionReader) -> None:
        """Tell a reader nothing more, as a receiver or as a sender."""
        sender = self.direct_sender
        if sender is not None and sender.reader is reader:
            self.direct_sender = None
        with self._lock:
            self._watchers.discard(reader)

    def _close(self) -> None:
        """Close the descriptors, also those that read what was a part and is a blob now, or is gone."""
        for key in (self._part, self._record, self.id):
            self._descriptors.drop(key)

    def settle(self) -> int:
        """Store the ranges, and return `changes`. Called when no connection has the file open."""
        with self._turn:
            if self._recorded:
                try:
                    self._tell_store()
                except (StoreError, OSError) as error:  # the record beside the part is enough
                    report(events.FileFailed(self.id, str(error)))
            return self.changes

    def close(self) -> None:
        """Close the descriptors. Called when no connection can open the file again."""
        with self._turn:
            self._close()


def names_size(parts: Sequence[FilePart]) -> int:
    """Return the bytes that the list of the files in a folder takes in the store."""
    return len(msgspec.json.encode(parts).decode()) - len("[]")


def _owner(row: FileRow) -> Owner:
    return Owner(row.sender_key, row.network)


def ranges_on_disk(row: FileRow, blobs: Blobs) -> RangeSet:
    """Return which ranges of an open file are on disk. Raises OSError.

    A part may have lost its end with the power.
    """
    return clip(union([*row.ranges, *blobs.recorded_ranges(row.id)]), blobs.part_size(row.id))
