"""Floor 2: the bytes of files. The peer pulls them: nothing is sent that was not asked for.

So a slow receiver costs at most one chunk of memory: the next one is not read before the last one is on its way.
"""

from __future__ import annotations

import errno
import os

from reporting import events, report
from wire.errors import Refused
from wire.frames import Chunk, Fetched, Finish, Finished, Get, Have, Kept, Ok, Put, Ranges, Sum, SumIs, Taken
from wire.ranges import reach

from ..files import OpenFile, SharedFile, sha256_of
from ..rates import PAGES
from ..ring import FileFetched
from ..session import Session

_SUM = 8 << 20  # bytes whose checksum is made for one request
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}


def put(session: Session, frame: Put) -> Kept:
    """Keep bytes of a file that the user offers."""
    found = session.files.own(frame.file)
    try:
        found.shared.put(frame.offset, frame.payload, frame.sha256)
    except OSError as error:
        raise _failed(found.shared, error) from error
    return Kept(file=frame.file, offset=frame.offset, length=len(frame.payload))


def finish(session: Session, frame: Finish) -> Finished:
    """Verify a file of which everything was put, and keep it."""
    found = session.files.own(frame.file)
    try:
        row = session.chat.files.finish(found.shared, frame.sha256, frame.size)
    except OSError as error:
        raise _failed(found.shared, error) from error
    return Finished(file=frame.file, sha256=row.sha256)


def _failed(shared: SharedFile, error: OSError) -> Exception:
    """Return the refusal for a disk that takes nothing more; any other error is returned as it is."""
    if error.errno not in _FULL:
        return error
    report(events.FileFailed(shared.id, str(error)))
    return Refused("not-stored", f"The server could not write to its disk: {error.strerror}.")


def have(session: Session, frame: Have) -> Ranges:
    """Say which ranges of a file the server has; with `watch`, tell the peer when there is more.

    The answer for a folder is a long list, so it counts as one.
    """
    found = session.files.open(frame.file)
    if found.row.parts:
        session.reader.wait_for_page()
        session.check_rate(PAGES)
        session.reserve(session.chat.limits.folder_bytes)
    version = found.shared.version
    row, ranges = found.row, found.available
    done = row.state == "done"
    if frame.watch and not done:
        _wait_for_more(session, found, version)
    return Ranges(
        file=frame.file, name=row.name, size=row.size, sender=row.sender_name, have=[list(one) for one in ranges],
        done=done, sha256=row.sha256 if done else "", parts=list(row.parts),
    )  # fmt: skip


def _wait_for_more(session: Session, found: OpenFile, version: int) -> None:
    """Tell the peer when there is more than at `version`, and the sender that the server needs the file.

    The sender is not told if it has begun to listen since the peer asked: the peer is to fetch from it directly.
    """
    if found.unreached and found.shared.direct_sender is not None:
        found.unreached, version = found.unreached - 1, -1
    else:
        found.shared.want()
    found.shared.watch(session.reader, version)


def get(session: Session, frame: Get) -> Chunk:
    """Send as much of a range as the server has; if that is nothing, tell the peer when there is more."""
    session.reader.wait_for_room(0)
    found = session.files.open(frame.file)
    version, size = found.shared.version, found.row.size
    last = frame.offset + frame.length
    if last > size:
        sentence = f"{found.row.name} has {size} bytes, so bytes {frame.offset} to {last} do not exist."
        raise Refused("bad-range", sentence)
    end = min(reach(found.available, frame.offset), frame.offset + min(frame.length, session.chat.limits.chunk))
    if end <= frame.offset:
        _wait_for_more(session, found, version)
        return Chunk(file=frame.file, offset=frame.offset)
    session.reserve(end - frame.offset)
    with found.shared.read() as descriptor:
        data = os.pread(descriptor, end - frame.offset, frame.offset)
    return Chunk(file=frame.file, offset=frame.offset, bytes=len(data), payload=data)


def sum_of(session: Session, frame: Sum) -> SumIs:
    """Return the SHA-256 of a range."""
    found = session.files.open(frame.file)
    end = frame.offset + frame.length
    if end > found.row.size or frame.length > _SUM or reach(found.available, frame.offset) < end:
        raise Refused("bad-range", f"A checksum covers at most {_SUM} bytes, all of which the server must have.")
    with found.shared.read() as descriptor:
        sha256 = sha256_of(descriptor, frame.offset, end)
    return SumIs(file=frame.file, offset=frame.offset, length=frame.length, sha256=sha256)


def taken(session: Session, frame: Taken) -> Ok:
    """Note that the user has all of a file. Its sender is told now, or by `files`."""
    found, user = session.files.open(frame.file), session.holder
    row, version = found.row, found.shared.version
    direct = None
    if row.state != "done":
        direct = found.shared.direct_sender
        if direct is None and frame.sha256:  # the sender may be back in a moment, as after a restart of this server
            found.shared.watch(session.reader, version)
        if direct is None or frame.sha256.lower() != direct.sha256:
            raise Refused("incomplete", f"{row.name} is not complete yet.")
    fetched = Fetched(row.id, row.name, user.name)
    if (user.key != row.sender_key or direct is not None) and session.chat.files.note_fetched(row, user.name):
        sender = session.chat.directory.find(row.sender_key)
        for other in sender.sessions if sender is not None else ():
            other.reader.notify(fetched)
        session.chat.outbox.tell(FileFetched(row.sender_key, row.id, row.name, user.name))
    if direct is not None:  # its one receiver has it, and the server has nothing to give to anybody else
        found.shared.direct_sender = None
        session.chat.files.end(row.id)
        direct.reader.reply(fetched)
    return Ok()
