"""Floor 1: the claim of a data folder, so that two servers never write into the same one."""

from __future__ import annotations

import fcntl
import logging
import os
from pathlib import Path

from ..contract import StoreError

log = logging.getLogger("partyline.store")


def claim(folder: Path) -> int:
    """Create the folder and lock the file `lock` in it; return the descriptor, which holds the lock until it is closed.

    Raises StoreError if the folder cannot be used, or if another process holds the lock.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"The data folder {folder} cannot be used: {error.strerror}.") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.read(descriptor, 20).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise StoreError(f"The data folder {folder} is in use by another server (process {owner}).") from None
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except OSError as error:
        log.warning("cannot write the process number into %s: %s", folder / "lock", error.strerror)
    return descriptor
