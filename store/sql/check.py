"""Floor 1: check the runs of a database one by one: the checksum of each, and the numbers of each log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..contract import CheckReport
from .runs import damaged_numbers, decode_run


@dataclass(frozen=True, slots=True)
class KeptFile:
    """A file that the database knows: its blob's checksum if it is `done`, else the number of its bytes on disk."""

    id: str
    done: bool
    sha256: str
    ranges: str


class RunCheck:
    """One pass over all runs: those of each log ascending, and in the order of the journal if that `counts`.

    A journal that counts has a number for each entry of all logs, without a gap.
    """

    def __init__(self, names: Mapping[int, str], report: CheckReport, *, counts: bool) -> None:
        """`names` says what each log is called in a sentence, by its id."""
        self._names = names
        self._report = report
        self.tails: dict[int, int | None] = {}  # None after a damaged run, whose numbers cannot be trusted
        self._seq: int | None = 0  # None after a damaged run, for the same reason
        self._counts = counts
        self._unverified = 0

    def check(self, seq: int, log: int, last: int, count: int, body: object, checksum: int | None) -> None:
        """Check the next run."""
        name = self._names.get(log, f"log {log}")
        if decode_run(seq, log, last, count, body, checksum) is None:
            self._report.problem(f"Damaged messages in {name}: {damaged_numbers(last, count)} (run {seq}).")
            self.tails[log] = self._seq = None
            return
        self._report.messages += count
        self._unverified += 0 if checksum is not None else count
        if log not in self._names:
            self._report.problem(f"Messages up to number {last} belong to log {log}, which does not exist (run {seq}).")
        self._check_numbers(name, last - count, self.tails.get(log, 0))
        if self._counts and self._seq is not None and self._seq != seq - count:
            self._report.problem(f"The journal has no entries {self._seq + 1} to {seq - count}.")
        self.tails[log], self._seq = last, seq

    def _check_numbers(self, name: str, before: int, tail: int | None) -> None:
        """Check that a run of a log whose last number was `tail` follows number `before`."""
        if tail is None or before == tail:
            return
        if before > tail:
            self._report.problem(f"Messages {tail + 1} to {before} of {name} are missing.")
        else:
            self._report.problem(f"Messages {before + 1} to {tail} of {name} are there twice.")

    def close(self) -> None:
        """Note what could not be verified."""
        if self._unverified:
            self._report.notes.append(
                f"{self._unverified} messages were stored by an earlier version without a checksum."
            )
