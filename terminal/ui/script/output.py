"""Floor 4: stdout and stderr of the filter: whole lines, flushed at once, coloured on a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import stat
import sys
from collections.abc import Callable, Iterable
from typing import TextIO

import colorama

from net import drop_output
from wire.frames import Frame
from wire.jsonlines import JsonLines

from ..paint import PALETTE, Line


class Output:
    """A stream: a terminal, a file, a pipe, or None for a closed one."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream if stream is not None else io.StringIO()
        terminal = self._stream.isatty()
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
        self._coloured = terminal and not os.environ.get("NO_COLOR")
        # JSON keeps non-ASCII letters for `grep`, unless they could control a terminal or be lost.
        self._escaping = terminal or not (self._stream.encoding or "").lower().startswith("utf")
        if self._coloured:
            colorama.just_fix_windows_console()

    def lines(self, lines: Iterable[Line]) -> None:
        """Write lines of coloured text. Raises BrokenPipeError when the reader is gone."""
        self._write("".join("".join(map(self._piece, line)) + "\n" for line in lines))

    def _piece(self, piece: tuple[str, str]) -> str:
        colour, text = piece
        name = PALETTE[colour][1]
        code = getattr(colorama.Style if name == "DIM" else colorama.Fore, name, "") if self._coloured else ""
        return f"{code}{text}{colorama.Style.RESET_ALL}" if code else text

    def frames(self, frames: Iterable[Frame]) -> None:
        """Write frames as JSON lines. Raises BrokenPipeError when the reader is gone."""
        text = b"".join(map(JsonLines.encode, frames)).decode()
        if self._escaping:
            lines = [json.dumps(json.loads(line)).replace("\x7f", "\\u007f") for line in text.splitlines()]
            text = "".join(f"{line}\n" for line in lines)
        self._write(text)

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()

    def watch(self, loop: asyncio.AbstractEventLoop, abandoned: Callable[[], None]) -> None:
        """Call `abandoned` when the reader of a pipe goes away, so that `client.py --listen | grep -m1 …` ends."""

        def gone() -> None:
            loop.remove_reader(number)
            abandoned()

        with contextlib.suppress(OSError, NotImplementedError):  # no file descriptor, or Windows
            number = self._stream.fileno()
            if stat.S_ISFIFO(os.fstat(number).st_mode):
                loop.add_reader(number, gone)  # the writing end of a pipe is readable only when the reader is gone

    def abandon(self) -> None:
        """Replace a broken stdout, so that Python does not report its flush at exit."""
        if self._stream is sys.stdout:
            drop_output(self._stream)
