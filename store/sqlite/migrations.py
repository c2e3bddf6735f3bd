"""Floor 1: the numbered steps from an empty SQLite file to sql/schema.py. A step that was released never changes."""

from __future__ import annotations

import json

from sqlalchemy import Connection, text

from ..sql import Step, filter_hash


def _first(db: Connection) -> None:
    for statement in (
        "CREATE TABLE version (number INTEGER NOT NULL)",
        "INSERT INTO version VALUES (0)",
        (
            "CREATE TABLE accounts (key TEXT NOT NULL PRIMARY KEY, name TEXT NOT NULL, password TEXT,"
            " seen BIGINT NOT NULL)"
        ),
        (
            "CREATE TABLE logs (id INTEGER NOT NULL PRIMARY KEY, kind TEXT NOT NULL, key TEXT NOT NULL,"
            " name TEXT NOT NULL, other TEXT NOT NULL, topic TEXT NOT NULL, tail BIGINT NOT NULL,"
            " CONSTRAINT logs_key UNIQUE (kind, key))"
        ),
        "INSERT INTO logs VALUES (1, 'journal', '', '', '', '', 0)",
        (
            'CREATE TABLE members (log BIGINT NOT NULL, "user" TEXT NOT NULL, cursor BIGINT NOT NULL,'
            ' joined BIGINT NOT NULL, PRIMARY KEY (log, "user")) WITHOUT ROWID'
        ),
        'CREATE INDEX members_user ON members ("user")',
        (
            "CREATE TABLE runs (seq INTEGER NOT NULL PRIMARY KEY, log BIGINT NOT NULL, last BIGINT NOT NULL,"
            " count INTEGER NOT NULL, body TEXT NOT NULL)"
        ),
        "CREATE UNIQUE INDEX runs_log ON runs (log, last)",
        (
            "CREATE TABLE ids (sender TEXT NOT NULL, id TEXT NOT NULL, log BIGINT NOT NULL, number BIGINT NOT NULL,"
            " PRIMARY KEY (sender, id)) WITHOUT ROWID"
        ),
    ):
        db.execute(text(statement))


def _clients(db: Connection) -> None:
    """Add the sessions of clients."""
    for statement in (
        "CREATE TABLE clients (key TEXT NOT NULL PRIMARY KEY, expiry BIGINT, until BIGINT, state TEXT NOT NULL)",
        (
            "CREATE TABLE client_cursors (client TEXT NOT NULL, log BIGINT NOT NULL, cursor BIGINT NOT NULL,"
            " PRIMARY KEY (client, log)) WITHOUT ROWID"
        ),
    ):
        db.execute(text(statement))


def _files(db: Connection) -> None:
    """Add files, and who has fetched them."""
    for statement in (
        (
            "CREATE TABLE files (id TEXT NOT NULL PRIMARY KEY, log BIGINT NOT NULL, sender TEXT NOT NULL,"
            " sender_name TEXT NOT NULL, own TEXT NOT NULL, name TEXT NOT NULL, size BIGINT NOT NULL,"
            ' made BIGINT NOT NULL, "until" BIGINT NOT NULL, state TEXT NOT NULL, sha256 TEXT NOT NULL,'
            " ranges TEXT NOT NULL, parts TEXT NOT NULL, number BIGINT NOT NULL,"
            " CONSTRAINT files_own UNIQUE (sender, own))"
        ),
        "CREATE INDEX files_log ON files (log)",
        "CREATE INDEX files_sha256 ON files (sha256)",
        (
            'CREATE TABLE fetches (file TEXT NOT NULL, "user" TEXT NOT NULL, name TEXT NOT NULL,'
            ' PRIMARY KEY (file, "user")) WITHOUT ROWID'
        ),
    ):
        db.execute(text(statement))


def _ids(db: Connection) -> None:
    """Add the log to the key of a post's id: the same id in another log is another post."""
    for statement in (
        (
            "CREATE TABLE ids_anew (sender TEXT NOT NULL, id TEXT NOT NULL, log BIGINT NOT NULL, "
            "number BIGINT NOT NULL, PRIMARY KEY (sender, id, log)) WITHOUT ROWID"
        ),
        "INSERT INTO ids_anew SELECT sender, id, log, number FROM ids",
        "DROP TABLE ids",
        "ALTER TABLE ids_anew RENAME TO ids",
    ):
        db.execute(text(statement))


def _tails(db: Connection) -> None:
    """Drop the stored tails of the logs and of the journal: a tail is the number of the last entry."""
    for statement in ("DELETE FROM logs WHERE kind = 'journal'", "ALTER TABLE logs DROP COLUMN tail"):
        db.execute(text(statement))


def _ends(db: Connection) -> None:
    """Add an index that finds the sessions that have ended."""
    db.execute(text('CREATE INDEX clients_until ON clients ("until")'))


def _checksums(db: Connection) -> None:
    """Add the checksums of runs. The runs that are there have none: to read all of them could take hours."""
    db.execute(text("ALTER TABLE runs ADD COLUMN checksum BIGINT"))


def _unused(db: Connection) -> None:
    """Add what is needed to tell which logs and accounts nobody uses. Those that are there count as new."""
    for statement in (
        "ALTER TABLE logs ADD COLUMN opener TEXT",
        "ALTER TABLE logs ADD COLUMN touched BIGINT",
        "ALTER TABLE accounts ADD COLUMN made BIGINT",
        "CREATE INDEX logs_opener ON logs (opener, kind)",
        "CREATE INDEX client_cursors_log ON client_cursors (log)",
        "UPDATE logs SET touched = CAST(strftime('%s', 'now') AS INTEGER) * 1000",
        "UPDATE accounts SET made = CAST(strftime('%s', 'now') AS INTEGER) * 1000",
    ):
        db.execute(text(statement))


def _file_quotas(db: Connection) -> None:
    """Add from which network a file was sent, and how many parts it has."""
    for statement in (
        "ALTER TABLE files ADD COLUMN network TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE files ADD COLUMN part_count INTEGER NOT NULL DEFAULT 0",
        "UPDATE files SET part_count = json_array_length(parts)",
    ):
        db.execute(text(statement))


def _client_filters(db: Connection) -> None:
    """Add the topic filters of sessions, a row each; they were a JSON array in the session's state."""
    for statement in (
        (
            "CREATE TABLE client_filters (client TEXT NOT NULL, hash BIGINT NOT NULL, filter TEXT NOT NULL,"
            " options INTEGER NOT NULL)"
        ),
        "CREATE INDEX client_filters_hash ON client_filters (client, hash)",
    ):
        db.execute(text(statement))
    # The sessions of the mirror begin with a slash, and have other states.
    keys = db.execute(text("SELECT key FROM clients WHERE state LIKE '[%' AND key NOT LIKE '/%'")).scalars().all()
    for key in keys:
        state = db.execute(text("SELECT state FROM clients WHERE key = :key"), {"key": key}).scalar_one()
        rows = [
            {
                "client": key,
                "hash": filter_hash(each["filter"]),
                "filter": each["filter"],
                "options": each["qos"]
                | each.get("no_local", 0) << 2
                | each.get("retain_as_published", 0) << 3
                | each.get("retain_handling", 0) << 4,
            }
            for each in json.loads(state)
        ]
        if rows:
            db.execute(text("INSERT INTO client_filters VALUES (:client, :hash, :filter, :options)"), rows)
        db.execute(text("UPDATE clients SET state = '' WHERE key = :key"), {"key": key})


def _client_owners(db: Connection) -> None:
    """Add whose the session of a client is, as it is on a database for several servers."""
    for column in ("server", "connection"):
        db.execute(text(f"ALTER TABLE clients ADD COLUMN {column} BIGINT NOT NULL DEFAULT 0"))


def _file_homes(db: Connection) -> None:
    """Add at which server, and in which folder, the bytes of a file are; only several servers use it."""
    db.execute(text("ALTER TABLE files ADD COLUMN home BIGINT NOT NULL DEFAULT 0"))
    db.execute(text("ALTER TABLE files ADD COLUMN folder TEXT NOT NULL DEFAULT ''"))


STEPS: tuple[Step, ...] = (
    _first, _clients, _files, _ids, _tails, _ends, _checksums, _unused, _file_quotas, _client_filters, _client_owners,
    _file_homes,
)  # fmt: skip
