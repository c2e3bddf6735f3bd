"""Floor 4: the client without a screen, for scripts and pipes: lines in, lines out, and an exit code."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wire.frames import Error
from wire.limits import Limits

from ...files import FileOptions
from ...links import Deliver, Link
from ...session import ClientSession
from ...state import DisplayItem, Note, State
from ..paint import paint
from .output import Output

_WINDOW = 512  # requests without an answer until no more is read from stdin
_PARTING = 2.0  # seconds that the server may take to say goodbye
_PATIENCE = 10.0  # seconds without a line, unless told otherwise
_CHUNK = 65_536
_HINTS = {
    "name": "Choose a name by --name NAME, or PARTYLINE_NAME.",
    "password": "Give the password by --password-file FILE, or PARTYLINE_PASSWORD.",
}


@dataclass(frozen=True, slots=True)
class ScriptOptions:
    """How a filter behaves; `json`: whether it prints frames.

    `listen`: seconds to stay on when all is done; None for as long as it goes. `patience`: seconds without a line
    until it gives up; None for ten, and for ever once it listens.
    """

    json: bool = False
    listen: float | None = 0.0
    patience: float | None = None


class Filter:
    """Reads stdin line by line, prints what comes, and ends when everything it sent has had its answer."""

    def __init__(
        self, state: State, make_link: Callable[[Deliver], Link], file_options: FileOptions, options: ScriptOptions
    ) -> None:
        self._state = state
        self._options = options
        self._session = ClientSession(state, make_link, file_options, self._show)
        self._out, self._err = Output(sys.stdout), Output(sys.stderr)
        self._refused = False
        self._all_typed = False
        self._expired = ""  # the complaint that there was no line for too long
        self._signal = 0  # the number of the one that ends us

    async def run(self) -> int:
        """The exit code: 0 if all was done, 1 if something was refused or could not be sent, 128 + n by signal n."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(NotImplementedError):  # Windows
                loop.add_signal_handler(number, self._interrupt, number)
        self._out.watch(loop, lambda: self._session.fail(BrokenPipeError()))
        self._session.start()
        # A daemon, because a read of stdin cannot be interrupted; it holds no lock that Python needs to end.
        threading.Thread(target=self._read, args=(loop,), name="partyline-stdin", daemon=True).start()
        try:
            await self._work()
            trouble = self._stuck()
            await self._session.part(_PARTING)
        except BrokenPipeError:  # `client.py --listen | head -1` is done
            self._out.abandon()
            return 1 if self._state.unanswered else 0
        finally:
            await self._session.stop()
        if trouble:
            print(f"client.py: {trouble}", file=sys.stderr)
        return 128 + self._signal if self._signal else 1 if trouble or self._refused else 0

    def _interrupt(self, number: int) -> None:
        self._signal = number
        self._session.turn()

    # What is done, and how long for

    async def _work(self) -> None:
        watch = asyncio.create_task(self._watch())
        try:
            await self._session.until(lambda: self._ended() or (self._all_typed and self._settled()))
            if not self._state.leaving:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._options.listen):
                        await self._session.until(self._ended)
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)

    def _settled(self) -> bool:
        return self._state.settled and self._session.idle

    async def _watch(self) -> None:
        """Give up once there was no line for too long."""
        patience = self._options.patience or _PATIENCE
        while not self._expired:
            await self._session.until(lambda: not self._state.online)
            try:
                async with asyncio.timeout(patience):
                    await self._session.until(lambda: self._state.online)
            except TimeoutError:
                unsent = len(self._state.waiting)
                self._expired = f"There was no line for {patience:g} seconds; not sent: {unsent} of the messages."
                self._session.turn()
            if self._options.listen is None and self._options.patience is None:
                patience = float("inf")

    def _ended(self) -> bool:
        return bool(self._signal or self._stuck())

    def _stuck(self) -> str:
        """Why there is no sense in going on."""
        if self._state.ended is not None:
            return self._state.ended.reason
        if self._state.credentials.question is not None:
            return _HINTS[self._state.credentials.question]
        if self._state.unmatched_error:
            return "That is about something that was sent from here, and which will have no other answer."
        return self._expired

    # Lines in

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        """On the thread that reads stdin: hand over lines, and wait until there is room for more."""
        rest = b""
        try:
            while chunk := _read_stdin():
                *lines, rest = (rest + chunk).split(b"\n")
                rest = rest[: Limits().line + 1]  # what is longer will be refused, however long it is
                asyncio.run_coroutine_threadsafe(self._type(lines), loop).result()
            asyncio.run_coroutine_threadsafe(self._type([rest], last=True), loop).result()
        except (concurrent.futures.CancelledError, RuntimeError, OSError):
            pass  # the loop has ended before stdin did, or nobody reads stdout any more

    async def _type(self, lines: Sequence[bytes], *, last: bool = False) -> None:
        for line in lines:
            if not self._all_typed:
                self._state.typed(line.decode(errors="replace"))
            self._all_typed = self._all_typed or self._state.leaving
            if self._state.unanswered >= _WINDOW:
                self._session.turn()
                await self._session.until(lambda: self._state.unanswered < _WINDOW)
        self._all_typed = self._all_typed or last
        self._session.turn()

    # Lines out

    def _show(self, items: Sequence[DisplayItem]) -> None:
        for item in items:
            if isinstance(item, Note):
                if item.kind != "waiting":  # that is for somebody who watches
                    self._err.lines(paint(item))
            elif isinstance(item.frame, Error):
                self._refused = True
                self._err.lines(paint(item))
        shown = [item for item in items if not isinstance(item, Note)]
        if not shown:
            return
        if self._options.json:
            self._out.frames([item.frame for item in shown])
        else:
            self._out.lines([line for item in shown if not isinstance(item.frame, Error) for line in paint(item)])


def _read_stdin() -> bytes:
    """Some bytes; none at the end, or if stdin is closed or no file to read from."""
    try:
        return os.read(sys.stdin.fileno(), _CHUNK) if sys.stdin is not None else b""
    except OSError:
        return b""
