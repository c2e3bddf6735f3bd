"""Floor 2: the directory: the connected users by name, with their connections at this server and at the others.

With several servers, the store decides who holds a name. What the directory knows of the other servers is what they
have told, so it may be a moment old.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Collection, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import NamedTuple

from store import Account, Held, Holding, Servers, StoreError
from wire.clock import now
from wire.errors import Refused
from wire.names import fold

from .locks import leaf
from .log import Log
from .ring import Came, Outbox, Registered, Wanted, Went, channel_ids
from .user import ConnectedSession, User

_TURNS = 64  # batons, so that two names rarely share one
_NO_TURN = nullcontext()
_HELD = Held("held")


class ForgottenName(Exception):
    """The account of a name has left the store after the caller has read it."""


class Claim(NamedTuple):
    """A name that a session holds now.

    `replaced` are the sessions here, and `instead` the holdings elsewhere, that it has replaced. `first` is True if the
    user was not connected before, as far as this server knows. `has_wills`: the store has wills of the same client.
    """

    user: User
    replaced: tuple[ConnectedSession, ...]
    first: bool
    instead: tuple[Holding, ...]
    has_wills: bool


@dataclass(slots=True)
class _Wait:
    """A wait for a name that is held at another server. `kept` is the answer once `answered` is set."""

    answered: threading.Event = field(default_factory=threading.Event)
    kept: bool = False


class Directory:
    """Names and the users who hold them. A guest has one connection, a registered user any number."""

    def __init__(self, servers: Servers, outbox: Outbox) -> None:
        self._servers = servers
        self._outbox = outbox
        self._turns = [] if outbox.alone else [threading.Lock() for _ in range(_TURNS)]
        self._lock = leaf()
        self._online: dict[str, User] = {}
        self._keys: list[str] = []  # of the connected users, sorted
        self._connections = 0  # of all users, at all servers
        self._sessions = 0  # of all users, here
        self._waits: dict[str, _Wait] = {}
        self._forgetting = threading.Lock()  # a baton: its holder removes or makes an account
        self._forgotten: set[str] = set()  # keys whose accounts have left the store lately, or are about to
        self._registered: set[str] = (
            set()
        )  # names registered since the start, of which an account that was just read may not know

    def turn(self, key: str) -> AbstractContextManager[object]:
        """Return the baton of a name: its holder changes in the store who holds the name, or the user's channels.

        With one server, nobody needs it.
        """
        return self._turns[hash(key) % _TURNS] if self._turns else _NO_TURN

    def claim(
        self, account: Account, session: ConnectedSession, token: str | None, *, proven: bool, own: str | None = None
    ) -> Claim:
        """Hold a name; `proven` is True if the password was verified.

        With several servers, `own` is the token of a user who has none here yet; by default, it is a new one.

        Raises Refused if somebody else holds the name, or if it has been registered meanwhile; ForgottenName if the
        account has left the store meanwhile: then `remember` it and try again. Raises StoreError.
        """
        if self._outbox.alone:
            return self._add(account, session, token, _HELD, proven=proven)
        with self.turn(account.key):
            user = self._check_forgotten(account.key)
            kept = user.token if user is not None and user.sessions else own or secrets.token_urlsafe(16)
            held = self._hold(account, session, token, kept, user, proven=proven)
            return self._add(account, session, token if held.matched else kept, held, proven=True)

    def _check_forgotten(self, key: str) -> User | None:
        """Return the user of that key, None if nobody is. Raises ForgottenName."""
        with self._lock:
            if key in self._forgotten:
                raise ForgottenName
            return self._online.get(key)

    def _hold(
        self, account: Account, session: ConnectedSession, token: str | None, own: str, user: User | None, *,
        proven: bool,
    ) -> Held:  # fmt: skip
        """Have the store decide who may have the name, with `own` as the token of the holding."""
        mine = [other.number for other in user.sessions] if user is not None else []
        holding = Holding(
            self._servers.here, session.number, account.key, account.name, session.transport, session.address, now(),
            _hash(own), session.client,
        )  # fmt: skip
        try:
            held = self._servers.hold(holding, None if token is None else _hash(token), proven=proven, own=mine)
        except StoreError:
            self._outbox.release(session.number)  # it may hold the name
            raise
        if held.outcome == "forgotten":
            raise ForgottenName
        if held.outcome == "registered":
            raise _needs_password(account)
        if held.outcome == "taken":
            raise _is_taken(account)
        return held

    def _add(
        self, account: Account, session: ConnectedSession, token: str | None, held: Held, *, proven: bool
    ) -> Claim:
        """Add a session. With one server, this decides who may have the name."""
        with self._lock:
            if self._outbox.alone and account.key in self._forgotten:
                raise ForgottenName
            user = self._online.get(account.key)
            registered = account.password is not None or account.key in self._registered
            if not proven and not (user is not None and _same(token, user.token)):
                if registered:
                    raise _needs_password(account)
                if user is not None:
                    raise _is_taken(account)
            first = user is None
            if user is None:
                user = self._make_locked(account, registered=registered)
            user.registered = user.registered or registered  # other servers do not tell
            if not user.sessions and token is not None and not self._outbox.alone:
                user.token = token
            replaced: tuple[ConnectedSession, ...] = user.sessions  # a guest has one connection in all
            elsewhere: tuple[Holding, ...] = ()
            if user.registered:
                gone = set(map(_place, held.replaced))
                replaced = tuple([each for each in user.sessions if (self._servers.here, each.number) in gone])
                elsewhere = tuple([each for each in user.elsewhere if _place(each) not in gone])
            self._set_locked(user, (*[each for each in user.sessions if each not in replaced], session), elsewhere)
            changed, user.changed = user.changed, None
        if changed is not None:
            changed.set()
        instead = tuple([each for each in held.replaced if each.server != self._servers.here])
        return Claim(user, replaced, first, instead, held.has_wills)

    def announce(self, claim: Claim, session: ConnectedSession) -> None:
        """Tell the other servers of a session that holds its name and has loaded its channels."""
        if self._outbox.alone:
            return
        user = claim.user
        here = self._servers.here
        instead = [(each.server, each.connection) for each in claim.instead]
        instead += [(here, each.number) for each in claim.replaced]
        channels = channel_ids([log.row.id for log in list(user.joined)]) if user.loaded else None
        self._outbox.tell(
            Came(
                session.number, user.key, user.name, session.transport, session.address, user.since, channels, instead,
                session.client,
            )
        )  # fmt: skip
        with self._lock:
            replaced = session not in user.sessions
        if replaced:  # by another one here, which may have been announced before
            self._outbox.tell(Went(session.number, user.key))

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
        """Remove a session. Return True if it was the user's last connection, so that the name is free."""
        with self._lock:
            if session not in user.sessions:
                return False
            sessions = tuple([other for other in user.sessions if other is not session])
            self._set_locked(user, sessions, user.elsewhere)
            last, changed = self._parted_locked(user)
        if not self._outbox.alone:
            self._outbox.release(session.number)
            channels = channel_ids([log.row.id for log in list(user.joined)]) if last and user.loaded else None
            self._outbox.tell(Went(session.number, user.key, channels))
        if changed is not None:
            changed.set()
        return last

    def _make_locked(self, account: Account, *, registered: bool) -> User:
        """Add a user, who has no connections yet."""
        insort(self._keys, account.key)
        user = self._online[account.key] = User(account, registered=registered)
        return user

    def _set_locked(self, user: User, sessions: tuple[ConnectedSession, ...], elsewhere: tuple[Holding, ...]) -> None:
        """Set the connections of a user, and count them."""
        self._connections += len(sessions) + len(elsewhere) - len(user.sessions) - len(user.elsewhere)
        self._sessions += len(sessions) - len(user.sessions)
        user.sessions, user.elsewhere = sessions, elsewhere

    def _parted_locked(self, user: User) -> tuple[bool, threading.Event | None]:
        """Forget a user without connections, and the channels of one without sessions here.

        Return True for the first, and the event to set.
        """
        if user.sessions:
            return False, None
        if user.elsewhere:
            user.loaded, user.joined = False, {}
        else:
            del self._online[user.key]
            del self._keys[bisect_left(self._keys, user.key)]
        changed, user.changed = user.changed, None
        return not user.elsewhere, changed

    def wait_until_free(self, key: str, seconds: float) -> bool:
        """Return True if nobody holds the name, after waiting for the connections of its holder that are ending.

        Return False at once if one of them is alive, and when `seconds` have passed. Return True also if another
        connection took the name over meanwhile: the caller has to look again. Raises StoreError.
        """
        here = self._servers.here
        elsewhere = {each.server for each in self._servers.holdings(key)} - {here} if not self._outbox.alone else set()
        if elsewhere:
            return self._wait_elsewhere(key, elsewhere, seconds)
        with self._lock:
            user = self._online.get(key)
            if user is None or not user.sessions:
                return True
            if user.changed is None:  # before the look at the sessions: another one may come right after it
                user.changed = threading.Event()
            changed = user.changed
        if not all([session.ending for session in user.sessions]):
            return False
        return changed.wait(max(0.0, seconds))

    def _wait_elsewhere(self, key: str, servers: Iterable[int], seconds: float) -> bool:
        """Ask the servers that hold a name whether its holder lives; wait until one has answered, or lets go of it."""
        with self._lock:
            wait = self._waits.setdefault(key, _Wait())
        for server in servers:
            self._outbox.tell(Wanted(server, key))
        return wait.answered.wait(max(0.0, seconds)) and not wait.kept

    def answered(self, key: str, *, kept: bool) -> None:
        """Wake those who wait for a name that another server holds, or has held."""
        with self._lock:
            wait = self._waits.pop(key, None)
        if wait is not None:
            wait.kept = kept
            wait.answered.set()

    def state(self, key: str) -> bool | None:
        """Return True if a live session here holds the name, False if none does, None while the last one is ending."""
        user = self._online.get(key)
        sessions = user.sessions if user is not None else ()
        if not sessions:
            return False
        return None if all([session.ending for session in sessions]) else True

    def load(self, user: User, channels: Iterable[Log]) -> None:
        """Set the user's channels, as read from the store. No-op if another connection of the user has set them."""
        with self._lock:
            if not user.loaded:
                user.joined.update(dict.fromkeys(channels))
                user.loaded = True

    def registered(self, user: User) -> None:
        """Require a password for the name from now on."""
        self.registered_elsewhere(user.key)
        self._outbox.tell(Registered(user.key))

    def registered_elsewhere(self, key: str) -> None:
        """Do so for a name that was registered at another server."""
        with self._lock:
            user = self._online.get(key)
            if user is not None:
                user.registered = True
            self._registered.add(key)

    def find(self, key: str) -> User | None:
        """Return the connected user of that key; None if the user is not connected."""
        return self._online.get(key)

    def bearer(self, key: str, token: str) -> User | Holding | None:
        """Return the user of that key, or a connection of the user at another server, if that is the user's token.

        Raises StoreError.
        """
        user = self._online.get(key)
        if user is not None and _same(token, user.token):
            return user
        if self._outbox.alone:
            return None
        given = _hash(token)
        return next((each for each in self._servers.holdings(key) if hmac.compare_digest(each.token, given)), None)

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

    def count_here(self) -> int:
        """Return how many connections of users this server has."""
        return self._sessions

    # Other servers

    def came(self, server: int, came: Came) -> tuple[User, bool, list[ConnectedSession]]:
        """Add a connection at another server. Return its user, True for the first one, and the sessions it replaces."""
        instead = {*came.instead, (server, came.connection)}
        made = Holding(
            server, came.connection, came.key, came.name, came.transport, came.address, came.since, "",
            came.client,
        )  # fmt: skip
        with self._lock:
            user, first = self._known_locked(made)
            replaced = [each for each in user.sessions if (self._servers.here, each.number) in instead]
            sessions = tuple([each for each in user.sessions if each not in replaced])
            elsewhere = (*[each for each in user.elsewhere if _place(each) not in instead], made)
            self._set_locked(user, sessions, elsewhere)
            _, changed = self._parted_locked(user) if replaced else (False, None)
        if changed is not None:
            changed.set()
        return user, first, replaced

    def _known_locked(self, holding: Holding) -> tuple[User, bool]:
        """Return the user of a holding, and True if the user was not connected before."""
        user = self._online.get(holding.key)
        if user is not None:
            return user, False
        user = self._make_locked(Account(holding.key, holding.name, None, 0), registered=False)
        user.since = holding.since
        return user, True

    def went(self, server: int, connection: int, key: str) -> User | None:
        """Remove a connection at another server. Return its user if it was the last one."""
        gone = self._drop({key}, lambda each: _place(each) == (server, connection))
        self.answered(key, kept=False)
        return gone[0] if gone else None

    def gone(self, server: int) -> list[User]:
        """Remove the connections at a server. Return the users who have no others."""
        with self._lock:
            keys = [key for key, user in self._online.items() if user.elsewhere]
            waits = list(self._waits)
        gone = self._drop(keys, lambda each: each.server == server)
        for key in waits:
            self.answered(key, kept=False)
        return gone

    def _drop(self, keys: Iterable[str], over: Callable[[Holding], bool]) -> list[User]:
        """Remove those connections elsewhere that are over. Return the users who have no others."""
        parted: list[User] = []
        events: list[threading.Event] = []
        with self._lock:
            for key in keys:
                user = self._online.get(key)
                if user is None or not any(map(over, user.elsewhere)):
                    continue
                elsewhere = tuple([each for each in user.elsewhere if not over(each)])
                self._set_locked(user, user.sessions, elsewhere)
                last, changed = self._parted_locked(user)
                parted += [user] if last else []
                events += [changed] if changed is not None else []
        for event in events:
            event.set()
        return parted

    def update(self, holdings: Iterable[Holding]) -> tuple[list[User], list[User]]:
        """Set all connections elsewhere, as the store has them. Return the users who have come and who have gone."""
        known = {_place(each): each for each in holdings if each.server != self._servers.here}
        came: list[User] = []
        with self._lock:
            old = {_place(each) for user in self._online.values() for each in user.elsewhere}
            for place, each in known.items():
                if place in old:
                    continue
                user, first = self._known_locked(each)
                self._set_locked(user, user.sessions, (*user.elsewhere, each))
                came += [user] if first else []
            keys = [key for key, user in self._online.items() if user.elsewhere]
        gone = self._drop(keys, lambda each: _place(each) not in known)
        return came, gone

    def held_here(self) -> list[tuple[User, ConnectedSession]]:
        """Return the sessions of this server."""
        with self._lock:
            return [(user, session) for user in self._online.values() for session in user.sessions]

    def lost(
        self, held: Iterable[tuple[User, ConnectedSession]], holdings: Collection[Holding]
    ) -> list[ConnectedSession]:
        """Remove the sessions of `held` whose names others have taken. Return them.

        `holdings` are those of all servers, read from the store after `held` was.
        """
        here = self._servers.here
        mine = {each.connection for each in holdings if each.server == here}
        elsewhere: dict[str, set[str]] = {}  # the client ids by user key
        for each in holdings:
            if each.server != here:
                elsewhere.setdefault(each.key, set()).add(each.client)
        return self._part(
            [
                (user, session)
                for user, session in held
                if session.number not in mine
                and user.key in elsewhere
                and (not user.registered or session.client in elsewhere[user.key] - {""})
            ]
        )

    def restore(self) -> list[ConnectedSession]:
        """Hold all names again that sessions here hold. Return the sessions whose names others have taken meanwhile."""
        held = [(user, session) for user, session in self.held_here() if not session.ending]  # else it lets go of it
        here = self._servers.here
        lost = self._servers.hold_again(
            [
                Holding(
                    here, session.number, user.key, user.name, session.transport, session.address, user.since,
                    _hash(user.token), session.client,
                )
                for user, session in held
            ]
        )  # fmt: skip
        return self._part([(user, session) for user, session in held if session.number in set(lost)])

    def _part(self, parted: Iterable[tuple[User, ConnectedSession]]) -> list[ConnectedSession]:
        """Remove sessions that others have replaced; return those that were there."""
        removed: list[ConnectedSession] = []
        for user, session in parted:
            with self._lock:
                if session not in user.sessions:
                    continue
                sessions = tuple([each for each in user.sessions if each is not session])
                self._set_locked(user, sessions, user.elsewhere)
                _, changed = self._parted_locked(user) if self._online.get(user.key) is user else (False, None)
            if changed is not None:
                changed.set()
            removed.append(session)
        return removed


def _place(holding: Holding) -> tuple[int, int]:
    return holding.server, holding.connection


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _needs_password(account: Account) -> Refused:
    return Refused("need-password", f"The name {account.name} is registered. Log in with its password.")


def _is_taken(account: Account) -> Refused:
    return Refused("name-taken", f"The name {account.name} is taken: another user is connected under it.")


def _same(given: str | None, kept: str) -> bool:
    return given is not None and hmac.compare_digest(given.encode(), kept.encode())
