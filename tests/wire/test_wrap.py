"""Help, wrapped at words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.strategies import hostile_text
from wire.frames import HelpText
from wire.text import COMMANDS, TextLines, help_lines, wrap_help

ROW = "/leave [channel]  leave the current channel, or the named one; you read it no more"


@pytest.mark.parametrize("columns", [40, 60, 80, 100, 200])
def test_no_line_is_too_long_and_no_word_is_lost(columns: int) -> None:
    for name in ("", *[command.name for command in COMMANDS]):
        lines = wrap_help(help_lines(name), columns)
        assert max(map(len, lines)) <= columns
        assert " ".join(lines).split() == " ".join(help_lines(name)).split()


def test_the_second_column_stays_in_its_place() -> None:
    assert wrap_help([ROW, "/x  y"], 60) == [
        "/leave [channel]  leave the current channel, or the named",
        "                  one; you read it no more",
        "/x  y",
    ]


def test_on_a_narrow_terminal_it_goes_below_the_first() -> None:
    assert wrap_help([ROW], 40) == [
        "/leave [channel]",
        "    leave the current channel, or the",
        "    named one; you read it no more",
    ]


def test_a_text_connection_has_80_columns() -> None:
    shown = TextLines.encode(HelpText(lines=help_lines())).decode().splitlines()
    assert max(map(len, shown)) <= 80
    assert " ".join(shown).split() == " ".join(help_lines()).split()


@given(line=hostile_text(), columns=st.integers(1, 100))
def test_any_text_can_be_wrapped(line: str, columns: int) -> None:
    """The lines may come from a server that is not ours."""
    assert " ".join(wrap_help([line], columns)).split() == line.split()
