"""The wheel has what the two commands need and nothing else, and they work where it is installed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import threading
import venv
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import IO
from zipfile import ZipFile

import pytest

from package.bundle import make_wheel
from tests.support.repository import ROOT
from wire import VERSION

_PATIENCE = 120.0  # seconds
PARTS = ("wire", "net", "reporting", "store", "channels", "doors", "bridge", "admin", "terminal")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without a network: the build backend is one of requirements-dev.txt."""
    for needed in ("hatchling", "pip"):
        if find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed: pip install -r requirements-dev.txt")
    folder = tmp_path_factory.mktemp("wheel")
    make_wheel(folder)
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel, in a path with a space, that borrows the other packages from this one."""
    folder = tmp_path_factory.mktemp("an installation")
    venv.create(folder)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin/python"), "--isolated", "--quiet"]
    subprocess.run([*pip, "install", "--no-deps", "--no-index", str(wheel)], check=True, timeout=_PATIENCE)
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


@pytest.fixture
def call(installed: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command of the installation to its end, in a folder that has nothing of the checkout."""

    def run(command: str, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(installed / "bin" / command), *arguments],
            cwd=tmp_path, env=environment(), input=typed, capture_output=True, text=True, timeout=_PATIENCE,
            check=False,
        )  # fmt: skip

    return run


def environment() -> dict[str, str]:
    """Without variables that would let the commands find the checkout."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "PARTYLINE_"))}


def test_the_wheel_has_the_code_and_nothing_else(wheel: Path) -> None:
    code = {file.relative_to(ROOT) for part in PARTS for file in (ROOT / part).rglob("*.py")}
    code |= {Path("server.py"), Path("client.py"), Path("partyline.example.yaml"), Path("__init__.py")}
    with ZipFile(wheel) as archive:
        names = {Path(name) for name in archive.namelist()}
        entry = archive.read("partyline/__init__.py").decode()
    about = {name for name in names if name.parts[0] == f"partyline-{VERSION}.dist-info"}
    assert names - about == {Path("partyline") / file for file in code}
    assert {name.name for name in about} == {"METADATA", "WHEEL", "RECORD", "LICENSE", "entry_points.txt"}
    assert entry == (ROOT / "package/entry.py").read_text()


def test_other_programs_see_one_name(installed: Path, call: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    (site,) = installed.glob("lib/python*/site-packages")
    assert {file.name for file in site.iterdir()} == {"borrowed.pth", "partyline", f"partyline-{VERSION}.dist-info"}
    names = [*PARTS, "server", "client"]
    found = call("python", "-c", f"from importlib.util import find_spec; print(*filter(find_spec, {names}))")
    assert (found.returncode, found.stdout.split()) == (0, [])


@pytest.mark.parametrize(
    ("command", "version"),
    [("partyline-server", f"partyline {VERSION}\n"), ("partyline", f"partyline client {VERSION}\n")],
)
def test_a_command_calls_itself_by_its_name(
    call: Callable[..., subprocess.CompletedProcess[str]], command: str, version: str
) -> None:
    assert call(command, "--version").stdout == version
    usage = call(command, "--help").stdout
    assert usage.startswith(f"usage: {command} ")
    assert "server.py" not in usage
    assert "client.py" not in usage
    wrong = call(command, "--no-such-option")
    assert wrong.returncode == 2
    assert f"{command}: error: " in wrong.stderr


def test_the_installed_commands_talk(
    installed: Path, call: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """With the embedded broker, which is a further process that has to find its modules."""
    options = ["--port", "0", "--data", str(tmp_path / "data"), "--broker", "embedded://127.0.0.1:0"]
    command = [str(installed / "bin/partyline-server"), *options]
    server = subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    deadline = threading.Timer(_PATIENCE, server.kill)
    deadline.start()
    try:
        output = server.stdout
        assert output is not None
        address = expect(output, rf"Partyline {VERSION} is ready on (127\.0\.0\.1:\d+)")
        said = call("partyline", address, "--name", "alice", typed="/join lab\nhello\n")
        assert (said.returncode, said.stderr) == (0, ""), said
        assert "[lab] alice: hello" in said.stdout
        expect(output, r"embedded broker is (ready)\. broker=127\.0\.0\.1:")
        server.terminate()
        output.read()
        assert server.wait() == 0
    finally:
        deadline.cancel()
        server.kill()
        server.communicate()


def expect(output: IO[str], pattern: str) -> str:
    """Read up to a line that has the pattern; return its first group."""
    lines: list[str] = []
    while not (found := re.search(pattern, lines[-1] if lines else "")):
        lines.append(output.readline())
        assert lines[-1], f"it ended before {pattern!r}: {''.join(lines)}"
    return found[1]
