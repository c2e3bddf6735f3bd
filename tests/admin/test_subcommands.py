"""The table of subcommands of the server program."""

from __future__ import annotations

import pytest

from admin import SUBCOMMANDS
from tests.support.processes.forks import run


def test_the_help_lists_each_subcommand() -> None:
    lines = [line.strip() for line in run("--help").stdout.splitlines()]
    for name, row in SUBCOMMANDS.items():
        assert lines[lines.index(f"server.py {name} {row.usage}".rstrip()) + 1] == row.help


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_each_subcommand_explains_itself(name: str) -> None:
    helped = run(name, "--help")
    assert (helped.returncode, helped.stderr) == (0, "")
    assert helped.stdout.startswith(f"usage: server.py {name} ")


def test_an_unknown_subcommand_is_refused() -> None:
    wrong = run("frobnicate")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr == "server.py: There is no subcommand frobnicate. server.py --help lists them.\n"
    assert run("chekc", "--data", "x").stderr == "server.py: There is no subcommand chekc. Did you mean check?\n"
