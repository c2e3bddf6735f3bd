"""Floor 4: the filter, the client for scripts and pipes: lines in, lines out, and an exit code."""

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
from wire.names import shorten

from ...files import FileOptions, OpenConnection
from ...links import Deliver, Link
from ...session import ClientSession
from ...state import DisplayItem, Note, State
from ..paint import paint
from .output import Output

_WINDOW = 512  # requests without an answer; at that number reading of stdin pauses
_GOODBYE = 2.0  # seconds for the server's answer to `bye`
_CONNECTING = 10.0  # seconds without a first connection, by default
_RECONNECTING = 30.0  # seconds without a connection after a lost one, by default
_LISTED = 20  # messages that are listed at the end as not sent
_QUOTED = 200  # characters of each
_CHUNK = 65_536
_HINTS = {
    "name": "Choose another name with --name NAME or PARTYLINE_NAME.",
    "password": "Give the password with --password-file FILE or PARTYLINE_PASSWORD.",
}


@dataclass(frozen=True, slots=True)
class ScriptOptions:
    """The options of a filter. With `json` it prints frames.

    `listen` is the number of seconds to stay after the last answer; None means without end. `patience` is the number
    of seconds without a connection until it gives up; None means 10 for the first connection and 30 for a later one,
    or without end for a later one if `listen` is None. `program` is the command's name in messages, `servers` are those
    that the link tries.
    """

    json: bool = False
    listen: float | None = 0.0
    patience: float | None = None
    program: str = "client.py"
    servers: Sequence[str] = ()


class Filter:
    """Read stdin line by line, print what comes, and end when every request is answered."""

    def __init__(
        self,
        state: State,
        make_link: Callable[[Deliver], Link],
        open_connection: OpenConnection,
        file_options: FileOptions,
        options: ScriptOptions,
    ) -> None:
        self._state = state
        self._options = options
        self._session = ClientSession(state, make_link, open_connection, file_options, self._show)
        self._out, self._err = Output(sys.stdout), Output(sys.stderr)
        self._refused = False
        self._all_typed = False
        self._gave_up = ""  # the error message after too long without a connection
        self._signal = 0  # the number of the signal that ends the client

    async def run(self) -> int:
        """Return the exit code: 0 if all was done, 1 if a request was refused or not sent, 128 + n after signal n."""
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
            await self._session.part(_GOODBYE)
            unfinished = self._unfinished()
        except BrokenPipeError:  # `client.py --listen | head -1` is done
            self._out.abandon()
            return 1 if self._state.unanswered else 0
        finally:
            await self._session.stop()
        if trouble or unfinished:
            print(f"{self._options.program}: {' '.join([trouble, *unfinished]).strip()}", file=sys.stderr)
        return 128 + self._signal if self._signal else 1 if trouble or unfinished or self._refused else 0

    def _interrupt(self, number: int) -> None:
        self._signal = number
        self._session.turn()

    # Progress

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
        """Give up after too long without a connection."""
        patience = self._options.patience or _CONNECTING
        while not self._gave_up:
            await self._session.until(lambda: not self._state.online)
            if not await self._reconnected(patience):
                servers = self._options.servers
                where = f" to any of {', '.join(servers)}" if len(servers) > 1 else ""
                self._gave_up = f"Could not connect{where} within {patience:g} second{'' if patience == 1 else 's'}."
                self._session.turn()
            if self._options.patience is None:
                patience = float("inf") if self._options.listen is None else _RECONNECTING

    async def _reconnected(self, patience: float) -> bool:
        """Wait for a connection. Return False if there is none after `patience` seconds and one more round then.

        The last round, one attempt with each server, begins at once, or has begun already. It may take `patience`
        seconds more.
        """
        if await self._within(patience, lambda: self._state.online):
            return True
        before = self._state.failed_rounds
        self._session.retry()
        await self._within(patience, lambda: self._state.online or self._state.failed_rounds != before)
        return self._state.online

    async def _within(self, seconds: float, met: Callable[[], bool]) -> bool:
        """Wait until `met()` is true after a turn; return False after `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await self._session.until(met)
        except TimeoutError:
            return False
        return True

    def _ended(self) -> bool:
        return bool(self._signal or self._stuck())

    def _stuck(self) -> str:
        """Return the reason to give up, or an empty text."""
        if self._state.ended is not None:
            return self._state.ended.reason
        if self._state.credentials.question is not None:
            return _HINTS[self._state.credentials.question]
        if self._state.unmatched_error:
            return "That error answers no known request, so the client stops."
        return self._gave_up

    def _unfinished(self) -> list[str]:
        """Return what to say at the end about transfers that are not done, and messages that were not sent."""
        said = []
        if running := len(self._session.transfers.lines()):
            said.append("1 file transfer did not end." if running == 1 else f"{running} file transfers did not end.")
        if unsent := self._state.unsent:
            count, them = ("1 message was", "it") if len(unsent) == 1 else (f"{len(unsent)} messages were", "them")
            what = f"sent, or the server has not confirmed {them}" if self._state.welcomed else "sent"
            lines = [shorten(text, _QUOTED) for text in unsent[:_LISTED]]
            if len(unsent) > _LISTED:
                lines.append(f"… and {len(unsent) - _LISTED} more")
            said.append("\n  ".join([f"{count} not {what}:", *lines]))
        return said

    # Input

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        """Pass lines on to the loop, and wait while too many are unanswered. The thread that reads stdin runs it."""
        rest = b""
        try:
            while chunk := _read_stdin():
                *lines, rest = (rest + chunk).split(b"\n")
                rest = rest[: Limits().line + 1]  # a longer line will be refused, whatever its length
                asyncio.run_coroutine_threadsafe(self._type(lines), loop).result()
            asyncio.run_coroutine_threadsafe(self._type([rest], last=True), loop).result()
        except (concurrent.futures.CancelledError, RuntimeError, OSError):
            pass  # the loop has ended before stdin did, or the reader of stdout is gone

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

    # Output

    def _show(self, items: Sequence[DisplayItem]) -> None:
        for item in items:
            if isinstance(item, Note):
                if item.kind != "unsent":  # only the screen displays those
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
    """Return some bytes; none at the end, or if stdin is closed or cannot be read."""
    try:
        return os.read(sys.stdin.fileno(), _CHUNK) if sys.stdin is not None else b""
    except OSError:
        return b""
