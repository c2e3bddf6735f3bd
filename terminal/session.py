"""Floor 4: a State and a JsonLink, wired in one asyncio loop, whose thread alone touches the state.

The link hands its events over and waits until each has been shown, so a slow terminal slows the server down.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
from collections.abc import Callable

from wire.errors import Refused
from wire.frames import Cancel, Error, GetFile, SendFile

from .files import FileOptions, TransferManager, UserInterface
from .links import Connected, Deliver, Disconnected, Event, Link, Received
from .state import DisplayItem, ShownFrame, State


class ClientSession:
    """What a screen and a filter have in common. All but the constructor is called in the loop that `start` found.

    `make_link` is given what the link delivers to, `show` what is to be shown; `changed` is called after each turn.
    """

    def __init__(
        self,
        state: State,
        make_link: Callable[[Deliver], Link],
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
        self._news = asyncio.Event()
        self._broken: BaseException | None = None
        ui = UserInterface(self._say, self.turn, ask or _agree)
        self.transfers = TransferManager(file_options, ui, self._link.send)

    def _say(self, items: list[DisplayItem]) -> None:
        """Show what the transfer manager reports."""
        try:
            self._show(items)
        except Exception as error:
            self.fail(error)

    def start(self) -> None:
        """Dial."""
        self._loop = asyncio.get_running_loop()
        self._link.start()

    def _deliver(self, event: Event) -> None:
        """On the link's thread: have the event dealt with, and wait until it is."""
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(self._handle(event), self._loop).result()

    async def _handle(self, event: Event) -> None:
        if self._broken is not None:
            return
        try:
            match event:
                case Connected():
                    self.state.connected()
                case Disconnected(reason, reached):
                    self.state.lost(reason, reached=reached)
                case Received(frames):
                    self.state.receive([frame for frame in frames if not self.transfers.mqtt_channels.take(frame)])
        except Exception as error:  # for `until`: the link's thread could do nothing about it
            self.fail(error)
        self.turn()

    def turn(self) -> None:
        """Show and send what the state has in hand. To be called after anything was done to it."""
        try:
            step = self.state.take()
            if step.show:
                self._show(step.show)
            if step.send:
                self._link.send(step.send)
            if step.drop:
                self._link.drop()
            who = self.state.credentials
            self.transfers.online((who.name, who.token) if self.state.online else None)
            for order in step.files:
                self._order(order)
            self._changed()
        except Exception as error:  # a closed stdout, for one
            self.fail(error)
        self._news.set()

    def _order(self, order: SendFile | GetFile | Cancel) -> None:
        """Have the transfer manager do it; taking an offer back is the server's."""
        try:
            if isinstance(order, Cancel):
                if not self.transfers.stop(order.file):
                    self.state.ask(order)
                    self._link.send(self.state.take().send)
            else:
                self.transfers.order(order)
        except Refused as refused:
            self._show([ShownFrame(Error(code=refused.code, error=refused.sentence))])

    @property
    def idle(self) -> bool:
        """Whether no file is on its way."""
        return self.transfers.idle

    def fail(self, error: Exception) -> None:
        """There is no sense in going on: whoever waits `until` something gets the error."""
        self._broken = error
        self._news.set()

    async def until(self, met: Callable[[], bool]) -> None:
        """Wait until something is so. Raises what has gone wrong meanwhile."""
        while not met():
            if self._broken is not None:
                raise self._broken
            self._news.clear()
            await self._news.wait()

    async def part(self, seconds: float) -> None:
        """Say goodbye, and wait so long for the server to hang up: then our name is free, and all is stored."""
        self.state.leave()
        self.turn()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.until(lambda: self.state.ended is not None)

    async def stop(self) -> None:
        """Hang up. The loop goes on meanwhile, because the link may be handing something over."""
        await asyncio.to_thread(self.transfers.join, self.transfers.stop_all())
        await asyncio.to_thread(self._link.stop)


def _agree(_question: str) -> concurrent.futures.Future[bool]:
    """Where there is nobody to ask, a transfer goes on where it was."""
    agreed: concurrent.futures.Future[bool] = concurrent.futures.Future()
    agreed.set_result(True)
    return agreed
