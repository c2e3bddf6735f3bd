"""The data folder: one server at a time, and folders that cannot be used."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from store import StoreError, open_store
from tests.support.repository import ROOT
from tests.support.stores import NOW, posting


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    """Or in place of a folder above it."""
    file = tmp_path / "data"
    file.write_text("a file")
    with pytest.raises(StoreError, match=f"data folder {file} cannot be used: File exists"):
        open_store(file)
    with pytest.raises(StoreError, match="cannot be used: Not a directory"):
        open_store(file / "below")


def test_a_second_server_is_refused(tmp_path: Path) -> None:
    """The sentence names the first one's process. After the first server has closed it, the folder can be opened."""
    lock = tmp_path / "data" / "deep" / "lock"
    lock.parent.mkdir(parents=True)
    lock.write_text("12345678901234567890\n")  # of a server that was killed
    first = open_store(tmp_path / "data" / "deep")
    assert lock.read_text() == f"{os.getpid()}\n"
    with pytest.raises(StoreError, match=rf"in use by another server \(process {os.getpid()}\)"):
        open_store(tmp_path / "data" / "deep")
    lab = first.open_channel("lab")
    first.append([posting(lab, "ann", "still mine")], NOW)
    first.close()
    open_store(tmp_path / "data" / "deep").close()


OPEN = """
import os, sys
from pathlib import Path
from store import StoreError, open_store
if os.getuid() == 0:
    os.setuid(65534)
try:
    open_store(Path(sys.argv[1]))
except StoreError as error:
    print(error)
"""


def test_a_folder_without_write_permission_is_refused() -> None:
    """Root may write everywhere, so the child process becomes another user if the tests run as root."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o555)
        for target in (folder, folder / "data"):
            result = subprocess.run(
                [sys.executable, "-c", OPEN, str(target)], cwd=ROOT, capture_output=True, text=True, check=True
            )
            assert result.stdout == f"The data folder {target} cannot be used: Permission denied.\n"
        folder.chmod(0o755)
