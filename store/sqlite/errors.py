"""Floor 1: what SQLite's errors mean for the operator (sqlite.org/rescode.html)."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from sqlalchemy.exc import StatementError

from ..contract import StoreError

_REASONS: dict[int, str] = {
    sqlite3.SQLITE_NOTADB: "it is not a Partyline database, or it is damaged",
    # SQLite reports a read that the disk has refused as damage, too (SQLITE_IOERR_CORRUPTFS in os_unix.c).
    sqlite3.SQLITE_CORRUPT: (
        "it cannot be read; `server.py check` says whether it is damaged or the disk fails. If it is damaged, restore"
        " it from a copy, or move it away to start with an empty one"
    ),
    sqlite3.SQLITE_IOERR: "the disk or its file system reported an error",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_READONLY: "it cannot be written",
    sqlite3.SQLITE_PERM: "it cannot be written",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened or written",
    sqlite3.SQLITE_BUSY: "another program keeps it locked",
    sqlite3.SQLITE_LOCKED: "another program keeps it locked",
    sqlite3.SQLITE_NOMEM: "the machine has no memory left",
}
# A disk that refuses to read the first page looks to SQLite like a database without tables.
_NO_SCHEMA = ("no such table", "no such column", "no such index")
_PRIMARY = 0xFF  # the part of an extended result code that is the primary one


def store_error(file: Path, error: Exception) -> StoreError:
    """Return the error of the driver or of SQLAlchemy as a StoreError, with a sentence for the operator."""
    cause = error.orig if isinstance(error, StatementError) and error.orig is not None else error
    code = getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_OK) & _PRIMARY
    if code == sqlite3.SQLITE_ERROR and str(cause).startswith(_NO_SCHEMA):
        code = sqlite3.SQLITE_CORRUPT
    reason = _REASONS.get(code) or " ".join(str(cause).split()) or type(cause).__name__
    if code == sqlite3.SQLITE_IOERR:
        reason = f"{reason} ({cause.sqlite_errorname})"  # type: ignore[attr-defined]
    return StoreError(f"The store {file} failed: {reason}.")
