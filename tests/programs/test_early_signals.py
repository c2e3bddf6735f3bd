"""Ctrl-C or SIGTERM while a program still imports what it needs: it ends without a word."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.repository import ROOT
from tests.support.waiting import DEADLINE

# In the place of a library: it says when it is imported, and then never comes to an end. It is busy, as imports are:
# Python would not notice a signal that came just before it began to wait for something.
_ENDLESS = """
print("importing", flush=True)
while True:
    pass
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("program", ["server.py", "client.py"])
def test_a_signal_during_the_imports_ends_it_silently(program: str, number: signal.Signals, tmp_path: Path) -> None:
    """With the status by which shells know the signal, 130 for Ctrl-C."""
    (tmp_path / "msgspec.py").write_text(_ENDLESS)
    with subprocess.Popen(
        [sys.executable, str(ROOT / program)], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as started:  # fmt: skip
        assert started.stdout is not None
        assert started.stdout.readline() == b"importing\n"
        started.send_signal(number)
        try:
            assert started.wait(DEADLINE) == 128 + number
        finally:
            started.kill()
        assert started.communicate() == (b"", b"")
