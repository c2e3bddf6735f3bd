"""Floor 3: residents: users who are in the chat by way of another broker, each with a session like any other's.

A user is there from `register` (or the first thing that they publish) until `gone`, their will for one; that is kept,
so that devices need not say it again when this server restarts. What they publish becomes requests, as on our own door
(inbox.py); the answers go back to the broker by the one connection that the mirror has.
"""

from __future__ import annotations

import hmac
import logging
import secrets
import time
from collections.abc import Sequence, Set
from typing import Any, Protocol
from urllib.parse import quote

import msgspec

from bridge.clients import PublishHandler, RequestContext, Responses, SharedState
from channels import Log, Reader, Session, accounts, take_name
from store import Account, Client
from wire.errors import Refused
from wire.frames import Error, Frame, Register, Stored
from wire.mqtt import V5, Publish, PubRec, encode
from wire.names import NAME, fold, shorten
from wire.topics import Gone

log_ = logging.getLogger("partyline.bridge")

TRANSPORT = "broker"  # as `/whois` and `/who` call it
_SILENT = 600.0  # seconds after which somebody who never said `register` is taken to be gone
_TRIES_PAUSE = 60.0  # seconds without a try after too many wrong passwords


class Carrier(Protocol):
    """The mirror, as residents see it."""

    @property
    def version(self) -> int:
        """Of the broker."""

    @property
    def limit(self) -> int:
        """Bytes of a packet that the broker takes; 0: any."""

    def send(self, data: bytes) -> None:
        """Send to the broker, after whatever waits; nothing if it is away."""

    def publish_retained(self, topic: str, payload: bytes) -> None:
        """Publish what the broker is to keep."""

    def follow(self, log: Log, user_key: str, me: str, after: int) -> None:
        """Send a direct conversation to a user there."""

    def follows(self, log: Log, user_key: str) -> bool:
        """Whether it is sent to them."""

    def unfollow(self, user_key: str) -> None:
        """Send them nothing more."""

    def wait_for_room(self) -> None:
        """Wait until the broker has taken most of what it was sent. Called by the mirror's thread alone."""

    def give_up(self) -> None:
        """Something could not be stored: have the broker send it again later."""

    def count_refused(self) -> None:
        """Something was not taken, and will not be."""


class _Nowhere:
    """The outlet of a reader that never uses it: the mirror has the line."""

    def transmit(self, data: bytes | memoryview, *, answered: bool = False) -> int:
        raise AssertionError("the mirror sends")

    def when_writable(self) -> None:
        raise AssertionError("the mirror sends")

    def hang_up(self) -> None:
        """The line is everyone's."""

    def unacknowledged(self) -> int:
        return 0


class ResidentReader(Reader[Log]):
    """What one resident reads, of which the mirror's own reader does the sending."""

    __slots__ = ("_carrier", "me")

    def __init__(self, carrier: Carrier, responses: Responses) -> None:
        super().__init__(_Nowhere(), responses)
        self._carrier = carrier
        self.me = ""

    def hold(self) -> None:
        """Nothing comes before the session is there: the mirror asks it first."""

    def begin(self, starts: Sequence[tuple[Log, int, int | None]]) -> None:
        """Follow these logs."""
        for log, after, _ in starts:
            self.follow(log, after)

    def follow(self, log: Log, after: int, acknowledged: int | None = None) -> None:
        """Of channels, the broker has everything already."""
        if log.channel is None:
            self._carrier.follow(log, self.user_key, self.me, after)

    def unfollow(self, log: Log) -> None:
        """The broker has every channel, whoever leaves it."""

    def follows(self, log: Log) -> bool:
        """Whether the log is sent to them."""
        return log.channel is not None or self._carrier.follows(log, self.user_key)

    def acknowledge(self, log: Log, number: int) -> int | None:
        """They have seen a log up to a number."""
        return min(number, log.tail)

    def reply_bytes(self, data: bytes, payload: bytes = b"") -> None:
        """Send an answer."""
        if not self._closed:
            self._carrier.send(data + payload)

    def notify_bytes(self, data: bytes, log: Log | None = None) -> None:
        """Send something that matters just now."""
        if data:
            self.reply_bytes(data)

    def wait_for_room(self, limit: int, timeout: float | None = None) -> bool:
        """The line is everyone's, and so is the limit."""
        self._carrier.wait_for_room()
        return True

    def close(self) -> None:
        """Send nothing more."""
        self._closed = True


class BrokerResponses(Responses):
    """As for a client on our own door, but whether one subscribed is known to the broker alone."""

    __slots__ = ("_carrier",)

    def __init__(self, shared: SharedState, carrier: Carrier) -> None:
        super().__init__(shared.topics, lambda topic: True, carrier.give_up)
        self._carrier = carrier
        self.tells_stored = True

    def encode(self, frame: Frame) -> bytes:
        """In the version that the broker has now, and as large as it takes it."""
        self.version, self.limit = self._carrier.version, self._carrier.limit
        return super().encode(frame)

    def subscribed(self) -> None:
        """Nobody knows."""

    def _acknowledge(self, frame: Frame, qos: int, packet_id: int) -> bytes:
        """What was taken or refused is acknowledged: it is not to come again. What could not be stored is."""
        if isinstance(frame, Error) and frame.code in ("not-stored", "internal"):
            self._give_up()
            return b""
        if isinstance(frame, Error):
            self._carrier.count_refused()
        return acknowledgement(qos, packet_id)

    def _publish(self, frame: Frame, context: RequestContext | None) -> bytes:
        """A receipt goes to who gave an id: small devices that say plain text have no use for one."""
        if type(frame) is Stored and frame.id is None:
            return b""
        return super()._publish(frame, context)


def acknowledgement(qos: int, packet_id: int) -> bytes:
    """PUBACK or PUBREC, the same in both versions; nothing at QoS 0."""
    if not qos:
        return b""
    return b"\x40\x02" + packet_id.to_bytes(2, "big") if qos == 1 else encode(PubRec(packet_id), V5)


def _name(me: str) -> str:
    """What a user of the broker is called, which is a name as it stands, without a sign before it. Raises Refused."""
    if NAME.fullmatch(me) is None:
        raise Refused("bad-name", f"A name is 1 to 32 letters, digits, - and _ ({shorten(me)!r} is not).")
    return me


class _Kept(msgspec.Struct, omit_defaults=True):
    """What is kept of a resident: the name as they write it, and whether they have shown its password."""

    me: str
    proven: bool = False


class Resident:
    """One user on the broker. `registered`: said so, and stays until `gone`."""

    __slots__ = ("at", "inbox", "key", "me", "registered", "session")

    def __init__(self, session: Session, inbox: PublishHandler, me: str, *, registered: bool) -> None:
        self.session = session
        self.inbox = inbox
        self.key = session.reader.user_key
        self.me = me
        self.registered = registered
        self.at = time.monotonic()  # when they last published something


class Residents:
    """Everyone on the broker. Changed by the mirror's thread alone (and at start and end, when there is none)."""

    def __init__(self, shared: SharedState, carrier: Carrier, address: str, *, trusted: bool) -> None:
        """`trusted`: the broker lets nobody write in another's name, so no password is asked for."""
        self._shared = shared
        self._carrier = carrier
        self._address = address
        self._trusted = trusted
        self._prefix = f"/{quote(shared.topics.root, safe='')}/"
        self._here: dict[str, Resident] = {}  # by user key
        self._by_name: dict[str, Resident] = {}  # by the name as they write it
        self._secret = secrets.token_bytes(32)
        self._shown_before: dict[str, bytes] = {}  # by user key: the digest of the password that fitted, and its hash
        self._tries: dict[str, tuple[int, float]] = {}  # by user key: wrong passwords, and when the last one came
        self._touched: dict[str, Resident] = {}  # who has published since the last `flush`

    @property
    def everyone(self) -> list[Resident]:
        """All who are there."""
        return list(self._here.values())

    def find(self, user_key: str) -> Resident | None:
        """The resident of that user, if they are one."""
        return self._here.get(user_key)

    def may_be(self, name: str) -> bool:
        """Whether whoever publishes in that name on the broker may be taken for them."""
        if name in self._by_name:
            return True
        account = self._shared.chat.store.account(name)
        if account is not None and account.password is not None:
            return self._shown(account, name)
        return self._shared.chat.directory.find(fold(name)) is None

    def _shown(self, account: Account, me: str) -> bool:
        """Whether the broker itself shows that it is them; to a broker, another spelling is another user."""
        return self._trusted and me == account.name

    def restore(self) -> None:
        """Have everyone there who was there when the server stopped."""
        for client in self._shared.chat.store.clients(self._prefix):
            kept = msgspec.json.decode(client.state, type=_Kept)
            try:
                self._enter(kept.me, proven=kept.proven, registered=True)
            except Refused as refused:
                log_.warning("%s is not taken to be on the broker any more: %s", kept.me, refused.sentence)
                self._shared.chat.store.drop_client(client.key)

    def take(self, me: str, requests: Set[type[Any]], packet: Publish) -> None:
        """Do what a PUBLISH of a user asks, whose name the broker let write that topic. Raises Refused, StoreError."""
        resident = self._by_name.get(me)
        if Register in requests:
            self._register(me, packet)
            return
        if Gone in requests and resident is None:
            self._carrier.send(acknowledgement(packet.qos, packet.packet_id))
            return
        if resident is None:
            resident = self._enter(me, proven=False, registered=False)
            self._hand_on(resident, packet)
            self.catch_up(resident)
        else:
            self._hand_on(resident, packet)
        if resident.inbox.gone:
            self.leave(resident)

    def flush(self) -> None:
        """Hand on what was gathered, and have it stored."""
        touched, self._touched = self._touched, {}
        for resident in touched.values():
            resident.inbox.flush()
        self._shared.chat.journal.carry()

    def settle(self) -> None:
        """Return when all that has come is stored or refused."""
        self.flush()
        for resident in self.everyone:
            resident.session.settle()

    def _hand_on(self, resident: Resident, packet: Publish) -> None:
        resident.at = time.monotonic()
        self._touched[resident.key] = resident
        resident.inbox.take(packet)

    def _register(self, me: str, packet: Publish) -> None:
        """I am here; with a password, which has to fit if the name has one, and binds the name to it if it has none."""
        account = self._shared.chat.store.open_account(_name(me))
        request = self._shared.topics.request(packet.topic, packet.payload, me)
        proven = False
        if account.password is not None and isinstance(request, Register):
            self._prove(account.key, request.password, account.password)
            proven = True
            packet = msgspec.structs.replace(packet, payload=b"")  # that was a log-in
        resident = self._enter(me, proven=proven, registered=True)
        self._hand_on(resident, packet)
        self._keep(resident)
        self.catch_up(resident)  # what was kept comes after the answer

    def _prove(self, key: str, password: str, kept: str) -> None:
        count, last = self._tries.get(key, (0, 0.0))
        if count >= self._shared.chat.limits.password_tries:
            if time.monotonic() - last < _TRIES_PAUSE:
                raise Refused("wrong-password", "That was the wrong password too often; try again in a minute.")
            count = 0
        shown = hmac.digest(self._secret, f"{kept}\n{password}".encode(), "sha256")
        if self._shown_before.get(key) != shown:
            if not accounts.fits(password, kept):
                self._tries[key] = count + 1, time.monotonic()
                raise Refused("wrong-password", "That is not the password; try again.")
            self._shown_before[key] = shown  # to check it anew takes long, and all come back when the broker does
        self._tries.pop(key, None)

    def _enter(self, me: str, *, proven: bool, registered: bool) -> Resident:
        """Have a user there. Raises Refused if somebody else holds the name."""
        chat = self._shared.chat
        account = chat.store.open_account(_name(me))
        other = self._here.get(account.key)
        if other is not None and other.me == me:
            return other
        proven = proven or self._shown(account, me)
        if account.password is not None and not proven:
            sentence = f"{account.name} is registered: `register` with its password first."
            raise Refused("need-password", sentence)
        if other is not None:  # the same name written in another way, which is another user of the broker
            if not proven:
                raise Refused("name-taken", f"{account.name} is taken: somebody is on the broker as {other.me}.")
            self.leave(other)
        elif len(self._here) >= chat.limits.connections:
            raise Refused("server-full", "There are as many on the broker as the server takes; try again later.")
        responses = BrokerResponses(self._shared, self._carrier)
        responses.me = me
        reader = ResidentReader(self._carrier, responses)
        reader.me = me
        session = Session(chat, reader, TRANSPORT, self._address, shared=True)
        take_name(session, account, None, proven=proven and account.password is not None)
        resident = Resident(session, PublishHandler(self._shared, session, responses), me, registered=registered)
        self._here[account.key] = self._by_name[me] = resident
        log_.info("%s is on the broker", account.name)
        return resident

    def catch_up(self, resident: Resident) -> None:
        """Send what was kept for them, from where they have come to."""
        reader = resident.session.reader
        for membership in self._shared.chat.store.memberships(reader.user_key):
            if membership.log.kind == "direct":
                reader.follow(self._shared.chat.log(membership.log), membership.cursor)

    def _keep(self, resident: Resident) -> None:
        user = resident.session.user
        resident.registered = True
        state = msgspec.json.encode(_Kept(resident.me, user is not None and user.registered)).decode()
        self._shared.chat.store.save_client(Client(f"{self._prefix}{resident.key}", None, None, state))

    def leave(self, resident: Resident) -> None:
        """They have gone."""
        resident.inbox.flush()
        resident.session.close()
        self._carrier.unfollow(resident.key)
        del self._here[resident.key]
        del self._by_name[resident.me]
        self._touched.pop(resident.key, None)
        self._shared.chat.store.drop_client(f"{self._prefix}{resident.key}")
        log_.info("%s is on the broker no more", resident.me)

    def sweep(self) -> None:
        """Take those to be gone who never said that they are here, and have been silent for long."""
        late = time.monotonic() - _SILENT
        for resident in self.everyone:
            if not resident.registered and resident.at < late:
                self.leave(resident)

    def close(self) -> None:
        """The server goes down; they are still on the broker when it is back."""
        for resident in self.everyone:
            resident.session.close()
