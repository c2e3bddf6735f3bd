"""Floor 1: the rows of files: which file is offered where, until when, and which bytes of it are stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, bindparam, case, delete, func, insert, or_, select, update

from wire.frames import FilePart
from wire.names import fold
from wire.ranges import RangeSet

from ..contract import FileRow, FileSummary, StoredSize
from .again import again
from .database import Database, SqlBase
from .schema import accounts, fetches, files, members

_not_gone = files.c.state != "gone"
_ranges = msgspec.json.Decoder(tuple[tuple[int, int], ...])
_parts = msgspec.json.Decoder(list[FilePart])


class SqlFiles(SqlBase):
    """The contract of files."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        still_open = and_(files.c.id == bindparam("of"), files.c.state == bindparam("open"))
        self._set_ranges = database.dialect.text(
            update(files).where(still_open).values(ranges=bindparam("to"), until=bindparam("end"))
        )

    @again
    def add_file(self, row: FileRow) -> FileRow:
        """Store an offer and return it; return the earlier one if (sender, own id) is known."""
        with self._database.transaction() as db:
            found = _find(db, and_(files.c.sender == row.sender_key, files.c.own == row.own))
            if found is None:
                db.execute(insert(files).values(_values(row)))
            return found or row

    def file(self, id: str) -> FileRow | None:
        """Return the file with that id, None if it does not exist."""
        with self._database.reading() as db:
            return _find(db, files.c.id == id)

    def own_file(self, sender_key: str, own: str) -> FileRow | None:
        """Return the file with that own id of the user with key `sender_key`, None if it does not exist."""
        with self._database.reading() as db:
            return _find(db, and_(files.c.sender == sender_key, files.c.own == own))

    @again
    def set_file_number(self, id: str, number: int) -> None:
        """Store the number of the entry that offers a file."""
        with self._database.transaction() as db:
            db.execute(update(files).where(files.c.id == id).values(number=number))

    @again
    def keep_ranges(self, id: str, ranges: RangeSet, until: int) -> None:
        """Store which bytes of an open file are on disk, and until when it is offered."""
        body = msgspec.json.encode(ranges).decode()
        with self._database.cursor_transaction() as cursor:
            cursor.execute(self._set_ranges, (until, body, id, "open"))
        self._database.wrote(len(body), 1)

    @again
    def extend_file(self, id: str, until: int) -> None:
        """Store until when an open file is offered."""
        with self._database.transaction() as db:
            db.execute(update(files).where(and_(files.c.id == id, files.c.state == "open")).values(until=until))

    @again
    def finish_file(self, id: str, sha256: str, until: int) -> bool:
        """Mark a file as done, with the checksum of its content, and offered `until`. Return False if it is gone."""
        values = {"state": "done", "sha256": sha256, "ranges": "[]", "until": until}
        with self._database.transaction() as db:
            return db.execute(update(files).where(and_(files.c.id == id, _not_gone)).values(values)).rowcount > 0

    @again
    def drop_file(self, id: str, now: int) -> str | None:
        """Mark a file as gone. Return the checksum of its blob if no other file has the same, else None."""
        with self._database.transaction() as db:
            done = and_(files.c.id == id, files.c.state == "done")
            sha256 = db.execute(select(files.c.sha256).where(done)).scalar()
            gone = {"state": "gone", "ranges": "[]", "parts": "[]", "until": now}
            db.execute(update(files).where(and_(files.c.id == id, _not_gone)).values(gone))
            if not sha256:
                return None
            same = and_(files.c.sha256 == sha256, files.c.state == "done")
            left = db.execute(select(func.count()).where(same)).scalar_one()
            return None if left else str(sha256)

    @again
    def forget_files(self, before: int) -> None:
        """Delete the rows of files that are gone since before a time."""
        old = and_(files.c.state == "gone", files.c.until < before)
        with self._database.transaction() as db:
            db.execute(delete(fetches).where(fetches.c.file.in_(select(files.c.id).where(old))))
            db.execute(delete(files).where(old))

    def files_of(self, user: str, now: int, after: str, limit: int) -> list[FileSummary]:
        """Return at most `limit` files that a user offers or that are offered to the user, the oldest first.

        The list begins after the file with the id `after`, if there is one. It has no file that has ended at the time
        `now`, or whose entry is not stored.
        """
        key = fold(user)
        theirs = select(members.c.log).where(members.c.user == key)
        listed = and_(_not_gone, files.c.until > now, files.c.number > 0)
        with self._database.reading() as db:
            made = db.execute(select(files.c.made).where(files.c.id == after)).scalar() if after else None
            if made is not None:
                later = or_(files.c.made > made, and_(files.c.made == made, files.c.id > after))
                listed = and_(listed, later)
            found = db.execute(
                select(*_SUMMARY)
                .where(and_(listed, or_(files.c.sender == key, files.c.log.in_(theirs))))
                .order_by(files.c.made, files.c.id)
                .limit(limit)
            )
            return [FileSummary(*row[:9], _ranges.decode(row.ranges), row.part_count) for row in found]

    def open_files(self) -> list[tuple[FileRow, bool]]:
        """Return all open files, each with True if its sender's name is registered."""
        with self._database.reading() as db:
            found = db.execute(
                select(files, _registered).select_from(_with_accounts).where(files.c.state == "open")
            ).all()
        return [(_file(row), bool(row.registered)) for row in found]

    def done_sizes(self, least: int) -> list[StoredSize]:
        """Return the sizes of all complete files, with their lists of parts. A file counts `least` bytes at least."""
        size = case((files.c.size > least, files.c.size), else_=least) + func.length(files.c.parts) - len("[]")
        with self._database.reading() as db:
            found = db.execute(
                select(files.c.sender, files.c.network, func.max(_registered).label("registered"), func.sum(size))
                .select_from(_with_accounts)
                .where(files.c.state == "done")
                .group_by(files.c.sender, files.c.network)
            ).all()
        return [
            StoredSize(sender, network, bool(registered), int(total)) for sender, network, registered, total in found
        ]

    def overdue_files(self, now: int) -> list[str]:
        """Return the ids of files whose `until` is not after `now`, in milliseconds since 1970, sorted by `until`."""
        with self._database.reading() as db:
            found = db.execute(select(files.c.id).where(and_(_not_gone, files.c.until <= now)).order_by(files.c.until))
            return [row.id for row in found]

    def next_overdue(self) -> int | None:
        """Return the earliest `until` of all files, in milliseconds since 1970; None without a file."""
        with self._database.reading() as db:
            until = db.execute(select(func.min(files.c.until)).where(_not_gone)).scalar_one()
        return None if until is None else int(until)

    def kept_files(self) -> tuple[set[str], set[str]]:
        """Return the ids of all open files, and the checksums of all files that are done."""
        with self._database.reading() as db:
            found = db.execute(select(files.c.id, files.c.state, files.c.sha256).where(_not_gone)).all()
        return (
            {row.id for row in found if row.state == "open"},
            {row.sha256 for row in found if row.state == "done"},
        )

    @again
    def note_fetched(self, id: str, user: str) -> bool:
        """Store that a user has all of a file. Return False if that was stored before."""
        row = {"file": id, "user": fold(user), "name": user}
        new = self._database.dialect.insert_or_skip(fetches).values(row).returning(fetches.c.file)
        with self._database.transaction() as db:
            return db.execute(new).one_or_none() is not None  # not every driver has a rowcount of an INSERT

    def fetched(self, ids: Sequence[str], most: int) -> dict[str, list[str]]:
        """Return the names of users who have all of a file, sorted, at most `most` of each, by the file's id."""
        place = func.row_number().over(partition_by=fetches.c.file, order_by=fetches.c.name).label("place")
        ranked = select(fetches.c.file, fetches.c.name, place).where(fetches.c.file.in_(ids)).subquery()
        names: dict[str, list[str]] = {}
        with self._database.reading() as db:
            found = db.execute(select(ranked.c.file, ranked.c.name).where(ranked.c.place <= most))
            for row in found.all():
                names.setdefault(row.file, []).append(row.name)
        return {id: sorted(given) for id, given in names.items()}


_SUMMARY = (
    files.c.id, files.c.log, files.c.sender, files.c.sender_name, files.c.name, files.c.size, files.c.made,
    files.c.until, files.c.state, files.c.ranges, files.c.part_count,
)  # fmt: skip
_with_accounts = files.outerjoin(accounts, accounts.c.key == files.c.sender)
_registered = case((accounts.c.password.is_not(None), 1), else_=0).label("registered")


def _find(db: Connection, which: ColumnElement[bool]) -> FileRow | None:
    found = db.execute(select(files).where(which)).one_or_none()
    return None if found is None else _file(found)


def _file(row: Any) -> FileRow:
    return FileRow(
        row.id, row.log, row.sender, row.sender_name, row.own, row.name, row.size, row.made, row.until, row.state,
        row.sha256, _ranges.decode(row.ranges), tuple(_parts.decode(row.parts)), row.number,
        row.network,
    )  # fmt: skip


def _values(row: FileRow) -> dict[str, Any]:
    return {
        "id": row.id, "log": row.log, "sender": row.sender_key, "sender_name": row.sender_name, "own": row.own,
        "name": row.name, "size": row.size, "made": row.made, "until": row.until, "state": row.state,
        "sha256": row.sha256, "ranges": msgspec.json.encode(row.ranges).decode(),
        "parts": msgspec.json.encode(row.parts).decode(), "number": row.number,
        "network": row.network, "part_count": len(row.parts),
    }  # fmt: skip
