"""Floor 1: the tables as they are now. Each database has migrations that lead to them."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData()

version = Table("version", metadata, Column("number", Integer, nullable=False))

accounts = Table(
    "accounts",
    metadata,
    Column("key", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("password", Text),
    Column("seen", BigInteger, nullable=False),
    Column("made", BigInteger),  # when the row was made, in milliseconds since 1970
)

# A log's tail is the `last` of its last run: a column here would be one more page to write for each post. `opener` is
# the key of the user who has created it. `touched` is when a user last created it, left it or changed its topic.
logs = Table(
    "logs",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("other", Text, nullable=False),
    Column("topic", Text, nullable=False),
    Column("opener", Text),
    Column("touched", BigInteger),
    UniqueConstraint("kind", "key", name="logs_key"),
    Index("logs_opener", "opener", "kind"),
)

members = Table(
    "members",
    metadata,
    Column("log", BigInteger, primary_key=True),
    Column("user", Text, primary_key=True),
    Column("cursor", BigInteger, nullable=False),
    Column("joined", BigInteger, nullable=False),  # counts up for each user: the order of joining
    Index("members_user", "user"),
)

clients = Table(
    "clients",
    metadata,
    Column("key", Text, primary_key=True),
    Column("expiry", BigInteger),
    Column("until", BigInteger),
    Column("state", Text, nullable=False),
    Column("server", BigInteger, nullable=False, server_default=text("0")),
    Column("connection", BigInteger, nullable=False, server_default=text("0")),
    Index("clients_until", "until"),
)

client_cursors = Table(
    "client_cursors",
    metadata,
    Column("client", Text, primary_key=True),
    Column("log", BigInteger, primary_key=True),
    Column("cursor", BigInteger, nullable=False),
    Index("client_cursors_log", "log"),
)

# A row for each topic filter. New rows go to the end of the table, so that a SUBSCRIBE of many filters writes few
# pages. A filter may have a thousand bytes, so the index has `filter_hash` of it, which two filters may share.
client_filters = Table(
    "client_filters",
    metadata,
    Column("client", Text, nullable=False),
    Column("hash", BigInteger, nullable=False),
    Column("filter", Text, nullable=False),
    Column("options", Integer, nullable=False),
    Index("client_filters_hash", "client", "hash"),
)

# `body` is a JSON array of entries, each an array: milliseconds since 1970, sender, text, the sender's id or null.
# `checksum` is that of runs.py; runs of earlier versions have none.
# `seq` is the journal's number of the last of them. In a database with one writer it counts the entries of all logs in
# the order of commit, so new runs always go to the end of the table. With the primary key (log, last), a lone post
# would write two pages instead of three, but a commit to 100 channels twice as many: each log would grow inside the
# table, and its full pages would be split.
runs = Table(
    "runs",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("log", BigInteger, nullable=False),
    Column("last", BigInteger, nullable=False),
    Column("count", Integer, nullable=False),
    Column("body", Text, nullable=False),
    Column("checksum", BigInteger),
    Index("runs_log", "log", "last", unique=True),
)

ids = Table(
    "ids",
    metadata,
    Column("sender", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("log", BigInteger, primary_key=True),
    Column("number", BigInteger, nullable=False),
)

# The columns are those of FileRow; `ranges` and `parts` are JSON, and `part_count` counts the parts. In a store for one
# server, `home` and `folder` have their defaults.
files = Table(
    "files",
    metadata,
    Column("id", Text, primary_key=True),
    Column("log", BigInteger, nullable=False),
    Column("sender", Text, nullable=False),
    Column("sender_name", Text, nullable=False),
    Column("own", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("made", BigInteger, nullable=False),
    Column("until", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("ranges", Text, nullable=False),
    Column("parts", Text, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("network", Text, nullable=False, server_default=text("''")),
    Column("part_count", Integer, nullable=False, server_default=text("0")),
    Column("home", BigInteger, nullable=False, server_default=text("0")),
    Column("folder", Text, nullable=False, server_default=text("''")),
    UniqueConstraint("sender", "own", name="files_own"),
    Index("files_log", "log"),
    Index("files_sha256", "sha256"),
)

fetches = Table(
    "fetches",
    metadata,
    Column("file", Text, primary_key=True),
    Column("user", Text, primary_key=True),
    Column("name", Text, nullable=False),
)
