"""The tables of a PostgreSQL database: made once, whoever comes first, and never in a database of another program."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import sqlalchemy

from store import Client, FileRow, Holding, Store, open_store
from store.postgres.migrations import STEPS
from store.sql import schema
from tests.store.postgres.conftest import refused
from tests.support.postgres import Cluster
from tests.support.stores import NOW, PostgresPlace, posting, texts
from tests.support.waiting import ended


def test_the_steps_lead_to_the_tables_of_the_schema(one: Store, place: PostgresPlace) -> None:
    """Columns, keys and indexes; beside them there are `logs.tail` and what several servers have in common."""
    engine = sqlalchemy.create_engine(place.url.replace("postgresql:", "postgresql+psycopg:"))
    look = sqlalchemy.inspect(engine)
    own = {"servers", "holdings", "server_messages", "folders", "wills"}
    assert {*look.get_table_names()} == {*schema.metadata.tables, *own}
    for name, table in schema.metadata.tables.items():
        columns = {
            column["name"]: (str(column["type"]).split(" COLLATE")[0], column["nullable"])
            for column in look.get_columns(name)
        }
        if name == "logs":
            assert columns.pop("tail") == ("BIGINT", False)
        wanted = {column.name: (str(column.type), bool(column.nullable)) for column in table.columns}
        assert columns == wanted, name
        assert look.get_pk_constraint(name)["constrained_columns"] == [column.name for column in table.primary_key]
        indexes = {(index["name"], *index["column_names"]) for index in look.get_indexes(name)}
        made = {(str(index.name), *index.columns.keys()) for index in table.indexes}
        made |= {(str(constraint.name), *constraint.columns.keys()) for constraint in table.constraints
                 if isinstance(constraint, sqlalchemy.UniqueConstraint)}  # fmt: skip
        assert indexes == made, name
    engine.dispose()


def test_servers_that_start_together_make_the_tables_once(place: PostgresPlace) -> None:
    stores: list[Store] = []
    failures: list[BaseException] = []

    def start() -> None:
        try:
            stores.append(open_store(place.url, folder=place.folder))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=start, daemon=True) for _ in range(5)]
    for thread in threads:
        thread.start()
    ended(threads, lambda: len(stores))
    assert not failures
    assert len({store.open_channel("lab").id for store in stores}) == 1
    for store in stores:
        store.close()


def test_a_newer_database_is_refused(place: PostgresPlace) -> None:
    place.open().close()
    place.cluster.sql(f"UPDATE version SET number = {len(STEPS) + 1}", place.name)
    sentence = refused(place.open)
    assert f"was written by a newer Partyline (schema {len(STEPS) + 1}, this one knows up to {len(STEPS)})" in sentence


@pytest.mark.parametrize(
    "table",
    [
        "accounts (id integer)",
        "version (number integer NOT NULL)",
        "version (major integer, number integer)",
        "anything (words text)",
    ],
)
def test_a_database_of_another_program_is_refused(place: PostgresPlace, table: str) -> None:
    """And nothing is added to it."""
    place.cluster.sql(f"CREATE TABLE {table}", place.name)
    assert "has tables of another program. Create a database for Partyline alone." in refused(place.open)
    query = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
    assert place.cluster.sql(query, place.name) == [(1,)]


def test_a_database_in_another_encoding_is_refused(cluster: Cluster, place: PostgresPlace) -> None:
    name = cluster.new_database("ENCODING 'SQL_ASCII'")
    sentence = refused(lambda: open_store(cluster.socket_url(name), folder=place.folder))
    assert sentence == "The database has the encoding SQL_ASCII. Create it with ENCODING 'UTF8'."
    cluster.drop_database(name)


def test_a_database_that_we_may_not_change_is_refused(cluster: Cluster, place: PostgresPlace) -> None:
    cluster.sql(f"ALTER DATABASE {place.name} OWNER TO postgres")
    cluster.sql("REVOKE CREATE ON SCHEMA public FROM PUBLIC", place.name)
    assert "our user may not do that" in refused(place.open)


def test_text_comes_back_as_it_was(one: Store, other: Store) -> None:
    """NUL, which PostgreSQL's text cannot hold, and what stands for it."""
    odd = ["\0", "\x1a", "\x1a0", "\x1a1", "\0\x1a\0", "a\x1a\0b", "\x1a\x1a01", "%s %%", "\\x00", "{a,b}", '"', "NULL"]
    lab = one.open_channel("lab")
    one.open_account("ann")
    for topic in odd:
        one.set_topic(lab, topic)
        assert [row.topic for row in other.channels()] == [topic]
    found: Any = one.append([_posts(lab, odd)], 1).numbers[0]
    assert list(found) == list(range(1, len(odd) + 1))
    assert list(other.append([_posts(lab, odd)], 1).numbers[0]) == list(found), "ids are found again"


def _posts(lab: Any, ids: list[str]) -> Any:
    return posting(lab, "ann", *[(f"text of {id!r}", id) for id in ids])


def test_a_server_goes_on_beside_the_tables_of_a_newer_one(one: Store, place: PostgresPlace) -> None:
    """Newer steps add tables, and columns with a default. The server finds everything, but cannot be started again."""
    servers = one.servers()
    servers.start(lambda server, message: None, lambda server: None, lambda: None)
    tables = place.cluster.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public'", place.name)
    for table in {name for (name,) in tables} - {"version"}:
        place.cluster.sql(f"ALTER TABLE {table} ADD COLUMN newer TEXT NOT NULL DEFAULT ''", place.name)
    place.cluster.sql(f"UPDATE version SET number = {len(STEPS) + 1}", place.name)
    ann, lab = one.open_account("ann"), one.open_channel("lab", "ann")
    assert servers.hold(Holding(servers.here, 1, "ann", "ann", "socket", "", 7, ""), None, proven=False, own=[1])
    one.join(lab, "ann")
    one.append([posting(lab, "ann", ("hello", "id1"))], NOW)
    one.move({(lab.id, "ann"): 1}, {"ann": NOW})
    one.save_client(Client("ann/dev", 60, None, "", servers.here, 1))
    one.change_client_filters("ann/dev", {"chat/#": 1}, (), servers.here, 1)
    one.add_file(FileRow("f1", lab.id, "ann", "ann", "own", "x", 1, NOW, NOW))
    assert one.note_fetched("f1", "ann")
    servers.tell("x" * 10_000)
    assert texts(one, lab) == ["hello"]
    assert [each.key for each in one.members(lab)] == [ann.key]
    assert one.client_filters("ann/dev") == {"chat/#": 1}
    assert [each.connection for each in servers.holdings("ann")] == [1]
    assert one.file("f1") is not None
    assert "was written by a newer Partyline" in refused(place.open_another)
