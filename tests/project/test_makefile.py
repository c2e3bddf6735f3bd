"""`make` sets up `.venv`, and sets it up anew when it cannot be used as it is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.support.repository import ROOT

_PATIENCE = 60.0  # seconds
# A make under a make says which folder it enters, and takes over the outer one's options and variables.
_OUTER = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES", "ARGS", "PYTHON", "RUNS")
_ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in _OUTER}
NEW = "-m venv --clear .venv"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with a space in its name, with the Makefile and a `.venv` that is ready."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    folder = tmp_path / "a checkout"
    folder.mkdir()
    for name in ("Makefile", "requirements.txt", "requirements-dev.txt"):
        shutil.copy(ROOT / name, folder)
    venv.create(folder / ".venv")
    version = f"{sys.version_info.major} {sys.version_info.minor}"
    (folder / ".venv/ready").write_text(f"{version} {folder.resolve()}/.venv\n")
    (folder / ".venv/ready-dev").touch()
    return folder


def plan(folder: Path, *arguments: str) -> str:
    """Return what make would run for a user at a prompt, even if another make runs the tests."""
    done = subprocess.run(
        ["make", "-n", *arguments],
        cwd=folder, env=_ENVIRONMENT, capture_output=True, text=True, timeout=_PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_venv_that_is_ready_is_used(checkout: Path) -> None:
    assert plan(checkout, "run", "ARGS=--port 0") == "exec .venv/bin/python server.py --port 0\n"
    assert plan(checkout, "run", f"PYTHON={sys.executable}") == "exec .venv/bin/python server.py \n"
    assert NEW not in plan(checkout, "test")
    assert "-m pip" not in plan(checkout, "lint")


def test_none_is_made(checkout: Path) -> None:
    shutil.rmtree(checkout / ".venv")
    assert NEW in plan(checkout, "run")
    assert NEW in plan(checkout, "test")


def test_one_whose_installation_was_interrupted_is_made_anew(checkout: Path) -> None:
    (checkout / ".venv/ready").unlink()
    assert NEW in plan(checkout, "run")
    assert "requirements-dev.txt" in plan(checkout, "test")


def test_one_of_another_python_is_made_anew(checkout: Path) -> None:
    ready = checkout / ".venv/ready"
    ready.write_text(ready.read_text().replace(f"3 {sys.version_info.minor} ", "3 9 "))
    assert NEW in plan(checkout, "run")


def test_one_whose_python_is_gone_is_made_anew(checkout: Path) -> None:
    (checkout / ".venv/bin/python").unlink()
    (checkout / ".venv/bin/python").symlink_to("/nowhere/python3")
    assert NEW in plan(checkout, "client")


def test_one_that_was_moved_is_made_anew(checkout: Path) -> None:
    moved = checkout.rename(checkout.with_name("another place"))
    assert NEW in plan(moved, "run")


def test_new_requirements_are_installed_into_it(checkout: Path) -> None:
    ready = (checkout / ".venv/ready").stat().st_mtime
    newer = checkout / "requirements-dev.txt"
    os.utime(newer, (ready + 10, ready + 10))
    assert "-m pip" not in plan(checkout, "run")
    assert "install --quiet -r requirements-dev.txt" in plan(checkout, "lint")
    assert NEW not in plan(checkout, "lint")


def test_every_target_is_there(checkout: Path) -> None:
    for target in (
        "run",
        "client",
        "test",
        "lint",
        "bench",
        "docs",
        "coverage",
        "campaign",
        "wheel",
        "bundle",
        "clean",
    ):
        assert plan(checkout, target)
