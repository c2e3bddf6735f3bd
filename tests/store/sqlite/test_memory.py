"""What the driver keeps of earlier statements, and lets go of when many have left."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any
from weakref import ref

from sqlalchemy import Connection, text

from store.sqlite import SqliteDatabase


def _kept(connection: Connection) -> list[object]:
    """Return the weak references to cursors that the driver keeps for a connection."""
    driver: Any = connection.connection.driver_connection
    lists = [each for each in gc.get_referents(driver) if isinstance(each, list)]
    return [each for found in lists for each in found if isinstance(each, ref)]


def test_cursors_that_have_gone_are_forgotten(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path)
    with database.reading() as db:
        for _ in range(150):
            db.execute(text("SELECT 1")).all()
        before = _kept(db)
        assert len(before) >= 150
    database.release_memory()
    with database.reading() as again:
        assert again is db
        after = _kept(db)
    assert not {id(each) for each in before} & {id(each) for each in after}
    database.close()


def test_a_closed_store_has_nothing_to_let_go_of(tmp_path: Path) -> None:
    """The thread of a connection may be late with it when the server stops."""
    database = SqliteDatabase(tmp_path)
    database.close()
    database.release_memory()
