"""Floor 3: the users of the mirror, who take part by way of another broker, each with a session like any other's.

A user is present from `register`, or from the first message, until `gone`, which is a good will. The store keeps those
who said `register`, so that devices need not say it again after a restart of this server. What they publish becomes
requests, as for clients of this server (clients/publish.py); the answers go back to the broker.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from concurrent.futures import Future
from typing import Any
from urllib.parse import quote

import msgspec

from bridge.clients import PublishHandler, Responses, SharedState
from channels import REGISTERS, Session, SessionReport, take_name
from reporting import events, report
from store import Account, Client
from wire.errors import Refused
from wire.frames import Register, Registered
from wire.mqtt import Publish, encode_acknowledgement
from wire.names import NAME, fold, shorten
from wire.topics import Gone

from .pending_logins import PendingLogin, PendingLogins
from .sender import MirrorSender
from .status import MirrorStatus
from .tokens import MirrorTokens
from .user_reader import UserReader
from .user_responses import UserResponses

TRANSPORT = "broker"  # the name of this transport in `/whois` and `/who`
_QUEUED = 60.0  # seconds after an outage in which the first message that the broker kept of a user comes
_SILENT = 600.0  # seconds after which a user who never said `register` counts as gone


def _check_name(me: str) -> str:
    """Return a chat name that a client of the broker may have: valid as it is, without a sign before it.

    Raises Refused.
    """
    if NAME.fullmatch(me) is None:
        raise Refused("bad-name", f"A name has 1 to 32 letters, digits, - and _, not {shorten(me)!r}.")
    return me


class _StoredUser(msgspec.Struct, omit_defaults=True):
    """The stored state of a user: the name as the client writes it, and True if it has proven the password."""

    me: str
    proven: bool = False


class MirrorUser:
    """One user on the broker. `announced`: has said `register`, and stays until `gone`."""

    __slots__ = ("active", "announced", "handler", "key", "me", "reader", "session")

    def __init__(
        self, session: Session, reader: UserReader, handler: PublishHandler, me: str, *, announced: bool
    ) -> None:
        self.session = session
        self.reader = reader
        self.handler = handler
        self.key = reader.user_key
        self.me = me
        self.announced = announced
        self.active = time.monotonic()  # when the user last published something


class MirrorUsers:
    """All users on the broker. Only the mirror's thread changes them, or the main thread at start and end."""

    def __init__(
        self, shared: SharedState, sender: MirrorSender, status: MirrorStatus, address: str, *, trusted: bool
    ) -> None:
        """`address` is the broker's. `trusted`: it lets each client write its own name only."""
        self._shared = shared
        self._chat = shared.chat
        self._sender = sender
        self._status = status
        self._address = address
        self._trusted = trusted
        # A broker that does not check names counts as one address for the limit of new names.
        self._network = None if trusted else f"broker {address}"
        root = quote(shared.topics.root, safe="")
        self._prefix = f"/{root}/"
        self._tokens = MirrorTokens(shared.chat, f"/{root}?tokens")
        self._by_key: dict[str, MirrorUser] = {}
        self._by_name: dict[str, MirrorUser] = {}  # by the name as the client writes it
        self._pending = PendingLogins()
        self._unflushed: dict[str, MirrorUser] = {}  # who has published since the last `flush`
        # Posts of each user above the rate limit, which the broker may have kept during an outage; users who come later
        # than `_spare_until` have none.
        self._spare_posts, self._spare_until = 0, 0.0

    @property
    def everyone(self) -> list[MirrorUser]:
        """All users on the broker."""
        return list(self._by_key.values())

    def find(self, user_key: str) -> MirrorUser | None:
        """Return the user of that key, if present on the broker. Any thread may call it."""
        return self._by_key.get(user_key)

    def may_use(self, name: str) -> bool:
        """Return True if a client of the broker that writes this name may be taken for that user."""
        if name in self._by_name:
            return True
        account = self._chat.store.account(name)
        if account is not None and account.password is not None:
            return self._broker_proves(account, name)
        return self._chat.directory.find(fold(name)) is None

    def _broker_proves(self, account: Account, me: str) -> bool:
        """Return True if a trusted broker has checked the name. To a broker, another spelling is another user."""
        return self._trusted and me == account.name

    def restore(self) -> None:
        """Have the users present who were so when the server stopped, or the one that ran the mirror."""
        self._tokens.load()
        for client in self._chat.store.clients(self._prefix):
            stored = msgspec.json.decode(client.state, type=_StoredUser)
            try:
                self._enter(stored.me, proven=stored.proven, announced=True)
            except Refused as refused:
                report(events.MirrorUserDropped(stored.me, refused.sentence))
                self._chat.store.drop_client(client.key)

    def take(self, me: str, requests: AbstractSet[type[Any]], packet: Publish) -> None:
        """Handle a PUBLISH of the user whose name the broker let the client write. Raises Refused, StoreError.

        `requests` are the types of requests that its topic may stand for.
        """
        if Register in requests:
            self._register(me, packet)
            return
        user = self._by_name.get(me)
        if user is None and me in self._pending:
            self._pending.hold(me, packet)
            return
        if user is None and Gone in requests:
            self._sender.send(encode_acknowledgement(packet.qos, packet.packet_id))
            return
        if user is None:
            user = self._enter(me, proven=False, announced=False)
            self._handle(user, packet)
            self.follow_private_logs(user)
        else:
            self._handle(user, packet)
        if user.handler.gone:
            self.leave(user)

    def connected(self, outage: float) -> None:
        """Let each user post now what the rate limit allowed during an outage of so many seconds."""
        self._spare_posts = int(outage * self._chat.limits.posts_per_second)
        self._spare_until = time.monotonic() + _QUEUED
        for user in self.everyone:
            user.session.spare_posts = self._spare_posts

    def flush(self) -> None:
        """Post what the users have said, and have it stored."""
        unflushed, self._unflushed = self._unflushed, {}
        for user in unflushed.values():
            user.handler.flush()
        self._chat.journal.carry()

    def settle(self) -> None:
        """Return when everything that has come is stored or refused."""
        self.flush()
        for user in self.everyone:
            user.session.settle()

    def _handle(self, user: MirrorUser, packet: Publish) -> None:
        user.active = time.monotonic()
        self._unflushed[user.key] = user
        gathered = user.handler.gathered
        user.handler.take(packet)
        if packet.qos and user.handler.gathered > gathered:
            self._sender.acknowledgements.came(packet.packet_id)

    def _register(self, me: str, packet: Publish) -> None:
        """Have a user present. A password has to be right if the name has one; if it has none, it gets this one.

        A request with a password is acknowledged at once and answered by `finish_logins`, since a hash takes long, and
        a broker sends little while messages are unacknowledged.
        """
        account = self._chat.open_account(_check_name(me), self._network)
        request = self._shared.topics.request(packet.topic, packet.payload, me)
        if not isinstance(request, Register):
            user = self._enter(me, proven=False, announced=True)
            self._handle(user, packet)
            self._store(user)
            self.follow_private_logs(user)  # after the answer
            return
        if me in self._pending:
            raise Refused("busy", f"Another password of {me} is being checked. Send this again after the answer.")
        if account.password is not None:
            future, complete = self._log_in(account, request.password, me, packet)
        else:
            future, complete = self._set_password(request.password, me, packet)
        self._sender.send(encode_acknowledgement(packet.qos, packet.packet_id))
        self._pending.add(PendingLogin(account.name, me, packet, complete), future)

    def _log_in(
        self, account: Account, password: str, me: str, packet: Publish
    ) -> tuple[Future[Any], Callable[[Any], None]]:
        """Have the password of a registered name checked. Return what `PendingLogins` needs. Raises Refused."""

        def complete(_: None) -> None:
            user = self._enter(me, proven=True, announced=True)
            self._handle(user, msgspec.structs.replace(packet, payload=b"", qos=0))  # announces the user
            self._store(user)
            self.follow_private_logs(user)

        try:
            return self._chat.passwords.check_later(account, password, None), complete
        except Refused as refused:
            self._report_refused(account.name, refused)
            raise

    def _set_password(self, password: str, me: str, packet: Publish) -> tuple[Future[Any], Callable[[Any], None]]:
        """Have a new password hashed for a name that has none, as `_log_in` does."""
        user = self._enter(me, proven=False, announced=True)
        self._store(user)
        user.session.check_rate(REGISTERS)

        def complete(made: str) -> None:
            if self._by_key.get(user.key) is not user:
                raise Refused("gone", f"{me} has left, so the password was not set.")
            self._chat.store.set_password(user.key, made)
            self._chat.directory.registered(user.session.holder)
            user.session.report.registered()
            user.handler.answer(packet, Registered(name=user.session.holder.name))
            self._store(user)
            self.follow_private_logs(user)

        return self._chat.passwords.make_hash_later(user.key, password, None), complete

    def finish_logins(self) -> Iterator[tuple[Publish, Refused | None, list[Publish]]]:
        """Complete the registrations whose password was checked or hashed meanwhile.

        Yield the packet of each, which was acknowledged, why it was refused if it was, and the packets of the same user
        that were held. Raises StoreError.
        """
        for login, future in self._pending.finished():
            refused = None
            try:
                login.complete(future.result())
            except Refused as reason:
                refused = reason
                self._report_refused(login.name, reason)
            yield login.packet, refused, login.held

    def _report_refused(self, name: str, refused: Refused) -> None:
        SessionReport(self._address, TRANSPORT).refused_password(name, refused)

    @property
    def waker(self) -> socket.socket | None:
        """A socket that becomes readable when `finish_logins` has something to do; None if it waits for nothing."""
        return self._pending.waker

    def drop_held(self) -> None:
        """Forget packets that were not acknowledged: the connection has ended, and the broker sends them again."""
        self._pending.drop_held()

    def _enter(self, me: str, *, proven: bool, announced: bool) -> MirrorUser:
        """Return the user of that name, with a new session if necessary. Raises Refused if somebody else holds it."""
        chat = self._chat
        account = chat.open_account(_check_name(me), self._network)
        other = self._by_key.get(account.key)
        if other is not None and other.me == me:
            return other
        proven = proven or self._broker_proves(account, me)
        if account.password is not None and not proven:
            sentence = f"The name {account.name} is registered: publish `register` with its password first."
            raise Refused("need-password", sentence)
        if other is not None:  # the same name in another spelling, which is another user of the broker
            if not proven:
                raise Refused("name-taken", f"The name {account.name} is in use: on the broker, as {other.me}.")
            self.leave(other)
        elif len(self._by_key) >= chat.limits.connections:
            raise Refused("server-full", "The server has no room for another user of the broker; try again later.")
        responses = Responses(self._shared.topics, lambda topic: True, self._sender.hang_up)
        responses.me, responses.tells_stored = me, True
        user_responses = UserResponses(responses, self._sender, self._status)
        reader = UserReader(self._sender, user_responses, me)
        session = Session(chat, reader, TRANSPORT, SessionReport(self._address, TRANSPORT), shared=True)
        session.shortcut = user_responses.pubacks
        if time.monotonic() < self._spare_until:
            session.spare_posts = self._spare_posts
        # By its token, the name passes on from the server that has run the mirror before.
        token = self._tokens.of(account.key)
        take_name(session, account, token, proven=proven and account.password is not None, own=token)
        handler = PublishHandler(self._shared, session, responses)
        user = MirrorUser(session, reader, handler, me, announced=announced)
        self._by_key[account.key] = self._by_name[me] = user
        return user

    def follow_private_logs(self, user: MirrorUser) -> None:
        """Publish the private messages that the user has not had."""
        for membership in self._chat.store.memberships(user.key):
            if not membership.log.is_channel:
                user.reader.follow(self._chat.log(membership.log), membership.cursor)

    def _store(self, user: MirrorUser) -> None:
        user.announced = True
        proven = user.session.user is not None and user.session.user.registered
        state = msgspec.json.encode(_StoredUser(user.me, proven)).decode()
        self._chat.store.save_client(Client(f"{self._prefix}{user.key}", None, None, state))

    def leave(self, user: MirrorUser) -> None:
        """End a user's session."""
        user.handler.flush()
        user.session.close()
        del self._by_key[user.key]
        del self._by_name[user.me]
        self._unflushed.pop(user.key, None)
        self._chat.store.drop_client(f"{self._prefix}{user.key}")

    def sweep(self) -> None:
        """End the sessions of users who never said `register`, and have been silent for long."""
        late = time.monotonic() - _SILENT
        for user in self.everyone:
            if not user.announced and user.active < late:
                self.leave(user)

    def hang_up(self) -> None:
        """Have nobody count on the sessions of the users: another server may run the mirror. Any thread may call it."""
        for user in self.everyone:
            user.session.hang_up()

    def part(self) -> None:
        """End all sessions, since the users are at another server from now on."""
        self._pending.clear()
        users = self.everyone
        self._by_key.clear()
        self._by_name.clear()
        self._unflushed.clear()
        for user in users:
            user.session.close()

    def close(self) -> None:
        """End all sessions because the server shuts down: the users are present again after its next start."""
        for user in self.everyone:
            user.session.close()
        self._pending.close()
