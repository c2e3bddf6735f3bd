"""The tool that makes the bundle: `python -m package.bundle [FOLDER]`.

The bundle is one archive with the wheels of Partyline and of all that it needs, for this version of Python on this kind
of machine, and with a script that installs them without a network.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

from wire import VERSION

_ROOT = Path(__file__).resolve().parent.parent
_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
_INSTALLER = "pip==26.3"  # which puts the wheels into place: a Python without pip and ensurepip can use the bundle


def name() -> str:
    """Return the name of the bundle's folder, with version, Python and machine."""
    machine = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    return f"partyline-{VERSION}-py{_PYTHON.replace('.', '')}-{machine}"


def make_wheel(folder: Path) -> None:
    """Build the wheel of Partyline alone, with the build backend that is installed here."""
    _pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(_ROOT))


def make_bundle(folder: Path) -> Path:
    """Make the archive in this folder; return its path. Needs a network, or pip's cache of the wheels."""
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as scratch:
        bundle = Path(scratch) / name()
        wheels = bundle / "wheels"
        make_wheel(wheels)
        _pip("wheel", "--wheel-dir", str(wheels), "-r", str(_ROOT / "requirements.txt"), _INSTALLER)
        for file in ("README.md", "install.sh"):
            shutil.copy(_ROOT / "package" / file, bundle)
        (bundle / "python-version").write_text(f"{_PYTHON}\n")
        archive = folder / f"{name()}.tar.gz"
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(bundle, bundle.name)
    return archive


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    print(make_bundle(Path(sys.argv[1] if len(sys.argv) > 1 else "dist")))
