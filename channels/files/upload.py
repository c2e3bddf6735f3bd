"""Floor 2: a file while it is filled: what is there of it, who writes it, who waits for more of it.

Bytes are written first and recorded afterwards, so what is recorded is there after `kill -9`. What is there is not
written over, so its checksum can be made as it comes; only after a checksum that did not fit it is.
"""

from __future__ import annotations

import hashlib
import os
import threading

from store import Blobs, FileRow, Files
from wire.errors import Refused
from wire.frames import More, Wanted
from wire.ranges import EMPTY, RangeSet, add, clip, missing

from ..locks import leaf
from ..session_reader import SessionReader
from .direct_sender import DirectSender

_PIECE = 1 << 20  # bytes that are read at once to make a checksum
_HOLES = 4_096  # ranges of one file: what comes in crumbs, all over it, would be slow to record
_WATCHERS = 10_000


class Upload:
    """One file that is being filled, or that somebody waits for. `users` counts who has it open: see `Files.enter`.

    `_turn` is a baton, not a leaf: whoever fills, finishes or ends the file holds it while they write, and only those
    who do the same with the same file wait for it. `ranges` is one object that is replaced, so looking takes no lock.
    """

    def __init__(self, id: str, store: Files, blobs: Blobs) -> None:
        self.id = id
        self.users = 0
        self.row: FileRow | None = None
        self.ranges = EMPTY
        self.version = 0  # counts what has changed
        self._store = store
        self._blobs = blobs
        self._turn = threading.Lock()
        self.direct_sender: DirectSender | None = None  # its sender, who lets people fetch it directly
        self._lock = leaf()
        self._watchers: set[SessionReader] = set()
        self._descriptor = -1
        self._hash = hashlib.sha256()
        self._hashed = 0  # bytes that are in it
        self._doubtful = False  # a checksum did not fit: what is there may be written over

    def load(self) -> FileRow | None:
        """The file as stored, which is looked up once; afterwards it changes here only."""
        with self._turn:
            if self.row is None:
                self.row = self._store.file(self.id)
                if self.row is not None and self.row.ranges:  # after a loss of power, a part may have lost its end
                    self.ranges = clip(self.row.ranges, self._blobs.part_size(self.id))
            return self.row

    def _open_row(self) -> FileRow:
        row = self.row
        assert row is not None
        if row.state == "gone":
            raise Refused("gone", f"{row.name} is not offered any more.")
        return row

    # Filling

    def put(self, offset: int, data: bytes | memoryview, sha256: str = "") -> None:
        """Keep bytes of the file. Raises Refused, or OSError when the disk does not take them."""
        end = offset + len(data)
        with self._turn:
            row = self._open_row()
            if end > row.size:
                raise Refused("bad-range", f"{row.name} has {row.size} bytes; these would be {offset} to {end}.")
            if row.state == "done":
                return  # a repeat
            if sha256 and hashlib.sha256(data).hexdigest() != sha256.lower():
                raise Refused("checksum-mismatch", f"Bytes {offset} to {end} are not those of that SHA-256.")
            gaps: RangeSet = ((offset, end),) if self._doubtful else missing(self.ranges, offset, end)
            if gaps:
                self._write(gaps, offset, memoryview(data))
                self._record(offset, end)
            # Not if some of it was there before, and may be something else: then `finish` reads what is there.
            if offset <= self._hashed < end and gaps == ((self._hashed, end),) and not self._doubtful:
                self._hash.update(memoryview(data)[self._hashed - offset :])
                self._hashed = end
        if gaps:
            self.changed()

    def _write(self, gaps: RangeSet, offset: int, data: memoryview) -> None:
        if self._descriptor < 0:
            self._descriptor = self._blobs.open_part(self.id)
        self._blobs.write_part(self._descriptor, [(first, data[first - offset : end - offset]) for first, end in gaps])

    def _record(self, first: int, end: int) -> None:
        ranges = add(self.ranges, first, end)
        if ranges == self.ranges:
            return
        if len(ranges) > _HOLES:
            raise Refused("bad-range", f"There are {_HOLES} holes in what is there; fill some first.")
        self._store.keep_ranges(self.id, ranges)
        self.ranges = ranges

    def finish(self, sha256: str, size: int | None, keep_blob: threading.Lock) -> FileRow:
        """Verify the whole and make it a blob, holding the baton `keep_blob`; the row. Raises Refused, OSError."""
        with self._turn:
            row = self._open_row()
            if size is not None and size != row.size:
                raise Refused("bad-range", f"{row.name} was offered with {row.size} bytes, not with {size}.")
            sha256 = sha256 or row.sha256
            if row.state == "done":
                if row.sha256 != sha256:
                    raise Refused("checksum-mismatch", f"{row.name} is finished, with the SHA-256 {row.sha256}.")
                return row
            gaps = missing(self.ranges, 0, row.size)
            if gaps:
                raise Refused("incomplete", f"{row.name} lacks bytes {gaps[0][0]} to {gaps[0][1]}.")
            digest = self._digest(row.size)
            if (sha256 or digest) != digest:
                self._hash, self._hashed, self._doubtful = hashlib.sha256(), 0, True
                raise Refused("checksum-mismatch", f"{row.name} is all there, but it does not have that SHA-256.")
            if self._descriptor < 0:
                self._descriptor = self._blobs.open_part(self.id)  # an empty file has none yet
            with keep_blob:
                self._blobs.keep(self.id, digest)
                if not self._store.finish_file(self.id, digest):
                    raise Refused("gone", f"{row.name} is not offered any more.")
            self.row = row = self._store.file(self.id) or row
            self._blobs.drop_part(self.id)
            self._close()
        self.changed()
        return row

    def _digest(self, size: int) -> str:
        while self._hashed < size:
            if self._descriptor < 0:
                self._descriptor = self._blobs.open_part(self.id)
            piece = os.pread(self._descriptor, min(_PIECE, size - self._hashed), self._hashed)
            if not piece:
                raise Refused("incomplete", "The part has been damaged; send it again.")
            self._hash.update(piece)
            self._hashed += len(piece)
        return self._hash.hexdigest()

    def end(self, drop_blob: threading.Lock) -> None:
        """Nobody is to have the file any more: remove what is there, while holding the baton `drop_blob`."""
        with self._turn:
            with drop_blob:
                sha256 = self._store.drop_file(self.id)
                if sha256 is not None:
                    self._blobs.drop_blob(sha256)
            self._blobs.drop_part(self.id)
            self._close()
            self.row, self.ranges = self._store.file(self.id), EMPTY
        self.want()  # who listens would wait for ever
        self.changed()

    # Waiting for more

    def watch(self, reader: SessionReader, version: int) -> None:
        """Tell a reader, once, when there is more than there was at `version`; at once if that is so already."""
        with self._lock:
            news = self.version != version
            if not news and len(self._watchers) < _WATCHERS:
                self._watchers.add(reader)
        if news:
            reader.reply(More(self.id))

    def changed(self) -> None:
        """Tell whoever waits."""
        with self._lock:
            self.version += 1
            watchers, self._watchers = self._watchers, set()
        for reader in watchers:
            reader.reply(More(self.id))

    def want(self) -> None:
        """Somebody needs it from here: a sender who has it to be fetched directly is told, once."""
        with self._lock:
            sender, self.direct_sender = self.direct_sender, None
        if sender is not None:
            sender.reader.reply(Wanted(self.id))

    def forget(self, reader: SessionReader) -> None:
        """A reader is not interested any more."""
        sender = self.direct_sender
        if sender is not None and sender.reader is reader:
            self.direct_sender = None
        with self._lock:
            self._watchers.discard(reader)

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def close(self) -> None:
        """Nobody has it open any more."""
        with self._turn:
            self._close()
