"""Floor 1: the rows of files: which file is offered where, until when, and which bytes of it are stored."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, bindparam, case, delete, func, insert, or_, select, true, update

from wire.frames import FilePart
from wire.names import fold
from wire.ranges import RangeSet

from ..contract import FileRow, FilesElsewhere, FileSummary, StoredSize
from .database import Database, SqlBase
from .schema import accounts, fetches, files, members

_not_gone = files.c.state != "gone"
_ranges = msgspec.json.Decoder(tuple[tuple[int, int], ...])
_parts = msgspec.json.Decoder(list[FilePart])


class SqlFiles(SqlBase):
    """The contract of files."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        still_open = and_(
            files.c.id == bindparam("of"), files.c.state == bindparam("open"), files.c.home == bindparam("at")
        )
        self._set_ranges = database.dialect.text(
            update(files).where(still_open).values(ranges=bindparam("to"), until=bindparam("end"))
        )

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

    def set_file_number(self, id: str, number: int) -> None:
        """Store the number of the entry that offers a file."""
        with self._database.transaction() as db:
            db.execute(update(files).where(files.c.id == id).values(number=number))

    def keep_ranges(self, id: str, ranges: RangeSet, until: int, home: int = 0) -> None:
        """Store which bytes of an open file are on disk, and until when it is offered. No-op with another home."""
        body = msgspec.json.encode(ranges).decode()
        with self._database.cursor_transaction() as cursor:
            cursor.execute(self._set_ranges, (until, body, id, "open", home))
        self._database.wrote(len(body), 1)

    def extend_file(self, id: str, until: int) -> None:
        """Store until when an open file is offered."""
        with self._database.transaction() as db:
            db.execute(update(files).where(and_(files.c.id == id, files.c.state == "open")).values(until=until))

    def finish_file(self, id: str, sha256: str, until: int, home: int = 0) -> bool:
        """Mark a file as done, with its checksum. Return False if it is gone or has another home."""
        values = {"state": "done", "sha256": sha256, "ranges": "[]", "until": until}
        mine = and_(files.c.id == id, files.c.home == home, _not_gone)
        with self._database.transaction() as db:
            return db.execute(update(files).where(mine).values(values)).rowcount > 0

    def drop_file(self, id: str, now: int) -> str | None:
        """Mark a file as gone. Return the checksum of its blob if no other file in the folder has the same."""
        with self._database.transaction() as db:
            done = and_(files.c.id == id, files.c.state == "done")
            blob = db.execute(select(files.c.sha256, files.c.folder).where(done)).one_or_none()
            gone = {"state": "gone", "ranges": "[]", "parts": "[]", "until": now}
            db.execute(update(files).where(and_(files.c.id == id, _not_gone)).values(gone))
            if blob is None:
                return None
            same = and_(files.c.sha256 == blob.sha256, files.c.folder == blob.folder, files.c.state == "done")
            left = db.execute(select(func.count()).where(same)).scalar_one()
            return None if left else str(blob.sha256)

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

    def open_files(self, home: int | None = None) -> list[tuple[FileRow, bool]]:
        """Return the open files of one home, or all, each with True if its sender's name is registered."""
        with self._database.reading() as db:
            return _find_with_accounts(db, and_(files.c.state == "open", _of(home)))

    def done_sizes(self, least: int, home: int | None = None) -> list[StoredSize]:
        """Return the sizes of complete files, with their lists of parts: of one home, or of all files."""
        size = _size(least)
        with self._database.reading() as db:
            found = db.execute(
                select(files.c.sender, files.c.network, func.max(_registered).label("registered"), func.sum(size))
                .select_from(_with_accounts)
                .where(and_(files.c.state == "done", _of(home)))
                .group_by(files.c.sender, files.c.network)
            ).all()
        return [
            StoredSize(sender, network, bool(registered), int(total)) for sender, network, registered, total in found
        ]

    def sizes_elsewhere(self, home: int, user: str, network: str, least: int) -> FilesElsewhere:
        """Return what files with another home take, those of a user and of a network apart."""
        size = case((files.c.state == "done", _size(least)), else_=least + func.length(files.c.parts) - len("[]"))
        of_user, of_network = files.c.sender == user, and_(files.c.network == network, files.c.network != "")
        is_open = files.c.state == "open"
        wanted = [
            func.coalesce(func.sum(case((which, value), else_=0)), 0)
            for which, value in (
                (of_user, size), (and_(of_user, is_open), 1), (of_network, size), (and_(of_network, is_open), 1),
                (accounts.c.password.is_(None), size), (_not_gone, size),
            )
        ]  # fmt: skip
        with self._database.reading() as db:
            elsewhere = and_(_not_gone, files.c.home != home)
            found = db.execute(select(*wanted).select_from(_with_accounts).where(elsewhere)).one()
        return FilesElsewhere(*[int(value) for value in found])

    def overdue_files(self, now: int, others: Collection[int] = ()) -> list[str]:
        """Return the ids of files whose `until` is not after `now`, sorted by `until`."""
        overdue = and_(_not_gone, files.c.until <= now, files.c.home.not_in(list(others)))
        with self._database.reading() as db:
            return [row.id for row in db.execute(select(files.c.id).where(overdue).order_by(files.c.until))]

    def next_overdue(self, others: Collection[int] = ()) -> int | None:
        """Return the earliest `until` of those files, in milliseconds since 1970; None without a file."""
        wanted = and_(_not_gone, files.c.home.not_in(list(others)))
        with self._database.reading() as db:
            until = db.execute(select(func.min(files.c.until)).where(wanted)).scalar_one()
        return None if until is None else int(until)

    def place_file(self, id: str, home: int, folder: str) -> bool:
        """Store the folder that is about to get the first byte of a file. Return False if it has another home."""
        mine = and_(files.c.id == id, files.c.home == home, files.c.folder.in_(["", folder]), files.c.state == "open")
        with self._database.transaction() as db:
            return db.execute(update(files).where(mine).values(folder=folder)).rowcount > 0

    def files_without_folder(self) -> list[FileRow]:
        """Return the files that may have bytes in a folder that is not stored: those of an earlier version."""
        unknown = and_(_not_gone, files.c.folder == "", or_(files.c.state == "done", files.c.home == 0))
        with self._database.reading() as db:
            return [_file(row) for row in db.execute(select(files).where(unknown))]

    def set_folder(self, id: str, folder: str) -> None:
        """Store in which folder such a file is."""
        with self._database.transaction() as db:
            db.execute(update(files).where(and_(files.c.id == id, files.c.folder == "")).values(folder=folder))

    def adopt_files(self, home: int, folder: str, others: Collection[int]) -> list[tuple[FileRow, bool]]:
        """Give a new home to the files whose home is none of `others`, in a folder and, if open, in none."""
        here = or_(files.c.folder == folder, and_(files.c.folder == "", files.c.state == "open"))
        orphans = and_(_not_gone, files.c.home.not_in([home, *others]), here)
        with self._database.transaction() as db:
            found = _find_with_accounts(db, orphans)
            if found:
                db.execute(update(files).where(orphans).values(home=home))
        return [(replace(row, home=home), registered) for row, registered in found]

    def kept_files(self, folder: str | None = None) -> tuple[set[str], set[str]]:
        """Return the ids of all open files, and the checksums of all files that are done, in one folder or in all."""
        here = _not_gone if folder is None else and_(_not_gone, files.c.folder == folder)
        with self._database.reading() as db:
            found = db.execute(select(files.c.id, files.c.state, files.c.sha256).where(here)).all()
        return (
            {row.id for row in found if row.state == "open"},
            {row.sha256 for row in found if row.state == "done"},
        )

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


def _of(home: int | None) -> ColumnElement[bool]:
    return true() if home is None else files.c.home == home


def _size(least: int) -> ColumnElement[int]:
    """Return what a complete file takes: its size, `least` bytes at least, and its list of parts."""
    return case((files.c.size > least, files.c.size), else_=least) + func.length(files.c.parts) - len("[]")


def _find_with_accounts(db: Connection, which: ColumnElement[bool]) -> list[tuple[FileRow, bool]]:
    found = db.execute(select(files, _registered).select_from(_with_accounts).where(which)).all()
    return [(_file(row), bool(row.registered)) for row in found]


def _find(db: Connection, which: ColumnElement[bool]) -> FileRow | None:
    found = db.execute(select(files).where(which)).one_or_none()
    return None if found is None else _file(found)


def _file(row: Any) -> FileRow:
    return FileRow(
        row.id, row.log, row.sender, row.sender_name, row.own, row.name, row.size, row.made, row.until, row.state,
        row.sha256, _ranges.decode(row.ranges), tuple(_parts.decode(row.parts)), row.number,
        row.network, row.home, row.folder,
    )  # fmt: skip


def _values(row: FileRow) -> dict[str, Any]:
    return {
        "id": row.id, "log": row.log, "sender": row.sender_key, "sender_name": row.sender_name, "own": row.own,
        "name": row.name, "size": row.size, "made": row.made, "until": row.until, "state": row.state,
        "sha256": row.sha256, "ranges": msgspec.json.encode(row.ranges).decode(),
        "parts": msgspec.json.encode(row.parts).decode(), "number": row.number,
        "network": row.network, "part_count": len(row.parts), "home": row.home, "folder": row.folder,
    }  # fmt: skip
