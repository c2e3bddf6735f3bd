"""Floor 3: registrations of users on the broker whose password is being checked or hashed: nobody waits for them.

The workers' threads finish them, and wake the mirror's thread, which does the rest. What the user publishes meanwhile
is held and not acknowledged, so the broker sends it again after a lost connection.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from wire.errors import Refused
from wire.mqtt import Publish

_MOST_HELD = 10  # packets of all users; Mosquitto has at most 20 unacknowledged ones, and others need some of them


@dataclass(slots=True, eq=False)
class PendingLogin:
    """A `register` with a password. `complete` takes the future's result, in the mirror's thread.

    `me` is the name as the client writes it, `name` that of the account.
    """

    name: str
    me: str
    packet: Publish
    complete: Callable[[Any], None]
    held: list[Publish] = field(default_factory=list)


class PendingLogins:
    """All of them, by the name as the client writes it. Only the mirror's thread calls it."""

    def __init__(self) -> None:
        self._pending: dict[str, PendingLogin] = {}
        self._finished: deque[tuple[PendingLogin, Future[Any]]] = deque()  # workers add to it
        self._count_held = 0
        self._here, self._there = socket.socketpair()
        for end in (self._here, self._there):
            end.setblocking(False)

    def __contains__(self, me: str) -> bool:
        """Return True if a password of that user is being checked."""
        return me in self._pending

    @property
    def waker(self) -> socket.socket | None:
        """A socket that is readable when one is finished; None while none is pending."""
        return self._here if self._pending else None

    def add(self, login: PendingLogin, future: Future[Any]) -> None:
        """Wait for the future of a user who has none pending."""
        self._pending[login.me] = login
        future.add_done_callback(lambda done: self._wake(login, done))

    def _wake(self, login: PendingLogin, future: Future[Any]) -> None:
        """Called by a worker, or by `add`."""
        self._finished.append((login, future))
        with suppress(OSError):  # there is enough to read already, or `close` was called
            self._there.send(b"\0")

    def hold(self, me: str, packet: Publish) -> None:
        """Keep a packet until the password is checked. Raises Refused if too many are held."""
        if self._count_held >= _MOST_HELD:
            raise Refused("busy", f"The password of {me} is still being checked. Send this again after the answer.")
        self._count_held += 1
        self._pending[me].held.append(packet)

    def finished(self) -> list[tuple[PendingLogin, Future[Any]]]:
        """Return those that are finished, which are pending no longer."""
        if not self._finished:
            return []
        with suppress(BlockingIOError):
            self._here.recv(4_096)
        found = []
        while self._finished:
            login, future = self._finished.popleft()
            if self._pending.get(login.me) is not login:  # it was cleared
                continue
            del self._pending[login.me]
            self._count_held -= len(login.held)
            found.append((login, future))
        return found

    def drop_held(self) -> None:
        """Forget what is held: the connection has ended, and the broker sends it again."""
        self._count_held = 0
        for login in self._pending.values():
            login.held.clear()

    def clear(self) -> None:
        """Forget all of them."""
        self._count_held = 0
        self._pending.clear()

    def close(self) -> None:
        """Close the sockets. What workers finish after that is dropped."""
        self._here.close()
        self._there.close()
