"""Floor 3: wills: messages that clients want published when their connections are lost, at once or after a delay."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from channels import WILLS, Chat, Log, Origin, Posting, leaf
from reporting import events, report
from store import StoreError
from wire.errors import ChatError
from wire.frames import Msg, Request, Say
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


class Wills:
    """Publishes wills. Any thread may call it."""

    def __init__(self, chat: Chat, live: LiveRouter, timer: Timer) -> None:
        self._chat = chat
        self._live = live
        self._timer = timer
        self._lock = leaf()
        self._delayed: dict[str, tuple[int, str]] = {}  # by client key: the number of the timer, and the network
        self._by_user: Counter[str] = Counter()  # delayed wills of each user, by key
        self._by_network: Counter[str] = Counter()  # delayed wills of each address (see `Origin`)

    def publish_later(self, key: str, name: str, will: LastWill, seconds: int, holds: Callable[[], bool]) -> bool:
        """Publish a client's will after `seconds`, unless it connects before that (5 §3.1.3.2.2).

        Publish it now if as many wills wait as the limits allow.

        Return False and do nothing if `holds` returns False: another connection has taken the client over. That
        connection must make it return False before it calls `client_connected`. `holds` must take no lock.
        """

        def due() -> None:
            with self._lock:
                self._take_locked(key)
            self.publish(name, will)

        number = self._timer.call_later(seconds, due)
        network = will.origin.network or ""
        with self._lock:
            holding = holds()
            waits = holding and self._has_room_locked(key, network)
            if waits:
                self._delayed[key] = number, network
                self._by_user[_user(key)] += 1
                self._by_network[network] += 1
        if not waits and self._timer.cancel(number) is not None and holding:
            self.publish(name, will)
        return holding

    def _has_room_locked(self, key: str, network: str) -> bool:
        limits = self._chat.limits
        return (
            len(self._delayed) < limits.delayed_wills
            and self._by_user[_user(key)] < limits.delayed_wills_per_user
            and self._by_network[network] < limits.delayed_wills_per_user * limits.users_per_address
        )

    def _take_locked(self, key: str) -> int | None:
        """Take a client's will from those that wait. Return the number of its timer, None if it has none."""
        found = self._delayed.pop(key, None)
        if found is None:
            return None
        number, network = found
        for counts, owner in ((self._by_user, _user(key)), (self._by_network, network)):
            counts[owner] -= 1
            if not counts[owner]:
                del counts[owner]
        return number

    def client_connected(self, key: str, *, clean: bool) -> None:
        """Drop a client's delayed will ([MQTT-3.1.3-9]); publish it now if a clean start has ended its session."""
        with self._lock:
            number = self._take_locked(key)
        if number is None:
            return
        due = self._timer.cancel(number)
        if clean and due is not None:
            due()  # 5 §3.1.2.5

    def publish(self, name: str, will: LastWill) -> None:
        """Publish a will in the name of a user, who may have disconnected."""
        request = will.request
        try:
            self._chat.rates.check(WILLS, will.origin)
            if isinstance(request, LiveMessage):
                self._live.publish(name, request)
            elif isinstance(request, Say | Msg):
                log = self._log_for(name, request, will.origin)
                self._chat.journal.post(
                    Posting(log, fold(name), name, [request], _stored, partial(_refused, will.address))
                )
        except (ChatError, StoreError) as error:
            report(events.WillFailed(will.address, name, str(error)))

    def _log_for(self, name: str, request: Say | Msg, origin: Origin) -> Log:
        if isinstance(request, Msg):
            return self._chat.private_log(name, request.user, origin)
        return self._chat.open_channel(request.channel, origin)


def _user(key: str) -> str:
    """Return the user's key in a client's key."""
    return key.split("/", 1)[0]


def _stored(posting: Posting, numbers: object) -> None:
    """No-op: nobody waits for the receipt of a will."""


def _refused(address: str, posting: Posting, refused: ChatError) -> None:
    report(events.WillFailed(address, posting.sender, refused.sentence))
