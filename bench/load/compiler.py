"""Compiles the C program at its first use, into the user's cache folder."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

SOURCES = Path(__file__).with_name("program")
FLAGS = ("-O2", "-Wall", "-Wextra", "-Werror")
COMPILERS = ("cc", "gcc", "clang")


class CompileFailed(OSError):
    """The compiler refused the program, or there is none."""


def find_compiler(names: Sequence[str] = COMPILERS) -> str | None:
    """Return the path of the first of these C compilers that is installed, or None."""
    return next((path for name in names if (path := shutil.which(name))), None)


@cache
def program() -> Path:
    """Return the compiled program; compile it unless the cache has it from the same sources. Raises CompileFailed."""
    compiler = find_compiler()
    if compiler is None:
        raise CompileFailed(f"none of {', '.join(COMPILERS)} is installed")
    sources = sorted(SOURCES.iterdir())
    key = hashlib.sha256(b"\0".join([" ".join((compiler, *FLAGS)).encode(), *(file.read_bytes() for file in sources)]))
    found = _cache() / key.hexdigest()[:16] / "partyline-load"
    if not found.exists():
        found.parent.mkdir(parents=True, exist_ok=True)
        compile_to(found, compiler)
    return found


def compile_to(target: Path, compiler: str) -> None:
    """Compile the program. A concurrent run never sees a part of it. Raises CompileFailed with the errors."""
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        made = Path(folder) / target.name
        command = [compiler, *FLAGS, *map(str, sorted(SOURCES.glob("*.c"))), "-o", str(made)]
        run = subprocess.run(command, check=False, capture_output=True, text=True)
        if run.returncode:
            raise CompileFailed(f"{compiler} cannot compile the load generator:\n{run.stderr}")
        made.replace(target)


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "partyline-bench"
