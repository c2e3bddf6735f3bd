"""Floor 3: wills: messages that clients want published when their connections are lost, at once or after a delay.

`Wills` has them in memory, where one server has the store to itself. Several servers have them in the store
(stored_wills.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from channels import WILLS, Chat, Log, Origin, Posting, leaf
from reporting import events, report
from store import StoreError
from wire.errors import ChatError
from wire.frames import Msg, Request, Say
from wire.limits import Limits
from wire.names import fold
from wire.topics import LiveMessage

from .live import LiveRouter
from .timer import Timer


@dataclass(frozen=True, slots=True)
class LastWill:
    """The message to publish when the connection of `origin` is lost, and the delay in seconds.

    `address` is the IP address of that connection, for the log.
    """

    request: Request | LiveMessage
    delay: int
    origin: Origin
    address: str


@dataclass(frozen=True, slots=True)
class WillOwner:
    """The connection of a client: its key in the registry, its number, and the name of its user.

    `has_wills`: the store had wills of the client when this connection logged in.
    """

    key: str
    connection: int
    name: str
    has_wills: bool = False


class AnyWills(Protocol):
    """The wills, as sessions see them. Any thread may call it."""

    def connected(self, who: WillOwner, will: LastWill | None, delay: int, *, clean: bool) -> None:
        """A client has connected: drop its delayed will ([MQTT-3.1.3-9]), and arm its new one. Raises StoreError.

        After a clean start, publish the delayed will now, as that ends its session.
        """

    def lost(self, who: WillOwner, will: LastWill, delay: int, holds: Callable[[], bool]) -> bool:
        """The connection is lost: publish its will after `delay` seconds, unless its client is back (5 §3.1.3.2.2).

        Publish it now if as many wills wait as the limits allow. Return False and do nothing if `holds` returns False:
        another connection has taken the client over. That connection must make it return False before it calls
        `connected`. `holds` must take no lock.
        """

    def dropped(self, who: WillOwner) -> None:
        """Drop the will of a connection that has ended in order."""


class Publisher:
    """Publishes wills. Any thread may call it."""

    def __init__(self, chat: Chat, live: LiveRouter) -> None:
        self._chat = chat
        self._live = live

    def publish(
        self, name: str, will: LastWill, done: Callable[[], None], failed: Callable[[ChatError | StoreError], None]
    ) -> None:
        """Publish a will in the name of a user, who may have disconnected. Then call `done`, or `failed`.

        The journal's leader may call them.
        """
        request = will.request
        try:
            self._chat.rates.check(WILLS, will.origin)
            if isinstance(request, Say | Msg):
                log = self._log_for(name, request, will.origin)
                self._chat.journal.post(
                    Posting(log, fold(name), name, [request], lambda *_: done(), lambda _, refused: failed(refused))
                )
                return
            if isinstance(request, LiveMessage):
                self._live.publish(name, request)
        except (ChatError, StoreError) as error:
            failed(error)
        else:
            done()

    def _log_for(self, name: str, request: Say | Msg, origin: Origin) -> Log:
        if isinstance(request, Msg):
            return self._chat.private_log(name, request.user, origin)
        return self._chat.open_channel(request.channel, origin)


class WaitingWills:
    """The wills that wait for their time, each with the number of its timer, as far as the limits have room."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._waiting: dict[str, tuple[int, str, str]] = {}  # the number of the timer, the user, and the network
        self._by_user: Counter[str] = Counter()
        self._by_network: Counter[str] = Counter()  # see `Origin`

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, key: str, user: str, number: int, origin: Origin) -> bool:
        """Add one of a user, with a key that no other has. Return False if there is no room."""
        network, limits = origin.network or "", self._limits
        if (
            len(self._waiting) >= limits.delayed_wills
            or self._by_user[user] >= limits.delayed_wills_per_user
            or self._by_network[network] >= limits.delayed_wills_per_user * limits.users_per_address
        ):
            return False
        self._waiting[key] = number, user, network
        self._by_user[user] += 1
        self._by_network[network] += 1
        return True

    def pop(self, key: str) -> int | None:
        """Remove one. Return the number of its timer; None if it does not wait."""
        found = self._waiting.pop(key, None)
        if found is None:
            return None
        number, user, network = found
        for counts, owner in ((self._by_user, user), (self._by_network, network)):
            counts[owner] -= 1
            if not counts[owner]:
                del counts[owner]
        return number


class Wills:
    """See `AnyWills`."""

    def __init__(self, chat: Chat, live: LiveRouter, timer: Timer) -> None:
        self._publisher = Publisher(chat, live)
        self._timer = timer
        self._lock = leaf()
        self._delayed = WaitingWills(chat.limits)  # by client key

    def connected(self, who: WillOwner, will: LastWill | None, delay: int, *, clean: bool) -> None:
        """Drop or publish the client's delayed will; its new one is with its session."""
        with self._lock:
            number = self._delayed.pop(who.key)
        if number is None:
            return
        due = self._timer.cancel(number)
        if clean and due is not None:
            due()  # 5 §3.1.2.5

    def lost(self, who: WillOwner, will: LastWill, delay: int, holds: Callable[[], bool]) -> bool:
        """Publish a will, now or later."""
        if not delay:
            self._publish(who.name, will)
            return True

        def due() -> None:
            with self._lock:
                self._delayed.pop(who.key)
            self._publish(who.name, will)

        number = self._timer.call_later(delay, due)
        with self._lock:
            holding = holds()
            waits = holding and self._delayed.add(who.key, who.key.split("/", 1)[0], number, will.origin)
        if not waits and self._timer.cancel(number) is not None and holding:
            self._publish(who.name, will)
        return holding

    def dropped(self, who: WillOwner) -> None:
        """No-op: the will is with its session."""

    def _publish(self, name: str, will: LastWill) -> None:
        self._publisher.publish(name, will, lambda: None, partial(report_failure, name, will))


def report_failure(name: str, will: LastWill, error: ChatError | StoreError) -> None:
    """Report a will that was not published."""
    report(events.WillFailed(will.address, name, str(error)))
