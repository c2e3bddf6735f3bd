"""Floor 3: wills of several servers: each is in the store while its client is connected, or while it waits.

The servers that live share the wills of one that has died, each will to one of them. A will that says something has an
id in the store until it is forgotten, so that it is said once, whoever publishes it again. A live message is not
stored: if a server dies after it has published one and before it has forgotten it, another server publishes it again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import msgspec

from channels import Chat, Origin, leaf
from reporting import events, report
from store import KeptWill, StoreError
from wire.errors import ChatError
from wire.frames import Msg, Say
from wire.mqtt import NONE, Properties
from wire.topics import LiveMessage

from .live import LiveRouter
from .timer import Timer
from .wills import LastWill, Publisher, WaitingWills, WillOwner, report_failure

_AGAIN = 2.0  # seconds after a failure of the store until the next try
_LOOK = 60.0  # seconds between two looks for wills of servers that are gone, beside those when one goes


class _Text(msgspec.Struct, omit_defaults=True):
    """A will as the store has it: a post, or a live message to the user `to`."""

    name: str
    user: str
    network: str | None
    address: str
    post: Say | Msg | None = None
    to: str = ""
    payload: bytes = b""
    properties: Properties = NONE


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Text).decode


@dataclass(frozen=True, slots=True)
class _Due:
    """A will of a connection at a server, which this one publishes."""

    server: int
    connection: int
    name: str
    will: LastWill

    @property
    def key(self) -> str:
        """A text that no other will has; no client may use it as the id of a post."""
        return f"//{self.server}-{self.connection}"


class StoredWills:
    """See `AnyWills`. Of this server, the timer's thread publishes wills, and connections' threads do."""

    def __init__(self, chat: Chat, live: LiveRouter, timer: Timer) -> None:
        self._chat = chat
        self._publisher = Publisher(chat, live)
        self._timer = timer
        self._kept = chat.servers.wills
        self._here = chat.servers.here
        self._lock = leaf()
        self._waiting = WaitingWills(chat.limits)
        self._armed: set[int] = set()  # connections here; each change is one atomic step
        chat.hearing.listen(None, self._gone)
        timer.call_later(0, self._look)

    def connected(self, who: WillOwner, will: LastWill | None, delay: int, *, clean: bool) -> None:
        """Drop the client's delayed wills at all servers, or publish those that are due; arm its new one."""
        for each in self._kept.connected(who.key, clean=clean) if who.has_wills else ():
            self._publish(_due(each))
        if will is not None and isinstance(will.request, Say | Msg | LiveMessage):
            self._armed.add(who.connection)
            self._kept.arm(KeptWill(self._here, who.connection, who.key, delay, _text(who.name, will)))

    def lost(self, who: WillOwner, will: LastWill, delay: int, holds: Callable[[], bool]) -> bool:
        """Publish a will, now or later. Return True: the store knows whether another connection has dropped it."""
        if who.connection in self._armed:
            self._armed.discard(who.connection)
            self._attempt(partial(self._lost, _Due(self._here, who.connection, who.name, will), delay))
        return True

    def _lost(self, due: _Due, delay: int) -> None:
        seconds = self._kept.lost(due.connection, delay)
        if seconds == 0:
            self._publish(due)
        elif seconds is not None:
            self._wait(due, seconds)

    def dropped(self, who: WillOwner) -> None:
        """Remove the will of a connection that has ended in order."""
        if who.connection in self._armed:
            self._armed.discard(who.connection)
            self._attempt(partial(self._remove, self._here, who.connection))

    def _remove(self, server: int, connection: int) -> None:
        self._kept.forget(server, connection)

    def _wait(self, due: _Due, seconds: float) -> None:
        """Publish a will after some seconds; now, if as many wait as the limits allow."""
        number = self._timer.call_later(seconds, partial(self._ripe, due))
        with self._lock:
            waits = self._waiting.add(due.key, due.will.origin.user, number, due.will.origin)
        if not waits and self._timer.cancel(number) is not None:
            self._take(due)

    def _ripe(self, due: _Due) -> None:
        with self._lock:
            self._waiting.pop(due.key)
        self._attempt(partial(self._take, due))

    def _take(self, due: _Due) -> None:
        """Publish a will, unless its client has connected again, or another server has it."""
        if self._kept.take(due.server, due.connection):
            self._publish(due)

    def _publish(self, due: _Due) -> None:
        request = due.will.request
        if isinstance(request, Say | Msg) and request.id is None:
            request = msgspec.structs.replace(request, id=due.key)
        done, failed = partial(self._published, due), partial(self._failed, due)
        self._publisher.publish(due.name, replace(due.will, request=request), done, failed)

    def _published(self, due: _Due) -> None:
        """Forget a will. Called by the journal's leader, too, which does not wait for the store."""
        self._timer.call_later(0, partial(self._attempt, partial(self._forget, due)))

    def _failed(self, due: _Due, error: ChatError | StoreError) -> None:
        if isinstance(error, StoreError) or error.code == "not-stored":
            self._timer.call_later(_AGAIN, partial(self._publish, due))
        else:
            report_failure(due.name, due.will, error)
            self._published(due)

    def _forget(self, due: _Due) -> None:
        """Remove a will that was published, and the id of its post: if another server has it, that one needs the id."""
        if self._kept.forget(due.server, due.connection) and isinstance(due.will.request, Say | Msg):
            self._chat.store.forget_id(due.will.origin.user, due.key)

    # Wills of servers that are gone

    def _gone(self, _server: int, _notice: None) -> None:
        self._timer.call_later(0, partial(self._attempt, self._adopt))

    def _look(self) -> None:
        self._attempt(self._adopt)
        self._timer.call_later(_LOOK, self._look)

    def _adopt(self) -> None:
        for kept, seconds in self._kept.adopt():
            if seconds > 0:
                self._wait(_due(kept), seconds)
            else:
                self._take(_due(kept))

    def _attempt(self, call: Callable[[], None]) -> None:
        """Call a function, again and again while the store fails."""
        try:
            call()
        except StoreError as error:
            report(events.StoreProblem(str(error), "A will is published, or dropped, later."))
            self._timer.call_later(_AGAIN, partial(self._attempt, call))


def _text(name: str, will: LastWill) -> str:
    text = _Text(name, will.origin.user, will.origin.network, will.address)
    if isinstance(will.request, LiveMessage):
        text.to, text.payload, text.properties = will.request.to, will.request.payload, will.request.properties
    elif isinstance(will.request, Say | Msg):
        text.post = will.request
    return _encode(text).decode()


def _due(kept: KeptWill) -> _Due:
    text = _decode(kept.text)
    request = text.post if text.post is not None else LiveMessage(text.to, text.payload, text.properties)
    will = LastWill(request, kept.delay, Origin(text.user, text.network), text.address)
    return _Due(kept.server, kept.connection, text.name, will)
