"""A program loads what it needs for its start, and nothing that only another one needs: a start is mostly imports."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.repository import ROOT
from tests.support.waiting import DEADLINE

# A run with coverage has loaded some modules before the first line of the program.
_PRINT_LOADED = """
import sys
before = {{*sys.modules}}
import {}
print(*sorted({{name.partition('.')[0] for name in sys.modules.keys() - before}}))
"""


def loaded(module: str) -> set[str]:
    """The top names of all that Python loads to import a module."""
    command = [sys.executable, "-c", _PRINT_LOADED.format(module)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE, check=True)
    return {*done.stdout.split()}


@pytest.mark.parametrize(
    ("module", "foreign"),
    [
        (
            "client",
            {"sqlalchemy", "sqlite3", "pwdlib", "yaml", "amqtt", "paho", "prompt_toolkit", "channels", "server"},
        ),
        ("terminal.ui.screen", {"sqlalchemy", "amqtt", "paho", "channels"}),
        ("terminal.links.mqtt", {"sqlalchemy", "amqtt", "prompt_toolkit", "channels"}),
        ("server", {"yaml", "amqtt", "paho", "prompt_toolkit", "pydantic", "client", "terminal", "tests"}),
        ("bridge.embedded.process", {"paho", "prompt_toolkit", "client", "terminal"}),
        ("wire", {"msgspec", "sqlalchemy", "net", "asyncio"}),
        ("wire.frames", {"sqlalchemy", "net", "asyncio", "ssl", "socket"}),
        ("net", {"msgspec", "sqlalchemy", "wire", "asyncio"}),
        ("store", {"net", "channels", "paho", "amqtt"}),
    ],
)
def test_a_module_loads_nothing_foreign(module: str, foreign: set[str]) -> None:
    assert loaded(module) & foreign == set()
