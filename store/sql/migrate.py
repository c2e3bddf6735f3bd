"""Floor 1: bring a database up to date: run the numbered steps that it does not have yet."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import Connection, inspect, text

from ..contract import StoreError

Step = Callable[[Connection], None]


def migrate(db: Connection, steps: Sequence[Step], where: str) -> None:
    """Run the steps that the database at `where` lacks, inside the caller's transaction.

    The first step creates the table `version` with one row. Raises StoreError if the database is newer than the last
    step, or belongs to another program.
    """
    known = inspect(db).has_table("version")
    number = db.execute(text("SELECT number FROM version")).scalar() if known else 0
    if not isinstance(number, int):
        raise StoreError(f"The store {where} failed: it is not a Partyline database.")
    if number > len(steps):
        raise StoreError(
            f"{where} was written by a newer Partyline (schema {number}, this one knows up to {len(steps)});"
            " start it with that version."
        )
    for step in steps[number:]:
        step(db)
    if number < len(steps):
        db.execute(text("UPDATE version SET number = :number"), {"number": len(steps)})
