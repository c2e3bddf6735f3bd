"""Floor 1: what nobody uses: empty logs, and guests of whom nothing is kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import and_, bindparam, delete, exists, func, or_, select, update

from wire.clock import now
from wire.names import fold

from ..contract import LogRow
from .database import SqlBase
from .members import LOG_ROWS, make_log_row
from .schema import accounts, client_cursors, clients, files, ids, logs, members, runs

_before: Any = bindparam("before")
_empty = and_(
    func.coalesce(logs.c.touched, 0) < _before,
    ~exists().where(runs.c.log == logs.c.id),
    ~exists().where(and_(files.c.log == logs.c.id, files.c.state != "gone")),
    or_(logs.c.kind != "channel", ~exists().where(members.c.log == logs.c.id)),
)
# An id is never given twice: the newest log stays, since the next id is the highest one and 1.
_EMPTY_LOGS = LOG_ROWS.where(and_(_empty, logs.c.id < select(func.max(logs.c.id)).scalar_subquery()))
_LOCK_LOG = select(logs.c.id).where(logs.c.id == bindparam("of")).with_for_update()
_REMOVE_LOG = delete(logs).where(and_(logs.c.id == bindparam("of"), _empty))
_REMOVE_MEMBERS = delete(members).where(members.c.log == bindparam("of"))
_REMOVE_CURSORS = delete(client_cursors).where(client_cursors.c.log == bindparam("of"))

_idle = and_(
    accounts.c.password.is_(None),
    accounts.c.seen < _before,
    func.coalesce(accounts.c.made, 0) < _before,
    ~exists().where(and_(members.c.user == accounts.c.key, logs.c.id == members.c.log, logs.c.kind == "direct")),
    # "0" follows "/" in every encoding, so these are the keys that begin with the user's and a slash.
    ~exists().where(and_(clients.c.key >= accounts.c.key + "/", clients.c.key < accounts.c.key + "0")),
    ~exists().where(and_(files.c.sender == accounts.c.key, files.c.state != "gone")),
)
_IDLE_GUESTS = select(accounts.c.key).where(_idle).limit(bindparam("most"))
_FORGET_GUEST = delete(accounts).where(and_(accounts.c.key == bindparam("of"), _idle))
_JOINED = select(members.c.log).where(members.c.user == bindparam("of"))
_LEAVE_ALL = delete(members).where(members.c.user == bindparam("of"))
_LOCK_JOINED = select(logs.c.id).where(logs.c.id.in_(_JOINED)).order_by(logs.c.id).with_for_update()
_LEFT = (
    update(logs)
    .where(logs.c.id.in_(select(members.c.log).where(members.c.user == bindparam("of"))))
    .values(touched=bindparam("at"))
)
_FORGET_IDS = delete(ids).where(ids.c.sender == bindparam("of"))
_OPENED = select(func.count()).where(and_(logs.c.opener == bindparam("of"), logs.c.kind == bindparam("of_kind")))


class SqlUnused(SqlBase):
    """The contract of what nobody uses."""

    def empty_logs(self, before: int) -> Sequence[LogRow]:
        """Return the logs that `remove_empty_log` would remove, except the newest log."""
        with self._database.reading() as db:
            return [make_log_row(row) for row in db.execute(_EMPTY_LOGS, {"before": before})]

    def remove_empty_log(self, log: LogRow, before: int) -> bool:
        """Remove a log with its memberships and cursors. Return False and do nothing unless it is empty."""
        with self._database.transaction() as db:
            db.execute(_LOCK_LOG, {"of": log.id})  # what an append has added before is seen, and none comes between
            if not db.execute(_REMOVE_LOG, {"of": log.id, "before": before}).rowcount:
                return False
            for statement in (_REMOVE_MEMBERS, _REMOVE_CURSORS):
                db.execute(statement, {"of": log.id})
            return True

    def idle_guests(self, before: int, limit: int) -> Sequence[str]:
        """Return the keys of at most `limit` guests whom `forget_guest` would remove."""
        with self._database.reading() as db:
            return [row.key for row in db.execute(_IDLE_GUESTS, {"before": before, "most": limit})]

    def forget_guest(self, key: str, before: int) -> Sequence[int] | None:
        """Remove the account of a guest, with memberships in channels and ids of posts."""
        with self._database.transaction() as db:
            if not db.execute(_FORGET_GUEST, {"of": key, "before": before}).rowcount:
                return None
            joined = [row.log for row in db.execute(_JOINED, {"of": key})]
            if joined:
                db.execute(_LOCK_JOINED, {"of": key})  # in the order in which an append locks them
                db.execute(_LEFT, {"of": key, "at": now()})
            for statement in (_LEAVE_ALL, _FORGET_IDS):
                db.execute(statement, {"of": key})
            return joined

    def opened_logs(self, user: str, *, private: bool) -> int:
        """Return how many channels, or else private logs, exist that this user has opened."""
        with self._database.reading() as db:
            kind = "direct" if private else "channel"
            return db.execute(_OPENED, {"of": fold(user), "of_kind": kind}).scalar_one()
