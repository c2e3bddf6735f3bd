"""Floor 1: a run as a row: consecutive entries of one log as one text, with a checksum.

The disk or its cable may change a byte, which SQLite does not notice inside a value. The checksum is the CRC-32 of the
body, which begins with a number made of `seq`, `last` and `log`; runs of versions before it have none. A run that does
not fit its checksum is never shown.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import msgspec

from ..contract import RUN, RUN_SIZE

EntryRow: TypeAlias = tuple[int, str, str, str | None]  # milliseconds since 1970, sender, text, the sender's id
RunRow: TypeAlias = tuple[int, int, int, int, str, int]  # the columns of the table `runs`

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[EntryRow]).decode
_crc32 = zlib.crc32
_SEQ, _LAST, _MASK = 2_654_435_761, 40_503, 0xFFFF_FFFF  # odd factors: a change of one bit changes the product


def encode_run(seq: int, log: int, last: int, entries: Sequence[EntryRow]) -> RunRow:
    """Return the row of consecutive entries of a log; `seq` and `last` are the numbers of the last one."""
    body, count = _encode(entries), len(entries)
    return seq, log, last, count, body.decode(), run_checksum(body, seq, log, last)


def run_checksum(body: bytes, seq: int, log: int, last: int) -> int:
    """Return the checksum of a run."""
    return _crc32(body, seq * _SEQ + last * _LAST + log & _MASK)


def encode_runs(seq: int, log: int, number: int, entries: Sequence[EntryRow]) -> Iterator[RunRow]:
    """Yield the rows of consecutive entries of a log; `seq` and `number` are those of the entry before the first."""
    for at in range(0, len(entries), RUN):
        run = entries[at : at + RUN]
        row = encode_run(seq + at + len(run), log, number + at + len(run), run)
        if len(row[4]) <= RUN_SIZE:
            yield row
            continue
        end = at
        for part in _short_runs(run):
            end += len(part)
            yield encode_run(seq + end, log, number + end, part)


def _short_runs(entries: Sequence[EntryRow]) -> Iterator[list[EntryRow]]:
    """Yield entries with long texts in parts, of which each ends with the entry that brings it to RUN_SIZE bytes."""
    part: list[EntryRow] = []
    size = 0
    for entry in entries:
        part.append(entry)
        size += len(_encode(entry))
        if size >= RUN_SIZE:
            yield part
            part, size = [], 0
    if part:
        yield part


def decode_run(seq: Any, log: int, last: Any, count: Any, body: Any, kept: Any) -> list[EntryRow] | None:
    """Return the entries of a run as it was read, None if it is damaged. `kept` is the stored checksum, or None."""
    try:
        if kept is not None and kept != _crc32(body, seq * _SEQ + last * _LAST + log & _MASK):
            return None
        entries = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, TypeError):  # TypeError: a column has another type
        return None
    return entries if len(entries) == count and last >= count else None


def damaged_numbers(last: Any, count: Any) -> str:
    """Return the numbers of a damaged run's entries in words. Its columns may be damaged, too: then say less."""
    if not isinstance(last, int):
        return "unknown"
    if not isinstance(count, int) or not 1 <= count <= min(last, RUN):
        return f"up to {last}"
    return f"{last}" if count == 1 else f"{last - count + 1} to {last}"
