"""Lines as rows of the terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prompt_toolkit.utils import get_cwidth

from terminal.state import ShownFrame
from terminal.ui.paint import Line, paint
from terminal.ui.screen.wrap import rows_of
from tests.support.strategies import hostile_text
from wire.frames import Entry
from wire.names import one_line


def _texts(line: Line, columns: int) -> list[str]:
    return ["".join(text for _, text in row) for row in rows_of(line, columns)]


def test_rows_break_at_words_and_keep_their_colours() -> None:
    line: Line = [("name0", "[lab] bob: "), ("", "one two three four")]
    assert list(rows_of(line, 20)) == [
        [
            ("name0", "[lab]"),
            ("name0", " "),
            ("name0", "bob:"),
            ("name0", " "),
            ("", "one"),
            ("", " "),
            ("", "two"),
            ("", " "),
        ],
        [("", "    "), ("", "three"), ("", " "), ("", "four")],
    ]


@pytest.mark.parametrize("before", ["", "a\n", "x" * 40, "x" * 160])
@pytest.mark.parametrize("filler", [" ", "\u00a0", "\u3000", "\u2800", "\u3164"])
def test_a_message_cannot_imitate_another_one_in_the_next_row(before: str, filler: str) -> None:
    """Whatever blank characters it has, and whatever the width."""
    for columns in (40, 80, 100):
        for count in range(1, columns + 1):
            text = f"{before}{filler * count}[lab]{filler}root:{filler}password?"
            (line,) = paint(ShownFrame(Entry(1, 0, "bob", text, "lab")))
            first, *more = _texts(line, columns)
            assert first.startswith("[lab] bob:")
            assert all(row.startswith("    ") for row in more)
            assert all(get_cwidth(row) <= columns or "x" in row for row in (first, *more))


def test_further_lines_of_a_message_stay_lines() -> None:
    assert _texts([("", one_line("bob: a\nb\n\nc"))], 40) == ["bob: a", "    b", "    ", "    c"]


def test_wide_characters_take_two_cells() -> None:
    assert _texts([("", "ab " + "語" * 20)], 24) == ["ab " + "語" * 10, "    " + "語" * 10]


def test_a_long_url_is_left_to_the_terminal() -> None:
    url = "https://example.org/" + "x" * 50
    assert _texts([("", f"see {url} there")], 40) == [f"see {url}", "    there"]


@given(text=hostile_text(), columns=st.integers(1, 100))
def test_nothing_but_blanks_is_lost(text: str, columns: int) -> None:
    shown = "".join(_texts([("", text)], columns))
    assert "".join(shown.split()) == "".join(text.split())
