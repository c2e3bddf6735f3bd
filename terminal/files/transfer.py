"""Floor 4: what uploads and downloads share: progress, stopping, and the contract with the transfer manager.

A transfer belongs to one thread. Each attempt gets a new FileConnection, and continues where the last one ended. It
raises ConnectionLostError when another attempt makes sense, and Refused when none does.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Protocol

from .connection import FileConnection
from .progress import Progress

CHECKED = 4 << 20  # bytes of one checksum, when the differing parts of a damaged file are looked for
REPAIRS = 5  # attempts to repair a damaged file, over a connection that may damage it again


class StoppedError(Exception):
    """The user has stopped the transfer."""


class TransferControl:
    """Progress and stopping of one transfer. The transfer's thread calls all methods, unless they say otherwise.

    `changed` is called after each change of the progress. `while_waiting()` is a context manager: in its block the
    transfer waits for a person, and other transfers work meanwhile.
    """

    def __init__(self, progress: Progress, changed: Callable[[], None]) -> None:
        self.progress = progress
        self.while_waiting: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext
        self.changed = changed
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Make the next `advance` raise StoppedError. Any thread may call it."""
        self._stopped.set()

    @property
    def stopped(self) -> bool:
        """True after `stop`."""
        return self._stopped.is_set()

    def begin(self, size: int, done: int) -> None:
        """Show a progress bar that starts at `done` bytes."""
        self.progress.begin(size, done, time.monotonic())
        self.changed()

    def advance(self, done: int) -> None:
        """Move the progress bar to `done` bytes. Raises StoppedError."""
        if self._stopped.is_set():
            raise StoppedError
        self.show(done)

    def show(self, done: int) -> None:
        """Move the progress bar to `done` bytes. Any thread may call it."""
        self.progress.done = done
        self.progress.mark(time.monotonic())
        self.changed()

    def wait(self, note: str) -> None:
        """Show what the transfer waits for instead of the progress bar."""
        self.progress.note = note
        self.changed()


class Transfer(Protocol):
    """An Upload or a Download, as the transfer manager runs it. `file` is the file's id, empty until it is known."""

    file: str
    control: TransferControl

    def run(self, connection: FileConnection) -> str:
        """Transfer what is missing; return the sentence that tells the user the result."""

    def stop(self) -> None:
        """Stop the transfer. Any thread may call it."""

    def close(self) -> None:
        """Close the files and connections that the transfer has opened itself."""
