"""Floor 3: the session of one MQTT client: packets in, packets out, and what the server keeps for it while it is away.

What it publishes becomes requests (inbox.py) of the same session that serves every other door (channels/session.py);
the answers become acknowledgements and messages (responses.py); the entries that it subscribed to come from its reader
(reader.py).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import msgspec

from channels import Chat, Log, Outlet, Session, take_name
from store import Entries, StoreError
from wire.errors import PeerError, Refused
from wire.limits import Limits
from wire.mqtt import (
    NONE,
    Auth,
    Connect,
    Disconnect,
    MqttError,
    MqttPackets,
    PingReq,
    Properties,
    PubAck,
    PubAcks,
    Publish,
    PubRel,
    Reason,
    Subscribe,
    Unsubscribe,
)

from . import connect as login
from .connect import Login
from .delivery import MqttReader
from .encoding import largest
from .publish import PublishHandler
from .responses import Responses
from .retained import OFFLINE
from .shared import SharedState
from .subscribe import Subscriber
from .subscriptions import Subscriptions
from .wills import LastWill

log_ = logging.getLogger("partyline.mqtt")

_MOMENT = 1.0  # seconds in which a client that has just hung up is gone


class MqttSession:
    """A speaker (see doors/speaker.py). What is not marked otherwise is called by the connection's own thread."""

    __slots__ = (
        "_chat",
        "_deadline",
        "_done",
        "_keep_alive",
        "_key",
        "_packets",
        "_publish_handler",
        "_reader",
        "_responses",
        "_session",
        "_shared",
        "_subscriber",
        "_subscriptions",
        "_will",
        "address",
    )  # fmt: skip

    def __init__(self, shared: SharedState, chat: Chat, outlet: Outlet, address: str) -> None:
        self._shared = shared
        self._chat = chat
        self._packets = MqttPackets(chat.limits.payload, topic_alias_maximum=login.TOPIC_ALIASES)
        self._subscriptions = Subscriptions(shared.topics)
        self._responses = Responses(shared.topics, self._subscriptions.hears, outlet.hang_up)
        self._reader = MqttReader(outlet, self._responses, self._subscriptions.encoding_of, chat.limits.backlog)
        self._session = Session(chat, self._reader, "mqtt", address)
        self._session.shortcut = self._responses.pubacks
        self._publish_handler = PublishHandler(shared, self._session, self._responses)
        self._subscriber = Subscriber(shared, self._session, self._reader, self._subscriptions, self._responses)
        self.address = address
        self._done = False
        self._key = ""  # of what the server keeps
        self._deadline = time.monotonic() + chat.limits.login_seconds
        self._keep_alive: float | None = None
        self._will: LastWill | None = None

    # What the door asks

    @property
    def done(self) -> bool:
        """Nothing more is to be read from the client."""
        return self._done or self._publish_handler.gone

    @property
    def patience(self) -> float | None:
        """Until CONNECT, the time to log in; then one and a half times the keep-alive ([MQTT-3.1.2-22])."""
        return self._keep_alive if self._responses.connected else max(0.0, self._deadline - time.monotonic())

    @property
    def user_key(self) -> str:
        """Whose session it is; empty before CONNECT."""
        return self._reader.user_key

    @property
    def me(self) -> str:
        """The client's name as it writes it in topics; empty before CONNECT."""
        return self._responses.me

    def receive(self, data: bytes) -> None:
        """Do what the packets ask; PUBLISHes that follow each other go to the session as one run."""
        take = self._publish_handler.take
        try:
            for item in self._packets.receive(data):
                if type(item) is Publish:
                    take(item)
                    continue
                self._publish_handler.flush()
                if isinstance(item, MqttError):
                    raise item
                if self.done:
                    return
                self._handle(item)
                if self._done:
                    return  # what follows a DISCONNECT is nothing ([MQTT-3.14.4-2])
            self._publish_handler.flush()
        except StoreError as error:
            log_.error("%s: %s", self._key, error)
            if not self._responses.connected:
                raise MqttError(Reason.SERVER_UNAVAILABLE, f"Not now: {error}") from error
            raise PeerError("not-stored", f"It was not kept: {error}") from error
        self._reader.wait_for_room(self._chat.limits.backlog)

    def _handle(self, packet: Any) -> None:
        handler = _HANDLERS.get(type(packet))
        if handler is None:
            raise MqttError(Reason.PROTOCOL_ERROR, f"{type(packet).__name__} is not expected here.")
        handler(self, packet)

    def end(self) -> None:
        """A packet that has not come in full is none."""

    def overdue(self) -> PeerError:
        """What to tell a client that was silent for too long."""
        return MqttError(Reason.KEEP_ALIVE_TIMEOUT, "Nothing came for one and a half times the keep-alive.")

    def fail(self, error: PeerError) -> None:
        """Say why the connection ends, as far as the version has words for it."""
        reason = error.reason if isinstance(error, MqttError) else Reason.UNSPECIFIED_ERROR
        version = (error.version if isinstance(error, MqttError) else 0) or self._packets.version
        self._reader.reply_bytes(self._responses.goodbye(reason, error.sentence, version))

    def dismiss(self) -> None:
        """The server goes down: tell those who listen, and say goodbye."""
        self.tell(self._shared.topics.server, OFFLINE, retained=True)
        self._will = None  # the client is not to blame
        self.fail(MqttError(Reason.SERVER_SHUTTING_DOWN, "The server is going down."))

    def hang_up(self) -> None:
        """Called by any thread: have the connection's own thread end it."""
        self._session.hang_up()

    def walk(self, store: Entries, limits: Limits) -> None:
        """Called by the pump: send what the client has not had yet."""
        self._reader.walk(store, limits)

    def discard(self) -> None:
        """Called by any thread: send nothing more."""
        self._reader.close()

    def parted(self) -> None:
        """Keep what the client's machine took in the end."""
        self._session.parted()

    def close(self) -> None:
        """The connection has ended: let go of the name, publish the will, keep the session if it is to be kept.

        The name first: a client that is back already finds either this session, which it may take over, or a free name.
        """
        self._session.close()
        if not self._key:
            return
        try:
            self._subscriber.acknowledged(())
            with self._shared.registry.parting(self._key, self) as current:
                self._publish_will()
                if current:  # else it was taken over, and the session lives on in another connection
                    self._subscriber.close()
        except StoreError as error:
            log_.error("%s: its session is not as it should be: %s", self._key, error)

    def _publish_will(self) -> None:
        will, user, expiry = self._will, self._session.user, self._subscriber.expiry
        if (
            will is None or user is None or self._publish_handler.gone or not self._responses.connected
        ):  # [MQTT-3.1.2-8]
            return
        delay = min(will.delay, expiry)
        if delay:
            self._shared.wills.publish_later(self._key, user.name, will, delay)
        else:
            self._shared.wills.publish(user.name, will)

    # CONNECT

    def _connect(self, packet: Connect) -> None:
        self._responses.limit = packet.properties.maximum_packet_size or 0  # first, as a refusal has to fit, too
        who = self._log_in(packet)
        self._responses.open(packet, who.me, self._session.user)
        self._open(packet, who)
        self._key = who.key
        old, sent = self._shared.registry.add(self._key, self)
        self._shared.wills.client_connected(self._key, clean=packet.clean)
        if old is not None:
            old.taken_over(clean=packet.clean)
        present = self._subscriber.open(self._key, sent, clean=packet.clean)
        self._publish_handler.open(who.client_id)
        self._responses.subscribed()
        self._reader.reply_bytes(login.welcome(self._shared.topics, packet, who, self._chat.limits, present=present))
        self._responses.connected = True
        self._subscriber.begin()

    def _log_in(self, packet: Connect) -> Login:
        """Take the name; who holds it may have hung up just before, and have been busy registering it."""
        waited = False
        while True:
            who = login.log_in(self._shared, packet, self.address)
            self._will = login.last_will(self._shared.topics, packet, who.me, self._chat.limits)
            holder = self._chat.directory.find(who.account.key)
            mine = who.account.password is None and login.may_take_over(self._shared, who.key, self.address)
            try:
                take_name(
                    self._session, who.account, holder.token if mine and holder is not None else None, proven=who.proven
                )
                return who
            except Refused as refused:
                key, wait_until_gone = who.account.key, self._shared.registry.wait_until_gone
                if waited or refused.code != "name-taken" or not wait_until_gone(key, self.address, _MOMENT):
                    raise MqttError(Reason.NOT_AUTHORIZED, refused.sentence) from refused
                waited = True

    def _open(self, packet: Connect, who: Login) -> None:
        """Note what the client can take, and how long it may be silent and away."""
        properties = packet.properties
        self._subscriber.expiry = login.expiry(packet, self._chat.limits)
        self._keep_alive = packet.keep_alive * 1.5 or None
        limit = self._responses.limit if self._responses.limit < largest(self._chat.limits) else 0
        one_at_a_time = properties.receive_maximum == 1
        self._subscriptions.open(packet.version, who.me, who.account, limit, one_at_a_time=one_at_a_time)
        if properties.receive_maximum:
            self._reader.limit_flight(properties.receive_maximum)

    def taken_over(self, *, clean: bool) -> None:
        """Called by another connection's thread: the same user has connected with the same client id."""
        will = self._will
        if will is not None and will.delay:  # a clean start ends the session, so it is time; else it is not to be sent
            self._will = LastWill(will.request, 0) if clean else None
        self._session.replaced()

    # Packets that others answer

    def _acknowledged(self, packet: PubAcks) -> None:
        self._subscriber.acknowledged(packet.packet_ids)

    def _acknowledged_with_reason(self, packet: PubAck) -> None:
        self._subscriber.acknowledged((packet.packet_id,))

    def _released(self, packet: PubRel) -> None:
        self._publish_handler.release(packet)

    def _subscribe(self, packet: Subscribe) -> None:
        self._subscriber.subscribe(packet)
        self._responses.subscribed()

    def _unsubscribe(self, packet: Unsubscribe) -> None:
        self._subscriber.unsubscribe(packet)
        self._responses.subscribed()

    # What others tell this client; called by any thread

    def channel_made(self, log: Log) -> None:
        """Read a new channel from its beginning, if a subscription takes it in."""
        self._reader.resume(log, 0)

    def tell(
        self, topic: str, payload: bytes, *, retained: bool = False, properties: Properties = NONE, own: bool = False
    ) -> None:
        """Send something that matters just now, if the client has subscribed to it; `own` if it comes from itself."""
        found = self._subscriptions.matching(topic)
        if own:
            found = [each for each in found if not each.no_local]  # [MQTT-3.8.3-3]
        if found:
            retain = retained and any(each.retain_as_published for each in found)  # [MQTT-3.3.1-13]
            self._reader.tell(self._responses.message(topic, payload, retain=retain, properties=properties))

    # The rest

    def _ping(self, _packet: PingReq) -> None:
        self._reader.reply_bytes(b"\xd0\x00")

    def _disconnect(self, packet: Disconnect) -> None:
        interval = packet.properties.session_expiry_interval
        if interval is not None:
            if self._subscriber.expiry == 0 and interval:  # 5 §3.14.2.2.2: it cannot be made to last afterwards
                raise MqttError(Reason.PROTOCOL_ERROR, "A session that ends with its connection cannot be kept.")
            self._subscriber.expiry = min(interval, login.longest(self._chat.limits))
        if packet.reason == Reason.SUCCESS:
            self._will = None  # [MQTT-3.14.4-3]
        self._done = True

    def _authenticate_again(self, _packet: Auth) -> None:
        raise MqttError(Reason.PROTOCOL_ERROR, "There is no other authentication than user name and password.")


_Handler = Callable[[MqttSession, Any], None]

_HANDLERS: dict[type[msgspec.Struct], _Handler] = {
    Connect: MqttSession._connect,
    PubAcks: MqttSession._acknowledged,
    PubAck: MqttSession._acknowledged_with_reason,
    PubRel: MqttSession._released,
    Subscribe: MqttSession._subscribe,
    Unsubscribe: MqttSession._unsubscribe,
    PingReq: MqttSession._ping,
    Disconnect: MqttSession._disconnect,
    Auth: MqttSession._authenticate_again,
}
