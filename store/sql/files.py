"""Floor 1: which files are offered, where, until when, and what is there of each; the bytes are in blobs.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Dialect, and_, func, insert, or_, select, update
from sqlalchemy.dialects.sqlite import insert as insert_or_pass

from store.contract import FileRow
from wire.errors import Refused
from wire.file_names import size_words
from wire.frames import FilePart
from wire.names import fold
from wire.ranges import RangeSet

from .database import SqlBase
from .schema import fetches, files, members

_here = files.c.state != "gone"
_ranges = msgspec.json.Decoder(tuple[tuple[int, int], ...])
_parts = msgspec.json.Decoder(list[FilePart])


class SqlFiles(SqlBase):
    """The part of the contract that is about files."""

    def __init__(self, dialect: Dialect) -> None:
        super().__init__(dialect)
        self._keep_ranges = self._compiled(
            update(files).where(and_(files.c.id == "", files.c.state == "")).values(ranges="")
        )

    def add_file(self, row: FileRow, per_user: int, in_all: int) -> FileRow:
        """Offer a file, within these limits (bytes; 0: none); the earlier offer if (sender, own id) is not new."""
        with self._transaction():
            own = and_(files.c.sender == row.sender, files.c.own == row.own)
            found = self._writer.execute(select(files).where(own)).one_or_none()
            if found is not None:
                return _file(found)
            values = _values(row)
            size = row.size + len(values["parts"]) - len("[]")
            if per_user and self._offered(files.c.sender == row.sender) + size > per_user:
                raise Refused("quota", f"All that you offer may have {size_words(per_user)}; /cancel something first.")
            if in_all and self._offered(_here) + size > in_all:
                raise Refused("quota", f"All files here may have {size_words(in_all)}: there is no room for it now.")
            self._writer.execute(insert(files).values(values))
            return row

    def _offered(self, which: ColumnElement[bool]) -> int:
        """The bytes that these take, with the names of what is in folders."""
        taken = func.sum(files.c.size + func.length(files.c.parts) - len("[]"))
        counted = select(func.coalesce(taken, 0)).where(and_(_here, which))
        return int(self._writer.execute(counted).scalar_one())

    def file(self, id: str) -> FileRow | None:
        """The file of that id."""
        with self._reading() as db:
            return _one(db, files.c.id == id)

    def own_file(self, sender: str, own: str) -> FileRow | None:
        """The file that a user has offered under an id of their own."""
        with self._reading() as db:
            return _one(db, and_(files.c.sender == sender, files.c.own == own))

    def set_file_number(self, id: str, number: int) -> None:
        """Note which entry of its log offers a file."""
        with self._transaction():
            self._writer.execute(update(files).where(files.c.id == id).values(number=number))

    def keep_ranges(self, id: str, ranges: RangeSet) -> None:
        """Record what is on disk of a file that is being filled."""
        body = msgspec.json.encode(ranges).decode()
        with self._transaction() as cursor:
            cursor.execute(self._keep_ranges, (body, id, "open"))
        self._wrote(len(body) + 4096)

    def finish_file(self, id: str, sha256: str) -> bool:
        """All of a file is there, and this is its checksum; False if it has gone meanwhile."""
        with self._transaction():
            mine = and_(files.c.id == id, _here)
            return self._writer.execute(
                update(files).where(mine).values(state="done", sha256=sha256, ranges="[]")
            ).rowcount > 0  # fmt: skip

    def drop_file(self, id: str) -> str | None:
        """Nobody is to have a file any more; the checksum of its blob, if nobody else's file has the same."""
        with self._transaction():
            done = and_(files.c.id == id, files.c.state == "done")
            sha256 = self._writer.execute(select(files.c.sha256).where(done)).scalar()
            self._writer.execute(update(files).where(files.c.id == id).values(state="gone", ranges="[]", parts="[]"))
            if not sha256:
                return None
            same = and_(files.c.sha256 == sha256, files.c.state == "done")
            left = self._writer.execute(select(func.count()).where(same)).scalar_one()
            return None if left else str(sha256)

    def files_of(self, user: str) -> list[FileRow]:
        """Every file that a user offers, or that is offered to them, the oldest first."""
        key = fold(user)
        theirs = select(members.c.log).where(members.c.user == key)
        with self._reading() as db:
            found = db.execute(
                select(files)
                .where(and_(_here, or_(files.c.sender == key, files.c.log.in_(theirs))))
                .order_by(files.c.made, files.c.id)
            )
            return [_file(row) for row in found]

    def overdue_files(self, now: int) -> list[str]:
        """The files whose time is over, in that order."""
        with self._reading() as db:
            found = db.execute(select(files.c.id).where(and_(_here, files.c.until <= now)).order_by(files.c.until))
            return [row.id for row in found]

    def next_overdue(self) -> int | None:
        """When the time of the next file is over; None if there is no file."""
        with self._reading() as db:
            until = db.execute(select(func.min(files.c.until)).where(_here)).scalar_one()
        return None if until is None else int(until)

    def kept_files(self) -> tuple[set[str], set[str]]:
        """The ids of all files that are being filled, and the checksums of all that are finished."""
        with self._reading() as db:
            found = db.execute(select(files.c.id, files.c.state, files.c.sha256).where(_here)).all()
        return (
            {row.id for row in found if row.state == "open"},
            {row.sha256 for row in found if row.state == "done"},
        )

    def note_fetched(self, id: str, user: str) -> bool:
        """A user has all of a file; whether that is news."""
        row = {"file": id, "user": fold(user), "name": user}
        with self._transaction():
            return self._writer.execute(insert_or_pass(fetches).values(row).on_conflict_do_nothing()).rowcount > 0

    def fetched(self, ids: Sequence[str]) -> dict[str, list[str]]:
        """Who has all of these files, by name."""
        names: dict[str, list[str]] = {}
        with self._reading() as db:
            found = db.execute(select(fetches.c.file, fetches.c.name).where(fetches.c.file.in_(ids)))
            for row in found.all():
                names.setdefault(row.file, []).append(row.name)
        return {id: sorted(given) for id, given in names.items()}


def _one(db: Connection, which: ColumnElement[bool]) -> FileRow | None:
    found = db.execute(select(files).where(which)).one_or_none()
    return None if found is None else _file(found)


def _file(row: Any) -> FileRow:
    return FileRow(
        row.id, row.log, row.sender, row.sender_name, row.own, row.name, row.size, row.made, row.until, row.state,
        row.sha256, _ranges.decode(row.ranges), tuple(_parts.decode(row.parts)), row.number,
    )  # fmt: skip


def _values(row: FileRow) -> dict[str, Any]:
    return {
        "id": row.id, "log": row.log, "sender": row.sender, "sender_name": row.sender_name, "own": row.own,
        "name": row.name, "size": row.size, "made": row.made, "until": row.until, "state": row.state,
        "sha256": row.sha256, "ranges": msgspec.json.encode(row.ranges).decode(),
        "parts": msgspec.json.encode(row.parts).decode(), "number": row.number,
    }  # fmt: skip
