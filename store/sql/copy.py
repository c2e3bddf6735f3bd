"""Floor 1: what a copy from one SQL database to another needs of each: read one state of it, or fill an empty one.

A copy has the tables of schema.py. What only one kind of database has, it makes anew: the tails of PostgreSQL's logs,
its counters, and which servers use it.
"""

from __future__ import annotations

import hashlib
import heapq
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import msgspec
from sqlalchemy import Table

from .schema import accounts, client_cursors, client_filters, clients, fetches, files, ids, logs, members

Row: TypeAlias = tuple[Any, ...]
Run: TypeAlias = tuple[int, int, int, int, bytes, int | None]  # the columns of the table `runs`, the text as UTF-8

COPIED: tuple[Table, ...] = (  # beside `runs`
    accounts,
    logs,
    members,
    clients,
    client_cursors,
    client_filters,
    ids,
    files,
    fetches,
)
_WAITING = 256 << 20  # bytes of runs that wait for an earlier one

_encode = msgspec.msgpack.Encoder().encode


class CopySource(ABC):
    """One state of a database: nothing that others write meanwhile is seen. Each call raises StoreError.

    `beside` is True if a server uses the database. `counts` is True if its journal counts, without a gap.
    """

    beside: bool
    counts: bool

    @abstractmethod
    def count(self, table: Table) -> int:
        """Return the number of rows of a table."""

    @abstractmethod
    def rows(self, table: Table) -> Iterator[Row]:
        """Yield the rows of a table, with the columns of schema.py."""

    @abstractmethod
    def runs(self) -> Iterator[Run]:
        """Yield the runs, ascending by `seq`."""

    @abstractmethod
    def tails(self) -> Mapping[int, int] | None:
        """Return the stored tail of each log, by its id; None if the database stores none."""


class CopyTarget(ABC):
    """An empty database that nobody else uses. It stays empty unless `commit` returns. Each call raises StoreError.

    `counts` is as in `CopySource`, of what it stores.
    """

    counts: bool

    @abstractmethod
    def write(self, table: Table, rows: Iterable[Row]) -> None:
        """Insert rows, with the columns of schema.py."""

    @abstractmethod
    def finish(self, tails: Mapping[int, int]) -> None:
        """Make what the tables do not have: `tails` has the number of the last entry of each log that has one."""

    @abstractmethod
    def written(self) -> CopySource:
        """Return what was written, to be read back."""

    @abstractmethod
    def commit(self) -> None:
        """Keep what was written."""


def columns(table: Table) -> str:
    """Return the columns of a table for a statement: some have names that are words of SQL."""
    return ", ".join([f'"{column.name}"' for column in table.columns])


def order(table: Table) -> str:
    """Return the columns that order a table for a statement: a target stores rows in this order fastest."""
    keys = list(table.primary_key) or [column for index in table.indexes for column in index.columns]
    return ", ".join([f'"{column.name}"' for column in keys])


class RowSum:
    """How many rows there are, and a checksum over all of them that does not depend on their order."""

    __slots__ = ("count", "sum")

    def __init__(self) -> None:
        self.count = 0
        self.sum = 0

    def add(self, row: Row) -> int:
        """Count a row. Return about how many bytes it has."""
        encoded = _encode(row)
        self.count += 1
        self.sum += int.from_bytes(hashlib.blake2b(encoded, digest_size=16).digest(), "big")
        return len(encoded)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RowSum) and (self.count, self.sum) == (other.count, other.sum)

    __hash__ = None  # type: ignore[assignment]  # it changes


def in_order(runs: Iterable[Run], tails: Mapping[int, int | None]) -> Iterator[Run]:
    """Yield runs so that those of each log ascend, and as near to the given order as possible.

    Several servers take their numbers of the journal in blocks, so a log may have an earlier run with a later number.
    `tails` has the last number of each log so far: the caller notes each run there before it asks for the next one. A
    run whose predecessor does not exist comes in the end.
    """
    waiting: dict[int, list[tuple[int, Run]]] = {}  # by log: a heap by number
    size = 0
    for run in runs:
        log, last, count = run[1:4]
        if last - count > (tails.get(log) or 0):
            heapq.heappush(waiting.setdefault(log, []), (last, run))
            size += len(run[4])
            if size > _WAITING:
                break
            continue
        yield run
        following = waiting.get(log, [])
        while following and following[0][0] - following[0][1][3] <= (tails.get(log) or 0):
            _, next_run = heapq.heappop(following)
            size -= len(next_run[4])
            yield next_run
    for log in sorted(waiting):
        for _, run in sorted(waiting[log], key=lambda each: each[0]):
            yield run
