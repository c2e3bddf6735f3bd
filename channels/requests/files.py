"""Floor 2: offers of files: making, listing and taking back. transfers.py has the bytes."""

from __future__ import annotations

from collections.abc import Sequence

from store import FileRow, FileSummary, file_post_id
from wire.errors import Refused
from wire.file_names import size_words
from wire.frames import (
    Answer,
    Cancel,
    Cancelled,
    FileInfo,
    FileList,
    Files,
    GetFile,
    Have,
    Msg,
    Offer,
    Offered,
    Ranges,
    Request,
    Say,
    parts_of,
)
from wire.names import fold
from wire.ranges import EMPTY, total, union

from ..files import Sender
from ..journal import Posting
from ..log import Log
from ..pages import count_within
from ..session import Session
from ..user import User
from .relay import where_it_is
from .transfers import have as have_here

_ranges = where_it_is(have_here, reads=True)


def offer(session: Session, frame: Offer) -> Offered:
    """Offer a file to a channel or a user: store the offer, then post the entry that points at it."""
    user, chat = session.holder, session.chat
    log = _log(session, user, frame)
    sender = Sender(user.key, user.name, session.origin.network or "", user.registered)
    row = chat.files.offer(
        log.row.id,
        sender,
        frame.name,
        frame.size,
        frame.id or "",
        parts_of(frame, chat.limits.folder_bytes),
        frame.sha256,
        uploaded=log.channel is not None,
    )
    number, have = row.number, EMPTY
    if number:
        there = _ranges(session, Have(file=row.id))
        assert isinstance(there, Ranges)
        have = union([(first, end) for first, end in there.have])
    else:
        text, id = describe(row), file_post_id(row.id)
        post = Say(text, log.channel, id) if log.channel is not None else Msg(log.partner(user.key) or "", text, id)
        number = _announce(session, user, log, post)
        chat.files.offered(row, number)
    partner = log.partner(user.key)
    receiver = chat.directory.find(fold(partner)) if partner is not None else None
    return Offered(
        file=row.id, number=number, channel=log.channel, user=partner, have=[list(one) for one in have],
        away=partner is not None and receiver is None,
        direct=receiver is not None and any([other.fetches_directly for other in receiver.sessions]),
    )  # fmt: skip


def _announce(session: Session, user: User, log: Log, post: Say | Msg) -> int:
    """Post the entry of an offer; return its number when it is stored. Raises Refused."""
    outcome: list[int | Refused] = []

    def stored(_: Posting, numbers: Sequence[int]) -> None:
        outcome.append(numbers[0])

    def refused(_: Posting, reason: Refused) -> None:
        outcome.append(reason)

    session.chat.journal.post(Posting(log, user.key, user.name, [post], stored, refused))
    while not outcome:
        session.chat.journal.carry(wait=True)
    if isinstance(outcome[0], Refused):
        raise outcome[0]
    return outcome[0]


def _log(session: Session, user: User, frame: Offer) -> Log:
    if frame.channel and frame.user:
        raise Refused("bad-frame", "Offer a file to a channel or to a user, not to both.")
    if frame.user:
        return session.chat.private_log(user.name, frame.user, session.origin)
    if session.user is not None:
        return session.joined(frame.channel)
    log = session.chat.known_channel(frame.channel)
    if session.chat.store.cursor(log.row, user.key) is None:  # `user.joined` may be old on an attached connection
        raise Refused("not-a-member", f"You are not in {log.row.name}: /join {log.row.name} first.")
    return log


def describe(row: FileRow) -> str:
    """Return the text of the entry that offers a file: what it is, and the command to get it."""
    count = f"{len(row.parts)} file{'' if len(row.parts) == 1 else 's'}, " if row.parts else ""
    return f"offers {row.name}{'/' if row.parts else ''} ({count}{size_words(row.size)}): /get {row.id} in client.py"


def files(session: Session, frame: Files) -> FileList:
    """List files that are offered to the user, and by the user."""
    user, chat = session.holder, session.chat
    limit = min(frame.limit, chat.limits.page)
    following = chat.files.list(user.key, frame.after, limit + 1)
    infos = [_info(session, user, row, names) for row, names in following[:limit]]
    infos = infos[: count_within(infos, session.answer_size)]
    return FileList(files=infos, more=infos[-1].file if len(infos) < len(following) else None)


def _info(session: Session, user: User, row: FileSummary, fetched: list[str]) -> FileInfo:
    log = session.chat.log_of(row.log)
    done = row.state == "done"
    return FileInfo(
        file=row.id, name=row.name, size=row.size, have=row.size if done else total(row.ranges),
        sender=row.sender_name, time=row.made, until=row.until, channel=log.channel if log is not None else None,
        user=log.partner(user.key) if log is not None else None, done=done, count=row.count or 1, fetched=fetched,
    )  # fmt: skip


def cancel(session: Session, frame: Cancel) -> Cancelled:
    """Take an offer back. Raises Refused for a user who has not made it."""
    row = session.files.open(frame.file).row
    if row.sender_key != session.holder.key:
        raise Refused("not-allowed", f"Only {row.sender_name} can take {row.name} back.")
    session.chat.files.end(row.id)
    return Cancelled(file=row.id, name=row.name)


def by_client(_session: Session, frame: Request) -> Answer:
    """Refuse a command that only a client can do, which reads and writes files on the user's machine."""
    verb = "fetches" if isinstance(frame, GetFile) else "sends"
    raise Refused("client-only", f"Only client.py {verb} files, or a program: see docs/protocol.md.")
