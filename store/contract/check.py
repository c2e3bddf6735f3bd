"""Floor 1: the result of a check of a store: what is damaged, and what is only worth knowing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

_MOST = 1_000  # problems that are listed; the others are counted

Progress: TypeAlias = Callable[[str, int, int], None]
"""Is told what is checked, how much of it is done, and how much there is; 0 if that is not known."""


@dataclass(slots=True)
class CheckReport:
    """`problems` and `notes` are sentences for the operator. `beside` is True if a server has the store open."""

    beside: bool = False
    messages: int = 0
    files: int = 0
    problems: list[str] = field(default_factory=list)
    count: int = 0  # of all problems
    notes: list[str] = field(default_factory=list)

    def problem(self, sentence: str) -> None:
        """Note damage."""
        self.count += 1
        if self.count <= _MOST:
            self.problems.append(sentence)
