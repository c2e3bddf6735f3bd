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
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from wire.errors import LocalError, Refused
from wire.frames import Error, Frame, GetFile, SendFile

from ..links import pause
from ..state import DisplayItem, Note, ShownFrame
from .channel import ConnectionLostError, FileChannel, JsonFileChannel
from .direct_offer import DirectOptions
from .download import Download
from .mqtt_channel import MqttFileChannels
from .slots import Slots
from .transfer import StoppedError, Transfer
from .upload import Upload

_MOST = 8  # at work at a time; those that wait for somebody else do not count
_SHOWN = 0.2  # seconds between two looks at the progress
_PARTING = 2.0  # seconds that a thread may take to end


@dataclass(frozen=True, slots=True)
class FileOptions:
    """Where files come to, and the largest that is taken; and the server's address, if each has a line of its own.

    Without one, files go over the link, between all else. `direct`: how they may go straight
    from one client to another; None: not at all.
    """

    folder: Path
    largest: int
    host: str = ""
    port: int = 0
    direct: DirectOptions | None = None


@dataclass(frozen=True, slots=True)
class UserInterface:
    """What the manager needs of the screen or the filter. All three are called in the loop's thread.

    `show` displays items, `changed` redraws the progress, and `ask` puts a yes-or-no question about a file.
    """

    show: Callable[[list[DisplayItem]], None]
    changed: Callable[[], None]
    ask: Callable[[str], concurrent.futures.Future[bool]]


class TransferManager:
    """Starts transfers, and knows them until they end."""

    def __init__(self, options: FileOptions, ui: UserInterface, send: Callable[[Iterable[Frame]], None]) -> None:
        """`send` is the link's."""
        self.mqtt_channels = MqttFileChannels(send)
        self._options = options
        self._ui = ui
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running: dict[Transfer, threading.Thread] = {}
        self._channels: dict[Transfer, FileChannel] = {}  # each changed by its own thread alone
        self._slots = Slots(_MOST)
        self._line = threading.Condition()
        self._login: tuple[str, str] | None = None  # name and token; under _line; None if there is no line
        self._stopping = False
        self._shown = 0.0
        self._late = False  # another look is due

    def online(self, login: tuple[str, str] | None) -> None:
        """There is a line, under that name, with that token; or there is none."""
        with self._line:
            if login == self._login:
                return
            self._login = login
            self._line.notify_all()
        if login is None:
            self.mqtt_channels.lost()

    @property
    def idle(self) -> bool:
        """Whether nothing is under way."""
        return not self._running

    def lines(self) -> list[str]:
        """How far each transfer is."""
        return [transfer.control.progress.line() for transfer in self._running]

    def order(self, order: SendFile | GetFile) -> None:
        """Begin, or say why not."""
        self._loop = asyncio.get_running_loop()
        try:
            transfer = self._transfer(order)
        except Refused as refused:
            self._ui.show([ShownFrame(Error(code=refused.code, error=refused.sentence))])
            return
        if self._options.host:  # of one line, the server knows so many files at a time, and forgets who waits longest
            transfer.control.while_waiting = lambda: self._slots.released(
                transfer.control, lambda: self._crowded(transfer)
            )
        thread = threading.Thread(target=self._run, args=(transfer,), name="partyline-file", daemon=True)
        self._running[transfer] = thread
        thread.start()
        self._ui.changed()

    def _transfer(self, order: SendFile | GetFile) -> Transfer:
        if isinstance(order, SendFile):
            return Upload(order, self._progressed, self._options.direct)
        if any(transfer.file == order.file and isinstance(transfer, Download) for transfer in self._running):
            raise Refused("file-conflict", f"{order.file} is being fetched already.")
        options = self._options
        direct = options.direct is not None
        return Download(order, options.folder, options.largest, self._ask, self._progressed, direct=direct)

    def stop(self, file: str) -> bool:
        """End the transfers of a file; whether it was fetched, so that nobody else need know."""
        found = [transfer for transfer in self._running if transfer.file == file]
        for transfer in found:
            self._stop(transfer)
        return any(isinstance(transfer, Download) for transfer in found)

    def _stop(self, transfer: Transfer) -> None:
        transfer.stop()
        channel = self._channels.get(transfer)
        if channel is not None:
            channel.close()
        with self._line:
            self._line.notify_all()
        self._slots.wake()

    def stop_all(self) -> list[threading.Thread]:
        """End all transfers; the threads to wait for, elsewhere."""
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
        except StoppedError:  # an offer is taken back, and the server says so
            stays = isinstance(transfer, Download) and not self._stopping
            item = Note(f"{transfer.control.progress.name} is stopped; what is there stays.") if stays else None
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
        except Exception as error:
            item = ShownFrame(
                Error(code="internal", error=f"{transfer.control.progress.name}: {type(error).__name__}: {error}")
            )
        finally:
            self._slots.release(transfer.control)
            transfer.close()
        self._call(lambda: self._ended(transfer, item))

    def _run_until_done(self, transfer: Transfer) -> str:
        attempt = 0
        while True:
            name, token = self._wait_for_line(transfer, pause(attempt) if attempt else 0.0)
            before = transfer.control.progress.done
            try:
                channel = self._connect(name, token)
            except (Refused, ConnectionLostError) as error:  # refused: the token's own line is lost, too, or will be
                self._lost(transfer, error)
                attempt += 1
                continue
            self._channels[transfer] = channel
            try:
                return transfer.run(channel)
            except ConnectionLostError as error:
                self._lost(transfer, error)
                attempt = 1 if transfer.control.progress.done > before else attempt + 1
            finally:
                self._channels.pop(transfer, None)
                channel.close()

    def _lost(self, transfer: Transfer, error: Exception) -> None:
        transfer.control.progress.note = f"waiting for the line ({error})"
        self._progressed()

    def _crowded(self, transfer: Transfer) -> None:
        transfer.control.progress.note = "waiting for another file"
        self._progressed()

    def _connect(self, name: str, token: str) -> FileChannel:
        if not self._options.host:
            return self.mqtt_channels.open()
        return JsonFileChannel(self._options.host, self._options.port, name, token)

    def _wait_for_line(self, transfer: Transfer, seconds: float) -> tuple[str, str]:
        """Wait so long, and then until there is a line. Raises StoppedError."""
        until = time.monotonic() + seconds
        with self._line:
            while not transfer.control.stopped and (left := until - time.monotonic()) > 0:
                self._line.wait(left)
            while not transfer.control.stopped and self._login is None:
                self._line.wait()
            if transfer.control.stopped or self._login is None:
                raise StoppedError
            return self._login

    def _ask(self, question: str) -> bool:
        """Ask the person, and wait for the answer."""
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
        if now - self._shown > _SHOWN:
            self._shown = now
            self._call(self._ui.changed)
        elif not self._late:  # the last of many counts
            self._late = True
            self._call(self._show_later)

    def _show_later(self) -> None:
        def show() -> None:
            self._late = False
            self._ui.changed()

        assert self._loop is not None
        self._loop.call_later(_SHOWN, show)

    def _call(self, what: Callable[[], None]) -> None:
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # the loop has ended: there is nobody to tell
            self._loop.call_soon_threadsafe(what)

    # In the loop again

    def _ended(self, transfer: Transfer, item: DisplayItem | None) -> None:
        self._running.pop(transfer, None)
        if item is not None:
            self._ui.show([item])
        self._ui.changed()

    @staticmethod
    def join(threads: list[threading.Thread]) -> None:
        """Wait a moment for threads that were told to end. Not in the loop."""
        for thread in threads:
            thread.join(_PARTING)
