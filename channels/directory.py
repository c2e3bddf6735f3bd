"""Floor 2: the directory: the connected users by name, and their sessions."""

from __future__ import annotations

import hmac
import secrets
import threading
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable
from typing import Protocol

from store import Account
from wire.clock import now
from wire.errors import Refused
from wire.names import fold

from .locks import leaf
from .log import Log
from .session_reader import SessionReader


class ConnectedSession(Protocol):
    """A connection that has logged in, as the directory and the other connections see it."""

    @property
    def address(self) -> str:
        """The IP address that the connection comes from."""

    @property
    def transport(self) -> str:
        """The kind of its connection: socket, mqtt or broker."""

    @property
    def fetches_directly(self) -> bool:
        """True if the peer fetches files from the clients that send them."""

    @property
    def ending(self) -> bool:
        """True if its peer has ended it, or this side has: it is about to let go of the name."""

    @property
    def reader(self) -> SessionReader:
        """The reader that sends to the peer."""

    def replaced(self, by: str) -> None:
        """End the connection: its name was taken over from that IP address. Called by the newer connection's thread."""


class User:
    """A connected user. `joined` has the user's channels; only who holds the name has its `token`."""

    __slots__ = ("changed", "joined", "key", "loaded", "name", "registered", "sessions", "since", "token")

    def __init__(self, account: Account, *, registered: bool) -> None:
        self.key = account.key
        self.name = account.name
        self.registered = registered
        self.since = now()
        self.token = secrets.token_urlsafe(16)
        self.sessions: tuple[ConnectedSession, ...] = ()
        self.joined: dict[Log, None] = {}  # in the order of joining; each change is one atomic step
        self.changed: threading.Event | None = None  # set when a session comes or the last one goes, if somebody waits
        self.loaded = False  # `joined` has been read from the store


class ForgottenName(Exception):
    """The account of a name has left the store after the caller has read it."""


class Directory:
    """Names and the users who hold them. A guest has one session, a registered user one for each connection."""

    def __init__(self) -> None:
        self._lock = leaf()
        self._online: dict[str, User] = {}
        self._keys: list[str] = []  # of the connected users, sorted
        self._connections = 0  # sessions of all users
        self._forgetting = threading.Lock()  # a baton: its holder removes or makes an account
        self._forgotten: set[str] = set()  # keys whose accounts have left the store lately, or are about to
        self._registered: set[str] = (
            set()
        )  # names registered since the start, of which an account that was just read may not know

    def claim(
        self, account: Account, session: ConnectedSession, token: str | None, *, proven: bool
    ) -> tuple[User, tuple[ConnectedSession, ...], bool]:
        """Hold a name; `proven` is True if the password was verified.

        Return the user, the sessions that this one replaces, and True if the user was not connected before.

        Raises Refused if somebody else holds the name, or if it has been registered meanwhile; ForgottenName if the
        account has left the store meanwhile: then `remember` it and try again.
        """
        with self._lock:
            if account.key in self._forgotten:
                raise ForgottenName
            user = self._online.get(account.key)
            registered = account.password is not None or account.key in self._registered
            if not proven and not (user is not None and _same(token, user.token)):
                if registered:
                    raise Refused("need-password", f"The name {account.name} is registered. Log in with its password.")
                if user is not None:
                    raise Refused(
                        "name-taken", f"The name {account.name} is taken: another user is connected under it."
                    )
            first = user is None
            if user is None:
                user = self._online[account.key] = User(account, registered=registered)
                insort(self._keys, account.key)
            replaced = () if user.registered else user.sessions
            self._connections += 1 - len(replaced)
            user.sessions = (session,) if replaced else (*user.sessions, session)
            changed, user.changed = user.changed, None
        if changed is not None:
            changed.set()
        return user, replaced, first

    def forget(self, key: str, remove: Callable[[], bool]) -> bool:
        """Have an account removed while nobody can take its name. Return False if somebody has it, or `remove` does."""
        with self._forgetting:
            with self._lock:
                if key in self._online:
                    return False
                self._forgotten.add(key)
            removed = False
            try:
                removed = remove()
            finally:
                if not removed:
                    self._remember(key)
            return removed

    def remember(self, key: str, make: Callable[[], Account]) -> Account:
        """Return the account that `make` makes, in place of one that was removed."""
        with self._forgetting:
            account = make()
            self._remember(key)
            return account

    def _remember(self, key: str) -> None:
        with self._lock:
            self._forgotten.discard(key)

    def forget_older(self) -> None:
        """Drop the list of the names that were forgotten: no login takes as long as the time since the last call."""
        with self._lock:
            self._forgotten.clear()

    def release(self, user: User, session: ConnectedSession) -> bool:
        """Remove a session. Return True if it was the user's last one, so that the name is free."""
        with self._lock:
            if session not in user.sessions:
                return False
            user.sessions = tuple([other for other in user.sessions if other is not session])
            self._connections -= 1
            if user.sessions:
                return False
            del self._online[user.key]
            del self._keys[bisect_left(self._keys, user.key)]
            changed, user.changed = user.changed, None
        if changed is not None:
            changed.set()
        return True

    def wait_until_free(self, key: str, seconds: float) -> bool:
        """Return True if nobody holds the name, after waiting for the connections of its holder that are ending.

        Return False at once if one of them is alive, and when `seconds` have passed. Return True also if another
        connection took the name over meanwhile: the caller has to look again.
        """
        with self._lock:
            user = self._online.get(key)
            if user is None:
                return True
            if user.changed is None:  # before the look at the sessions: another one may come right after it
                user.changed = threading.Event()
            changed = user.changed
        if not all([session.ending for session in user.sessions]):
            return False
        return changed.wait(max(0.0, seconds))

    def load(self, user: User, channels: Iterable[Log]) -> None:
        """Set the user's channels, as read from the store. No-op if another connection of the user has set them."""
        with self._lock:
            if not user.loaded:
                user.joined.update(dict.fromkeys(channels))
                user.loaded = True

    def registered(self, user: User) -> None:
        """Require a password for the name from now on."""
        with self._lock:
            user.registered = True
            self._registered.add(user.key)

    def find(self, key: str) -> User | None:
        """Return the connected user of that key; None if the user is not connected."""
        return self._online.get(key)

    def is_there(self, name: str) -> bool:
        """Return True if the user of that name is connected."""
        return fold(name) in self._online

    def users(self) -> list[User]:
        """Return all connected users, sorted by name."""
        return self.page("", None)

    def page(self, after: str, limit: int | None) -> list[User]:
        """Return at most `limit` connected users whose names follow the name `after`, sorted by name.

        This costs the users that it returns, however many are connected.
        """
        with self._lock:
            at = bisect_right(self._keys, fold(after))
            end = None if limit is None else at + limit
            return [self._online[key] for key in self._keys[at:end]]

    def counts(self) -> tuple[int, int]:
        """Return how many users are connected, and by how many connections."""
        with self._lock:
            return len(self._keys), self._connections


def _same(given: str | None, kept: str) -> bool:
    return given is not None and hmac.compare_digest(given.encode(), kept.encode())
