"""Floor 0: standard output and standard error as pipes whose reader may go away: `server.py check | head -1`."""

from __future__ import annotations

import os
import sys
from typing import TextIO


def print_out(text: str, *, end: str = "\n") -> None:
    """Print to standard output, and flush it; drop what its reader does not get any more."""
    _print(sys.stdout, text, end)


def print_error(text: str, *, end: str = "\n") -> None:
    """Print to standard error, and flush it; drop what its reader does not get any more."""
    _print(sys.stderr, text, end)


def _print(stream: TextIO | None, text: str, end: str) -> None:
    if stream is not None:  # the program was started with a closed one
        try:
            print(text, end=end, file=stream, flush=True)
        except BrokenPipeError:
            drop_output(stream)


def flush_standard_streams() -> None:
    """Flush what others have printed, such as argparse: else Python reports a broken pipe when the program ends."""
    for stream in (sys.stdout, sys.stderr):
        _print(stream, "", "")


def drop_output(stream: TextIO) -> None:
    """Send what a stream still holds, and all that follows, nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, stream.fileno())
    finally:
        os.close(nowhere)
