"""Floor 0: the table of all topics, in the order of the reference, and the row of a topic or of a frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .chat import ROWS as CHAT_ROWS
from .files import ANSWERS as FILE_ANSWERS
from .files import COMMANDS as FILE_COMMANDS
from .files import MORE
from .row import AnswerFormat, Row, Writer
from .server import EVENTS as SERVER_EVENTS
from .server import ROWS as SERVER_ROWS
from .server import STATES as SERVER_STATES

TABLE: tuple[Row, ...] = (*CHAT_ROWS, *FILE_COMMANDS, *SERVER_ROWS, *FILE_ANSWERS)


@dataclass(slots=True)
class _Node:
    """A level of the tree of all patterns."""

    words: dict[str, _Node] = field(default_factory=dict)
    value: _Node | None = None  # of a level that holds a value
    holds_value: bool = False
    rows: list[Row] = field(default_factory=list)

    def child(self, level: str) -> _Node:
        """The node of the next level of a pattern, made if it is new."""
        if not level.startswith("<"):
            return self.words.setdefault(level, _Node())
        if self.value is None:
            self.value = _Node(holds_value=True)
        return self.value


def _tree() -> _Node:
    root = _Node()
    for row in TABLE:
        node = root
        for at, level in enumerate(row.levels):
            if row.optional and at == len(row.levels) - 1:
                node.rows.append(row)
            node = node.child(level)
        node.rows.append(row)
    return root


_TREE = _tree()


def find(levels: Sequence[str]) -> tuple[Sequence[Row], list[str]]:
    """Return the rows of a topic below the root, and the levels that hold a value.

    More than one row differ in the payload. A missing level is an empty value. The levels that the pattern does not
    have belong to the last value. Takes time that is linear in the topic's length.
    """
    node, values = _TREE, []
    for at, level in enumerate(levels):
        child = node.words.get(level)
        if child is None and node.value is not None:
            values.append(level)
            child = node.value
        if child is None:
            if not node.holds_value:
                return (), values
            values[-1] = "/".join((values[-1], *levels[at:]))
            break
        node = child
    if not node.rows and node.value is not None:
        values.append("")
        node = node.value
    return node.rows, values


REQUESTS: dict[type[Any], Row] = {row.frame: row for row in TABLE if row.writer is Writer.CLIENT}
# The topics of frames that come unasked, or are for every client of a user and not only for the one that asked.
EVENTS: dict[type[Any], Row] = {row.frame: row for row in SERVER_EVENTS} | {MORE.frame: MORE}
STATES: dict[type[Any], Row] = {row.frame: row for row in SERVER_STATES}
# The answer format of commands by their first level, if it is not JSON.
ANSWER_FORMATS: dict[str, AnswerFormat] = {
    row.levels[2]: row.answer_format for row in REQUESTS.values() if row.answer_format is not None
}

# A row for each first level: all topics that share it have the same writer and the same readers.
FIRST_LEVELS: dict[str, Row] = {row.levels[0]: row for row in TABLE}
