"""Floor 1: the accounts."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, update

from wire.clock import now
from wire.names import fold

from ..contract import Account
from .database import Database, SqlBase
from .schema import accounts
from .statement import Statement

ACCOUNT_COLUMNS = (accounts.c.key, accounts.c.name, accounts.c.password, accounts.c.seen)

_FIND = Statement(select(*ACCOUNT_COLUMNS).where(accounts.c.key == bindparam("of")))
_INSERT = Statement(insert(accounts))
_SET_PASSWORD = update(accounts).where(accounts.c.key == bindparam("of")).values(password=bindparam("to"))


class SqlAccounts(SqlBase):
    """The contract of accounts."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._insert_new = Statement(database.dialect.insert_or_skip(accounts).returning(accounts.c.key))

    def account(self, user: str) -> Account | None:
        """Return a user's account, None if the name was never used."""
        with self._database.reading() as db:
            return _find(db, user)

    def open_account(self, name: str) -> Account:
        """Return the account of that name; create one without a password if it does not exist."""
        new = Account(fold(name), name, None, 0)
        with self._database.transaction() as db:
            if self._insert_new.rows(db, key=new.key, name=name, password=None, seen=0, made=now()):
                return new
            found = _find(db, name)
        assert found is not None
        return found

    def set_password(self, user: str, password: str) -> None:
        """Store the hash of a user's password."""
        with self._database.transaction() as db:
            db.execute(_SET_PASSWORD, {"of": fold(user), "to": password})


def open_account(db: Connection, name: str) -> Account:
    """Return the account of that name, as a part of the caller's transaction; create it if it does not exist."""
    found = _find(db, name)
    if found is None:
        found = Account(fold(name), name, None, 0)
        _INSERT.rows(db, key=found.key, name=name, password=None, seen=0, made=now())
    return found


def _find(db: Connection, user: str) -> Account | None:
    found = _FIND.rows(db, of=fold(user))
    return Account(*found[0]) if found else None


def make_account(row: Any) -> Account:
    """Return the account in a row with the columns ACCOUNT_COLUMNS."""
    return Account(row.key, row.name, row.password, row.seen)
