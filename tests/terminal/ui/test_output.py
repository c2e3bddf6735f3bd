"""The output of the filter."""

from __future__ import annotations

import io

import pytest

from terminal.ui.script.output import Output
from wire.frames import (
    Entry,
)


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_output_is_coloured_on_a_terminal_without_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal, plain, unwanted = Terminal(), io.StringIO(), Terminal()
    line = [("error", "! no"), ("", ".")]
    Output(terminal).lines([line])
    Output(plain).lines([line])
    monkeypatch.setenv("NO_COLOR", "1")
    Output(unwanted).lines([line])
    assert terminal.getvalue() == "\x1b[31m! no\x1b[0m.\n"
    assert plain.getvalue() == unwanted.getvalue() == "! no.\n"


def test_json_on_a_terminal_is_escaped() -> None:
    terminal = Terminal()
    Output(terminal).frames([Entry(1, 0, "bob", "\x7f\x9b\u202eü", "lab")])
    assert terminal.getvalue().isascii()
    assert "\x7f" not in terminal.getvalue()
