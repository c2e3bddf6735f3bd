"""Floor 2: what a connection may ask about the bytes of files. They are pulled: nothing is sent that was not asked for.

So a slow receiver costs at most one chunk of memory: the next one is not read before the last one is on its way.
"""

from __future__ import annotations

import errno
import hashlib
import hmac
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from channels.directory import User
from channels.requests import chat as requests
from channels.session_reader import SessionReader
from store import FileRow
from wire.errors import Refused
from wire.frames import (
    Answer,
    Attach,
    Attached,
    Bye,
    Chunk,
    Fetched,
    Finish,
    Finished,
    Get,
    Have,
    Kept,
    Listen,
    Malformed,
    Ok,
    Ping,
    Put,
    Ranges,
    Reach,
    Request,
    Sum,
    SumIs,
    Taken,
)
from wire.names import check_name, fold
from wire.ranges import RangeSet, reach

from . import direct
from .upload import Upload

if TYPE_CHECKING:
    from channels.chat import Chat
    from channels.session import Session

log_ = logging.getLogger("partyline.files")

_OPEN = 16  # files that one connection has open at once
_SUM = 8 << 20  # bytes whose checksum is made for one request
_PIECE = 1 << 20
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}


@dataclass(slots=True)
class Open:
    """A file that a connection has open: `descriptor` is its own, and -1 until it reads.

    `departures` is how many memberships had ended when it was seen that its user may fetch it.
    `unreached`: it would be fetched directly if its sender listened; so many requests may have been on their way.
    """

    upload: Upload
    departures: int
    descriptor: int = -1
    unreached: int = 0

    @property
    def row(self) -> FileRow:
        """The file as it is now. Raises Refused if it has gone meanwhile."""
        row = self.upload.row
        assert row is not None
        if row.state == "gone":
            raise Refused("gone", f"{row.name} is not offered any more.")
        return row


class Transfers:
    """The files that one connection has open. All methods are called by the connection's own thread."""

    def __init__(self, chat: Chat, reader: SessionReader) -> None:
        self._chat = chat
        self._reader = reader
        self._open: dict[str, Open] = {}  # by the id that the peer uses, the one used last at the end
        self._attached: User | None = None

    @property
    def user(self) -> User | None:
        """Whose further line this is."""
        return self._attached

    @property
    def attached(self) -> bool:
        """Whether this is a further line, for files only."""
        return self._attached is not None

    def attach(self, name: str, token: str) -> User:
        """Be a further line of somebody who is connected. Raises Refused."""
        user = self._chat.directory.find(fold(check_name(name)))
        if user is None or not hmac.compare_digest(user.token.encode(), token.encode()):
            raise Refused("not-allowed", "Nobody of that name has that token.")
        self._attached = user
        self._reader.user_key = user.key
        return user

    @property
    def name(self) -> str:
        """The name of whose connection it is."""
        user = self._attached or self._chat.directory.find(self._reader.user_key)
        return user.name if user is not None else self._reader.user_key

    def open(self, file: str) -> Open:
        """A file by its id. Raises Refused."""
        found, files = self._open.pop(file, None), self._chat.files
        departures = files.departures
        if found is None:
            found = Open(files.enter(file, self._reader.user_key), departures)
        elif found.departures != departures:
            self._check(found, departures)
        self._open[file] = found
        if len(self._open) > _OPEN:
            self._close(self._open.pop(next(iter(self._open))))
        return found

    def _check(self, found: Open, departures: int) -> None:
        """Somebody has left a channel: was it this user, and the channel that of the file?"""
        try:
            row = found.upload.row
            assert row is not None
            self._chat.files.check(row, self._reader.user_key)
        except BaseException:
            self._close(found)
            raise
        found.departures = departures

    def own(self, file: str) -> Open:
        """A file that this user offers. Raises Refused."""
        found = self.open(file)
        if found.row.sender != self._reader.user_key:
            raise Refused("not-allowed", f"{found.row.name} is {found.row.sender_name}'s to fill.")
        return found

    def descriptor(self, found: Open) -> int:
        """Where to read it. Raises OSError."""
        if found.descriptor < 0:
            row, blobs = found.row, self._chat.store.blobs()
            try:
                found.descriptor = blobs.read_blob(row.sha256) if row.state == "done" else blobs.read_part(row.id)
            except FileNotFoundError:  # finished just now: the blob is there before the part is not
                row = found.row
                if row.state != "done":
                    raise
                found.descriptor = blobs.read_blob(row.sha256)
        return found.descriptor

    def _close(self, found: Open) -> None:
        if found.descriptor >= 0:
            os.close(found.descriptor)
        found.upload.forget(self._reader)
        self._chat.files.leave(found.upload)

    def close(self) -> None:
        """The connection has ended."""
        while self._open:
            self._close(self._open.popitem()[1])


def attach(session: Session, frame: Attach) -> Attached:
    """A further line of somebody who is connected."""
    user = session.files.attach(frame.name, frame.token)
    return Attached(name=user.name, most=session.chat.limits.payload)


def put(session: Session, frame: Put) -> Kept:
    """Bytes of a file that the user offers."""
    found = session.files.own(frame.file)
    try:
        found.upload.put(frame.offset, frame.payload, frame.sha256)
    except OSError as error:
        raise _failed(found.upload, error) from error
    return Kept(file=frame.file, offset=frame.offset, length=len(frame.payload))


def finish(session: Session, frame: Finish) -> Finished:
    """All of a file is there, if the user is right."""
    found = session.files.own(frame.file)
    try:
        row = session.chat.files.finish(found.upload, frame.sha256, frame.size)
    except OSError as error:
        raise _failed(found.upload, error) from error
    return Finished(file=frame.file, sha256=row.sha256)


def _failed(upload: Upload, error: OSError) -> Exception:
    if error.errno not in _FULL:
        return error
    log_.error("file %s: %s", upload.id, error)
    return Refused("not-stored", f"The server's disk would not have it: {error.strerror}.")


def have(session: Session, frame: Have) -> Ranges:
    """What is there of a file."""
    found = session.files.open(frame.file)
    version = found.upload.version
    row, ranges = found.row, there(found)
    done = row.state == "done"
    if frame.watch and not done:
        _lacking(session, found, version)
    return Ranges(
        file=frame.file, name=row.name, size=row.size, sender=row.sender_name, have=[list(one) for one in ranges],
        done=done, sha256=row.sha256 if done else "", parts=list(row.parts),
    )  # fmt: skip


def _lacking(session: Session, found: Open, version: int) -> None:
    """Who asks waits for more; so it is needed here, but not if the sender has begun to listen since they asked."""
    if found.unreached and found.upload.listening is not None:
        found.unreached, version = found.unreached - 1, -1
    else:
        found.upload.want()
    found.upload.watch(session.reader, version)


def there(found: Open) -> RangeSet:
    """What is there of a file."""
    ranges, row = found.upload.ranges, found.row  # in this order: a file that is done has no ranges
    return ranges if row.state == "open" else ((0, row.size),) if row.size else ()


def get(session: Session, frame: Get) -> Chunk:
    """As much of a range as is there; with nothing there, the user is told when there is more."""
    session.reader.wait_for_room(0)
    found = session.files.open(frame.file)
    version, size = found.upload.version, found.row.size
    if frame.offset + frame.length > size:
        raise Refused("bad-range", f"{found.row.name} has {size} bytes; there are no {frame.length} at {frame.offset}.")
    end = min(reach(there(found), frame.offset), frame.offset + min(frame.length, session.chat.limits.chunk))
    if end <= frame.offset:
        _lacking(session, found, version)
        return Chunk(file=frame.file, offset=frame.offset)
    data = os.pread(session.files.descriptor(found), end - frame.offset, frame.offset)
    return Chunk(file=frame.file, offset=frame.offset, bytes=len(data), payload=data)


def sum_of(session: Session, frame: Sum) -> SumIs:
    """The checksum of a range."""
    found = session.files.open(frame.file)
    end = frame.offset + frame.length
    if end > found.row.size or frame.length > _SUM or reach(there(found), frame.offset) < end:
        raise Refused("bad-range", f"A checksum is of at most {_SUM} bytes, which must be there.")
    descriptor, at, made = session.files.descriptor(found), frame.offset, hashlib.sha256()
    while at < end and (piece := os.pread(descriptor, min(_PIECE, end - at), at)):
        made.update(piece)
        at += len(piece)
    return SumIs(file=frame.file, offset=frame.offset, length=frame.length, sha256=made.hexdigest())


def taken(session: Session, frame: Taken) -> Ok:
    """The user has all of a file: who offers it is told, now or by `files`."""
    found = session.files.open(frame.file)
    row, files, version = found.row, session.files, found.upload.version
    straight = None
    if row.state != "done":
        straight = found.upload.listening
        if straight is None and frame.sha256:  # they may be back in a moment, as after a restart of this server
            found.upload.watch(session.reader, version)
        if straight is None or frame.sha256.lower() != straight.sha256:
            raise Refused("incomplete", f"{row.name} is not all there yet.")
    key = session.reader.user_key
    fetched = Fetched(row.id, row.name, files.name)
    if (key != row.sender or straight is not None) and session.chat.files.note_fetched(row, files.name):
        sender = session.chat.directory.find(row.sender)
        for other in sender.sessions if sender is not None else ():
            other.reader.notify(fetched)
    if straight is not None:  # whom it was for has it, and nobody else can have it from here
        found.upload.listening = None
        session.chat.files.end(row.id)
        straight.reader.reply(fetched)
    return Ok()


_Handler = Callable[["Session", Any], Answer | None]

HANDLERS: Mapping[type[Request], _Handler] = {
    Put: put,
    Finish: finish,
    Have: have,
    Get: get,
    Sum: sum_of,
    Taken: taken,
    Listen: direct.listen,
    Reach: direct.reach,
}


def _bye(session: Session, frame: Bye) -> None:
    session.leave(frame)


# What a further line may ask.
ATTACHED: Mapping[type[Request], _Handler] = {
    **HANDLERS,
    Ping: requests.ping,
    Bye: _bye,
    Malformed: requests.malformed,
}
