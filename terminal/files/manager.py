"""Floor 4: the transfer manager: a thread and a connection for each file, so that no message waits for a file.

A transfer whose connection is lost continues when the client is online again. The loop's thread calls all methods of
TransferManager, apart from those marked otherwise.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from wire.errors import LocalError, Refused
from wire.frames import Error, GetFile, SendFile

from ..links import pause
from ..state import DisplayItem, Note, ShownFrame
from .connection import ConnectionLostError, FileAwayError, FileConnection, OpenConnection
from .direct_offer import DirectOptions
from .download import Download
from .slots import Slots
from .transfer import StoppedError, Transfer
from .upload import Upload

_SLOTS = 8  # transfers that work at a time; those that wait for a person do not count
_REDRAWN = 0.2  # seconds between two redraws of the progress
_ENDING = 2.0  # seconds for a thread to end


@dataclass(frozen=True, slots=True)
class FileOptions:
    """The options of transfers: the download folder, and the largest size in bytes (0: any).

    `direct` are the options of direct transfers; None turns them off.
    """

    folder: Path
    largest: int
    direct: DirectOptions | None = None


@dataclass(frozen=True, slots=True)
class UserInterface:
    """The screen or the filter as the manager uses it. All three are called in the loop's thread.

    `show` displays items, `changed` redraws the progress, and `ask` puts a yes-or-no question about a file.
    """

    show: Callable[[list[DisplayItem]], None]
    changed: Callable[[], None]
    ask: Callable[[str], concurrent.futures.Future[bool]]


class TransferManager:
    """Start transfers, and retry them until they end."""

    def __init__(self, options: FileOptions, open_connection: OpenConnection, ui: UserInterface) -> None:
        """`open_connection` opens a connection for each attempt. The transfer's thread calls it."""
        self._options = options
        self._open_connection = open_connection
        self._ui = ui
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running: dict[Transfer, threading.Thread] = {}
        self._connections: dict[Transfer, FileConnection] = {}  # each transfer's thread changes its own only
        self._slots = Slots(_SLOTS)
        self._online = threading.Condition()
        self._login: tuple[str, str] | None = None  # name and token; None while offline; under _online
        self._stopping = False
        self._redrawn = 0.0
        self._redraw_due = False

    def online(self, login: tuple[str, str] | None) -> None:
        """Note that the client is online under that name and token, or offline."""
        with self._online:
            if login == self._login:
                return
            self._login = login
            self._online.notify_all()

    @property
    def idle(self) -> bool:
        """True if no transfer is running."""
        return not self._running

    def lines(self) -> list[str]:
        """Return the progress of each transfer as a line."""
        return [transfer.control.progress.line() for transfer in self._running]

    def start_transfer(self, command: SendFile | GetFile) -> None:
        """Start a transfer, or display why it cannot start."""
        self._loop = asyncio.get_running_loop()
        try:
            transfer = self._transfer(command)
        except Refused as refused:
            self._ui.show([ShownFrame(Error(code=refused.code, error=refused.sentence))])
            return
        thread = threading.Thread(target=self._run, args=(transfer,), name="partyline-file", daemon=True)
        self._running[transfer] = thread
        thread.start()
        self._ui.changed()

    def _transfer(self, command: SendFile | GetFile) -> Transfer:
        if isinstance(command, SendFile):
            return Upload(command, self._progressed, self._options.direct)
        if any(transfer.file == command.file and isinstance(transfer, Download) for transfer in self._running):
            raise Refused("file-conflict", f"{command.file} is already being downloaded.")
        options = self._options
        direct = options.direct is not None
        return Download(command, options.folder, options.largest, self._ask, self._progressed, direct=direct)

    def stop(self, file: str) -> bool:
        """Stop the transfers of a file. Return True if one was a download, which does not concern the server."""
        found = [transfer for transfer in self._running if transfer.file == file]
        for transfer in found:
            self._stop(transfer)
        return any(isinstance(transfer, Download) for transfer in found)

    def _stop(self, transfer: Transfer) -> None:
        transfer.stop()
        connection = self._connections.get(transfer)
        if connection is not None:
            connection.close()
        with self._online:
            self._online.notify_all()
        self._slots.wake()

    def stop_all(self) -> list[threading.Thread]:
        """Stop all transfers. Return the threads that `join` waits for."""
        self._stopping = True
        for transfer in self._running:
            self._stop(transfer)
        return list(self._running.values())

    # A transfer's own thread

    def _run(self, transfer: Transfer) -> None:
        item: DisplayItem | None
        try:
            if not self._slots.acquire(transfer.control, lambda: self._crowded(transfer)):
                raise StoppedError
            item = Note(self._run_until_done(transfer))
        except StoppedError:  # the end of an upload is told by the server's answer to `cancel`
            stays = isinstance(transfer, Download) and not self._stopping
            item = (
                Note(f"Stopped {transfer.control.progress.name}. The partial file is kept; /get resumes it.")
                if stays
                else None
            )
        except (Refused, LocalError) as error:
            code = error.code if isinstance(error, Refused) else "internal"
            named = str(error).startswith(f"{transfer.control.progress.name} ")
            item = ShownFrame(
                Error(code=code, error=str(error) if named else f"{transfer.control.progress.name}: {error}")
            )
        except OSError as error:
            item = ShownFrame(
                Error(code="not-stored", error=f"{transfer.control.progress.name}: {error.strerror or error}.")
            )
        except Exception as error:  # noqa: BLE001 - the user sees it, and the other transfers go on
            item = ShownFrame(
                Error(code="internal", error=f"{transfer.control.progress.name}: {type(error).__name__}: {error}")
            )
        finally:
            self._slots.release(transfer.control)
            transfer.close()
        self._call(lambda: self._ended(transfer, item))

    def _run_until_done(self, transfer: Transfer) -> str:
        wait = 0.0
        lost: float | None = None  # when the first attempt failed after the last one with progress
        told = False  # that the bytes are at a server that is away
        while True:
            name, token = self._wait_until_online(transfer, wait)
            before = transfer.control.progress.done
            try:
                connection = self._open_connection(name, token)
            except (
                Refused,
                ConnectionLostError,
            ) as error:  # refused: the connection that the token belongs to is lost, or will be
                self._lost(transfer, error)
                lost = time.monotonic() if lost is None else lost
                wait = pause(time.monotonic() - lost)
                continue
            self._connections[transfer] = connection
            # On a shared connection, a waiting transfer keeps its slot: for each, the server follows so many files.
            if not connection.shared:
                transfer.control.while_waiting = lambda: self._slots.released(
                    transfer.control, lambda: self._crowded(transfer)
                )
            try:
                return transfer.run(connection)
            except ConnectionLostError as error:
                self._lost(transfer, error)
                if isinstance(error, FileAwayError) and not told:  # the server itself is there, and says nothing
                    told = True
                    self._tell(Note(f"{error} The client tries again."))
                if lost is None or transfer.control.progress.done > before:
                    lost = time.monotonic()
                wait = pause(time.monotonic() - lost)
            finally:
                self._connections.pop(transfer, None)
                connection.close()

    def _tell(self, item: DisplayItem) -> None:
        self._call(lambda: self._ui.show([item]))

    def _lost(self, transfer: Transfer, error: Exception) -> None:
        transfer.control.progress.note = f"waiting for the connection ({error})"
        self._progressed()

    def _crowded(self, transfer: Transfer) -> None:
        transfer.control.progress.note = "waiting for another transfer"
        self._progressed()

    def _wait_until_online(self, transfer: Transfer, seconds: float) -> tuple[str, str]:
        """Wait `seconds`, then until the client is online. Return name and token. Raises StoppedError."""
        until = time.monotonic() + seconds
        with self._online:
            while not transfer.control.stopped and (left := until - time.monotonic()) > 0:
                self._online.wait(left)
            while not transfer.control.stopped and self._login is None:
                self._online.wait()
            if transfer.control.stopped or self._login is None:
                raise StoppedError
            return self._login

    def _ask(self, question: str) -> bool:
        """Ask the user, and wait for the answer."""
        if self._stopping:
            raise StoppedError
        answer: concurrent.futures.Future[bool] = concurrent.futures.Future()

        def ask() -> None:
            asked = self._ui.ask(question)
            asked.add_done_callback(lambda done: answer.set_result(not done.cancelled() and done.result()))

        self._call(ask)
        return answer.result()

    def _progressed(self) -> None:
        now = time.monotonic()
        if now - self._redrawn > _REDRAWN:
            self._redrawn = now
            self._call(self._ui.changed)
        elif not self._redraw_due:  # the last of many changes must be drawn
            self._redraw_due = True
            self._call(self._redraw_later)

    def _redraw_later(self) -> None:
        def show() -> None:
            self._redraw_due = False
            self._ui.changed()

        assert self._loop is not None
        self._loop.call_later(_REDRAWN, show)

    def _call(self, what: Callable[[], None]) -> None:
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(what)

    # In the loop

    def _ended(self, transfer: Transfer, item: DisplayItem | None) -> None:
        self._running.pop(transfer, None)
        if item is not None:
            self._ui.show([item])
        self._ui.changed()

    @staticmethod
    def join(threads: list[threading.Thread]) -> None:
        """Wait up to 2 seconds for each stopped thread. Must not be called in the loop."""
        for thread in threads:
            thread.join(_ENDING)
