"""Floor 0: standard output and standard error as pipes whose reader may go away: `server.py check | head -1`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


@contextmanager
def ignoring_closed_pipes() -> Iterator[None]:
    """Print in this context: if the reader of a standard stream has gone away, drop what it does not get.

    The rest of the block is skipped then. At the end, both streams are flushed, also when an exception or `SystemExit`
    leaves the block, so that Python reports no broken pipe when the program ends.
    """
    try:
        yield
    except BrokenPipeError:
        pass
    finally:
        for stream in (sys.stdout, sys.stderr):
            _flush(stream)


def _flush(stream: TextIO | None) -> None:
    if stream is not None:  # the program was started with a closed one
        try:
            stream.flush()
        except BrokenPipeError:
            drop_output(stream)


def drop_output(stream: TextIO) -> None:
    """Send what a stream still holds, and all that follows, nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, stream.fileno())
    finally:
        os.close(nowhere)
