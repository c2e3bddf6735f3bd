"""Floor 4: the client's session: the state, a link and the transfers in one asyncio loop.

The loop's thread alone calls the state. The link waits until each of its events is displayed, so a slow terminal slows
the server down.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
from collections.abc import Callable

from wire.errors import Refused
from wire.frames import Cancel, Error, GetFile, SendFile

from .files import FileOptions, OpenConnection, TransferManager, UserInterface
from .links import Connected, Deliver, Disconnected, Event, Link, Received
from .state import DisplayItem, ShownFrame, State


class ClientSession:
    """The part that the screen and the filter share. The loop's thread calls all methods after `start`.

    `make_link` gets the callback for the link's events, `open_connection` opens the connection of a transfer, `show`
    gets what to display; `changed` is called after each turn.
    """

    def __init__(
        self,
        state: State,
        make_link: Callable[[Deliver], Link],
        open_connection: OpenConnection,
        file_options: FileOptions,
        show: Callable[[list[DisplayItem]], None],
        changed: Callable[[], None] = lambda: None,
        *,
        ask: Callable[[str], concurrent.futures.Future[bool]] | None = None,
    ) -> None:
        """`ask` puts a yes-or-no question about a file; without it the answer is yes."""
        self.state = state
        self._show = show
        self._changed = changed
        self._link = make_link(self._deliver)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turned = asyncio.Event()
        self._broken: BaseException | None = None
        ui = UserInterface(self._show_transfer, self.turn, ask or _agree)
        self.transfers = TransferManager(file_options, open_connection, ui)

    def _show_transfer(self, items: list[DisplayItem]) -> None:
        """Display items of the transfer manager."""
        try:
            self._show(items)
        except Exception as error:  # noqa: BLE001 - `until` raises it
            self.fail(error)

    def start(self) -> None:
        """Connect. Must be called in the loop."""
        self._loop = asyncio.get_running_loop()
        self._link.start()

    def _deliver(self, event: Event) -> None:
        """Have the loop handle an event, and wait until it has. The link's thread calls it."""
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(self._handle(event), self._loop).result()

    async def _handle(self, event: Event) -> None:
        if self._broken is not None:
            return
        try:
            match event:
                case Connected(endpoint):
                    self.state.connected(endpoint.name, exposed=endpoint.exposed)
                case Disconnected():
                    self._note_loss(event)
                case Received(frames):
                    self.state.receive(frames)
        except Exception as error:  # noqa: BLE001 - `until` raises it, as the link's thread could not handle it
            self.fail(error)
        self.turn()

    def _note_loss(self, event: Disconnected) -> None:
        """Tell the state which server is lost, and which one is tried next."""
        where = event.endpoint.name if event.endpoint else "the server"
        self.state.lost(event.reason, where=where, reached=event.reached, then=event.then.name if event.then else "")

    def retry(self) -> None:
        """Begin the next round of attempts to connect now."""
        self._link.retry()

    def turn(self) -> None:
        """Display and send the state's next step. Must be called after each change of the state."""
        try:
            step = self.state.next_step()
            if step.show:
                self._show(step.show)
            if step.send:
                self._link.send(step.send)
            if step.drop:
                self._link.drop()
            who = self.state.credentials
            self.transfers.online((who.name, who.token) if self.state.online else None)
            for command in step.files:
                self._run_file_command(command)
            self._changed()
        except Exception as error:  # noqa: BLE001 - `until` raises it, e.g. of a closed stdout
            self.fail(error)
        self._turned.set()

    def _run_file_command(self, command: SendFile | GetFile | Cancel) -> None:
        """Pass a file command to the transfer manager, or to the server if it cancels an offer."""
        try:
            if isinstance(command, Cancel):
                if not self.transfers.stop(command.file):
                    self.state.cancel(command)
                    self.turn()
            else:
                self.transfers.start_transfer(command)
        except Refused as refused:
            self._show([ShownFrame(Error(code=refused.code, error=refused.sentence))])

    @property
    def idle(self) -> bool:
        """True if no transfer is running."""
        return self.transfers.idle

    def fail(self, error: Exception) -> None:
        """End the session: `until` raises the error."""
        self._broken = error
        self._turned.set()

    async def until(self, met: Callable[[], bool]) -> None:
        """Wait until `met()` is true after a turn. Raises the error of `fail`."""
        while not met():
            if self._broken is not None:
                raise self._broken
            self._turned.clear()
            await self._turned.wait()

    async def part(self, seconds: float) -> None:
        """Send `bye`, and wait up to `seconds` until the server hangs up: then all is stored, and the name is free."""
        self.state.leave()
        self.turn()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.until(lambda: self.state.ended is not None)

    async def stop(self) -> None:
        """Stop the transfers and the link. The loop runs on meanwhile, because the link may still deliver an event."""
        await asyncio.to_thread(self.transfers.join, self.transfers.stop_all())
        await asyncio.to_thread(self._link.stop)


def _agree(_question: str) -> concurrent.futures.Future[bool]:
    """Answer yes: without a person to ask, a download resumes."""
    agreed: concurrent.futures.Future[bool] = concurrent.futures.Future()
    agreed.set_result(True)
    return agreed
