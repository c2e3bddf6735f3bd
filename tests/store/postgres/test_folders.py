"""The data folders of servers on PostgreSQL: shared among them, and with no server on SQLite."""

from __future__ import annotations

from pathlib import Path

import pytest

from store import FileRow, Store, StoreError, check_store, open_store
from tests.support.stores import NOW, PostgresPlace


def test_servers_on_one_database_share_a_folder(one: Store, place: PostgresPlace) -> None:
    other = place.open_another()
    assert one.blobs().identity() == other.blobs().identity()
    one.close()
    assert other.blobs().known_identity()


def test_a_folder_is_that_of_servers_with_one_kind_of_database(place: PostgresPlace, tmp_path: Path) -> None:
    shared = place.open_another(tmp_path)
    with pytest.raises(StoreError, match="is in use by another server"):
        open_store(tmp_path)
    shared.close()
    alone = open_store(tmp_path)
    with pytest.raises(StoreError, match="is in use by another server"):
        place.open_another(tmp_path)
    alone.close()
    place.open_another(tmp_path).close()


def test_a_folder_that_cannot_be_used_is_a_sentence(place: PostgresPlace, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be used: "):
        place.open_another(tmp_path / "file" / "data")


def test_a_check_looks_for_the_files_of_the_folder(one: Store, place: PostgresPlace) -> None:
    folder = one.blobs().identity()
    for id, where in (("here", folder), ("there", "another folder"), ("early", "")):
        one.add_file(FileRow(id, 1, "ann", "Ann", id, "x", 1, NOW, NOW, home=3, folder=where))
        assert one.finish_file(id, id.ljust(64, "0"), NOW, 3)
    found = check_store(place.url, lambda what, done, total: None, folder=place.folder)
    assert sorted(problem.split()[4] for problem in found.problems) == ["early", "here"]


def test_who_has_used_a_folder_last_is_known(one: Store, place: PostgresPlace) -> None:
    """Also when that server is gone."""
    servers = one.servers()
    servers.start(lambda server, text: None, lambda server: None, lambda: None)
    servers.use_folder("f1")
    assert servers.last_server("f1") == ""
    servers.introduce("lab-a:7000", "10.0.0.1:7000", "")
    assert servers.numbers() == [servers.here]
    one.close()
    other = place.open_another().servers()
    other.start(lambda server, text: None, lambda server: None, lambda: None)
    assert other.others() == []
    assert other.numbers() == [other.here]
    assert (other.last_server("f1"), other.last_server("f2")) == ("lab-a:7000", "")
