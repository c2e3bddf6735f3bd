"""Floor 1: the rows of files: which file is offered where, until when, and which bytes of it are stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, bindparam, func, insert, or_, select, update

from wire.errors import Refused
from wire.file_names import size_words
from wire.frames import FilePart
from wire.names import fold
from wire.ranges import RangeSet

from ..contract import FileRow
from .database import Database, SqlBase
from .schema import fetches, files, members

_not_gone = files.c.state != "gone"
_ranges = msgspec.json.Decoder(tuple[tuple[int, int], ...])
_parts = msgspec.json.Decoder(list[FilePart])


class SqlFiles(SqlBase):
    """The contract of files."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        still_open = and_(files.c.id == bindparam("of"), files.c.state == bindparam("open"))
        self._set_ranges = database.dialect.text(update(files).where(still_open).values(ranges=bindparam("to")))

    def add_file(self, row: FileRow, per_user: int, in_all: int) -> FileRow:
        """Store an offer and return it; return the earlier one if (sender, own id) is known.

        `per_user` and `in_all` limit the bytes that one user and that all users offer; 0 is no limit.
        Raises Refused("quota").
        """
        with self._database.transaction() as db:
            found = _find(db, and_(files.c.sender == row.sender_key, files.c.own == row.own))
            if found is not None:
                return found
            values = _values(row)
            size = row.size + len(values["parts"]) - len("[]")
            if per_user and _offered(db, files.c.sender == row.sender_key) + size > per_user:
                raise Refused("quota", f"Your files may have {size_words(per_user)} in all. /cancel one first.")
            if in_all and _offered(db, _not_gone) + size > in_all:
                raise Refused("quota", f"All files here may have {size_words(in_all)} in all. Try again later.")
            db.execute(insert(files).values(values))
            return row

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

    def keep_ranges(self, id: str, ranges: RangeSet) -> None:
        """Store which bytes of an open file are on disk."""
        body = msgspec.json.encode(ranges).decode()
        with self._database.cursor_transaction() as cursor:
            cursor.execute(self._set_ranges, (body, id, "open"))
        self._database.wrote(len(body), 1)

    def finish_file(self, id: str, sha256: str) -> bool:
        """Mark a file as done, with the checksum of its content. Return False if it is gone."""
        done = update(files).where(and_(files.c.id == id, _not_gone)).values(state="done", sha256=sha256, ranges="[]")
        with self._database.transaction() as db:
            return db.execute(done).rowcount > 0

    def drop_file(self, id: str) -> str | None:
        """Mark a file as gone. Return the checksum of its blob if no other file has the same, else None."""
        with self._database.transaction() as db:
            done = and_(files.c.id == id, files.c.state == "done")
            sha256 = db.execute(select(files.c.sha256).where(done)).scalar()
            db.execute(update(files).where(files.c.id == id).values(state="gone", ranges="[]", parts="[]"))
            if not sha256:
                return None
            same = and_(files.c.sha256 == sha256, files.c.state == "done")
            left = db.execute(select(func.count()).where(same)).scalar_one()
            return None if left else str(sha256)

    def files_of(self, user: str) -> list[FileRow]:
        """Return the files that a user offers or that are offered to the user, oldest first, without those gone."""
        key = fold(user)
        theirs = select(members.c.log).where(members.c.user == key)
        with self._database.reading() as db:
            found = db.execute(
                select(files)
                .where(and_(_not_gone, or_(files.c.sender == key, files.c.log.in_(theirs))))
                .order_by(files.c.made, files.c.id)
            )
            return [_file(row) for row in found]

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

    def note_fetched(self, id: str, user: str) -> bool:
        """Store that a user has all of a file. Return False if that was stored before."""
        row = {"file": id, "user": fold(user), "name": user}
        new = self._database.dialect.insert_or_skip(fetches).values(row).returning(fetches.c.file)
        with self._database.transaction() as db:
            return db.execute(new).one_or_none() is not None  # not every driver has a rowcount of an INSERT

    def fetched(self, ids: Sequence[str]) -> dict[str, list[str]]:
        """Return the names of the users who have all of a file, sorted, by the file's id."""
        names: dict[str, list[str]] = {}
        with self._database.reading() as db:
            found = db.execute(select(fetches.c.file, fetches.c.name).where(fetches.c.file.in_(ids)))
            for row in found.all():
                names.setdefault(row.file, []).append(row.name)
        return {id: sorted(given) for id, given in names.items()}


def _offered(db: Connection, which: ColumnElement[bool]) -> int:
    """Return the bytes that these files take, with the names of the files in folders."""
    taken = func.sum(files.c.size + func.length(files.c.parts) - len("[]"))
    return int(db.execute(select(func.coalesce(taken, 0)).where(and_(_not_gone, which))).scalar_one())


def _find(db: Connection, which: ColumnElement[bool]) -> FileRow | None:
    found = db.execute(select(files).where(which)).one_or_none()
    return None if found is None else _file(found)


def _file(row: Any) -> FileRow:
    return FileRow(
        row.id, row.log, row.sender, row.sender_name, row.own, row.name, row.size, row.made, row.until, row.state,
        row.sha256, _ranges.decode(row.ranges), tuple(_parts.decode(row.parts)), row.number,
    )  # fmt: skip


def _values(row: FileRow) -> dict[str, Any]:
    return {
        "id": row.id, "log": row.log, "sender": row.sender_key, "sender_name": row.sender_name, "own": row.own,
        "name": row.name, "size": row.size, "made": row.made, "until": row.until, "state": row.state,
        "sha256": row.sha256, "ranges": msgspec.json.encode(row.ranges).decode(),
        "parts": msgspec.json.encode(row.parts).decode(), "number": row.number,
    }  # fmt: skip
