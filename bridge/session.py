"""Floor 3: the session of one MQTT client: packets in, packets out, and what the server keeps for it while it is away.

What it publishes becomes requests of the same session that serves every other door (channels/session.py); the answers
become acknowledgements and messages (answers.py); the entries that it subscribed to come from its reader (reader.py).
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from typing import Any

import msgspec

from channels import accounts
from channels.chat import Chat
from channels.directory import User
from channels.log import Log
from channels.reader import Outlet
from channels.session import Session
from store import Account, Client, Store
from wire import VERSION
from wire.errors import PeerError, Refused
from wire.frames import Error, Register, Request, Say, Welcome
from wire.limits import Limits
from wire.mqtt import MqttError, MqttPackets, encode, goodbye, publish
from wire.mqtt_codes import V5, Reason
from wire.mqtt_packets import (
    Auth,
    ConnAck,
    Connect,
    Disconnect,
    PingReq,
    PubAck,
    PubAcks,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    UnsubAck,
    Unsubscribe,
    Will,
)
from wire.mqtt_properties import NONE, Properties
from wire.names import NAME

from .answers import Answers, Context
from .hub import Hub
from .reader import MqttReader
from .subscriptions import Subscriptions
from .topics import Gone, Here, Live

log_ = logging.getLogger("partyline.mqtt")

TOPIC_ALIASES = 64  # that a client may use (5 §3.2.2.3.8)
_FOREVER = 0xFFFF_FFFF  # the Session Expiry Interval of a session that does not expire (5 §3.1.2.11.2)
_LEAST_ROOM = 40_000  # bytes: with a smaller Maximum Packet Size, some entry could be too large for the client


class MqttSession:
    """A speaker (see doors/speaker.py). What is not marked otherwise is called by the connection's own thread."""

    __slots__ = (
        "_account", "_answers", "_chat", "_client_id", "_connected", "_expiry", "_heard", "_hub", "_keep_alive", "_key",
        "_outlet", "_packets", "_reader", "_session", "_subscriptions", "_will", "done",
    )  # fmt: skip

    def __init__(self, hub: Hub, chat: Chat, outlet: Outlet, address: str) -> None:
        self._hub = hub
        self._chat = chat
        self._outlet = outlet
        self._packets = MqttPackets(chat.limits.payload, topic_alias_maximum=TOPIC_ALIASES)
        self._subscriptions = Subscriptions(hub.topics)
        self._answers = Answers(hub.topics, self._subscriptions.hears)
        self._reader = MqttReader(outlet, self._answers, self._subscriptions.view_of)
        self._session = Session(chat, self._reader, "mqtt", address)
        self.done = False
        self._connected = False  # a CONNACK has accepted
        self._client_id = ""
        self._key = ""  # of what the server keeps: user/client id
        self._expiry: int | None = 0  # seconds that the session is kept after the connection; None: for ever
        self._keep_alive: float | None = None
        self._will: tuple[Request | Live, int] | None = None  # with its delay in seconds
        self._heard: dict[str, str] = {}  # topics to say something in a channel that was joined, and the channel

    # What the door asks

    @property
    def patience(self) -> float | None:
        """Until CONNECT, the time to log in; then one and a half times the keep-alive ([MQTT-3.1.2-22])."""
        return self._keep_alive if self._connected else self._chat.limits.login_seconds

    @property
    def user_key(self) -> str:
        """Whose session it is; empty before CONNECT."""
        return self._reader.user_key

    def receive(self, data: bytes) -> None:
        """Do what the packets ask; PUBLISHes that follow each other go to the session as one run."""
        requests: list[Request] = []
        for item in self._packets.receive(data):
            if type(item) is Publish and self._connected:
                self._published(item, requests)
                continue
            if requests:
                self._handle(requests)
                requests = []
            if isinstance(item, MqttError):
                raise item
            self._handle_packet(item)
            if self.done:
                return
        if requests:
            self._handle(requests)

    def _handle(self, requests: list[Request]) -> None:
        self._session.handle(requests)
        if self._session.done:
            self.done = True
        if self._answers.broken:
            raise PeerError("not-stored", "Something was not kept; connect again and send it again.")

    def _handle_packet(self, packet: Any) -> None:
        handler = _HANDLERS.get(type(packet))
        if handler is None:
            raise MqttError(Reason.PROTOCOL_ERROR, f"{type(packet).__name__} is not expected here.")
        if self._connected or type(packet) is Connect:
            handler(self, packet)

    def overdue(self) -> PeerError:
        """What to tell a client that was silent for too long."""
        return MqttError(Reason.KEEP_ALIVE_TIMEOUT, "Nothing came for one and a half times the keep-alive.")

    def fail(self, error: PeerError) -> None:
        """Say why the connection ends, as far as the version has words for it."""
        reason = error.reason if isinstance(error, MqttError) else Reason.UNSPECIFIED_ERROR
        version = (error.version if isinstance(error, MqttError) else 0) or self._packets.version
        self._reader.reply_bytes(
            goodbye(version, reason, error.sentence, connected=self._connected, limit=self._answers.limit)
        )

    def dismiss(self) -> None:
        """The server goes down: tell those who listen, and say goodbye."""
        self.tell(self._hub.topics.server, b"offline")
        self._will = None  # the client is not to blame
        self.fail(MqttError(Reason.SERVER_SHUTTING_DOWN, "The server is going down."))

    def hang_up(self) -> None:
        """Called by any thread: have the connection's own thread end it."""
        self._session.hang_up()

    def walk(self, store: Store, limits: Limits) -> None:
        """Called by the pump: send what the client has not had yet."""
        self._reader.walk(store, limits)

    def discard(self) -> None:
        """Called by any thread: send nothing more."""
        self._reader.close()

    def parted(self) -> None:
        """Keep what the client's machine took in the end."""
        self._session.parted()

    def close(self) -> None:
        """The connection has ended: publish the will, keep the session if it is to be kept, let go of the name."""
        self._session.settle()
        user = self._session.user
        if user is None:
            self._session.close()
            return
        kept = self._expiry != 0
        current = self._hub.remove(self._key, self, self._reader.sent() if kept else None)
        self._publish_will(user)
        self._session.close()
        if not current:
            return  # taken over: the session lives on in another connection
        if kept:
            self._save(until=None if self._expiry is None else _now() + self._expiry * 1000)
        else:
            self._chat.store.drop_client(self._key)

    def _publish_will(self, user: User) -> None:
        if self._will is None:
            return
        request, delay = self._will
        delay = delay if self._expiry is None else min(delay, self._expiry)
        hub, name = self._hub, user.name
        if delay:
            hub.delay_will(self._key, delay, lambda: hub.last_words(name, request))
        else:
            hub.last_words(name, request)

    # CONNECT

    def _connect(self, packet: Connect) -> None:
        self._answers.version = packet.version
        properties = packet.properties
        if properties.authentication_method is not None:
            raise MqttError(Reason.BAD_AUTHENTICATION_METHOD, "Log in with user name and password.")
        assigned = "" if packet.client_id else f"auto-{secrets.token_hex(8)}"
        self._client_id = packet.client_id or assigned
        account, proven = self._authenticate(packet)
        me = self._answers.me = account.name
        if packet.will is not None:
            self._will = self._parse_will(packet.will, me)
        self._key = f"{account.key}/{self._client_id}"
        memberships = self._enter(account, proven=proven)
        self._answers.limit = properties.maximum_packet_size or 0
        limit = self._answers.limit if self._answers.limit < _LEAST_ROOM else 0
        self._subscriptions.open(packet.version, me, account.key, limit)
        if properties.receive_maximum:
            self._reader.limit_flight(properties.receive_maximum)
        self._expiry = _expiry(packet)
        present = self._restore(clean=packet.clean)
        if packet.keep_alive:
            self._keep_alive = packet.keep_alive * 1.5
        self._reader.reply_bytes(encode(ConnAck(0, present, self._terms(packet, assigned)), packet.version))
        self._connected = True
        self._session.catch_up(self._session.user, memberships, {})  # type: ignore[arg-type]
        if present:
            self._resume()

    def _authenticate(self, packet: Connect) -> tuple[Account, bool]:
        """Whose name the client takes, and whether it has proved that it may."""
        if packet.username is None:
            return self._guest(), False
        if not NAME.fullmatch(packet.username):
            sentence = "The user name is your name: 1 to 32 letters, digits, - and _."
            raise MqttError(Reason.BAD_USER_NAME_OR_PASSWORD, sentence)
        account = self._chat.store.open_account(packet.username)
        if account.password is None:
            return account, False
        password = (packet.password or b"").decode(errors="replace")
        if not accounts.fits(password, account.password):
            sentence = f"{account.name} is registered, and that is not the password."
            raise MqttError(Reason.BAD_USER_NAME_OR_PASSWORD, sentence)
        return account, True

    def _guest(self) -> Account:
        """A name for a client that gave none: its client id if that is a free name, or else a new one."""
        store, directory = self._chat.store, self._chat.directory
        name = self._client_id
        mine = self._hub.find(f"{name.casefold()}/{name}") is not None
        if NAME.fullmatch(name) and (mine or directory.find(name.casefold()) is None):
            account = store.open_account(name)
            if account.password is None:
                return account
        return store.open_account(f"guest-{secrets.token_hex(4)}")

    def _enter(self, account: Account, *, proven: bool) -> list[Any]:
        """Take the name, and the client id's session from an older connection of the same user."""
        old = self._hub.find(self._key)
        holder = self._chat.directory.find(account.key)
        token = holder.token if old is not None and holder is not None and account.password is None else None
        try:
            _, memberships = self._session.enter(account, token, proven=proven)
        except Refused as refused:
            raise MqttError(Reason.NOT_AUTHORIZED, refused.sentence) from refused
        old = self._hub.add(self._key, self)
        if old is not None:
            old.taken_over()
        return memberships

    def taken_over(self) -> None:
        """Called by another connection's thread: the same user has connected with the same client id."""
        self._reader.reply_bytes(goodbye(self._answers.version, Reason.SESSION_TAKEN_OVER, limit=self._answers.limit))
        self.hang_up()

    def _parse_will(self, will: Will, me: str) -> tuple[Request | Live, int]:
        """A will is held to the rules of a PUBLISH, at CONNECT already."""
        try:
            request = self._hub.topics.request(will.topic, will.payload, me)
        except Refused as refused:
            raise MqttError(Reason.NOT_AUTHORIZED, f"The will: {refused.sentence}") from refused
        return request, will.properties.will_delay_interval or 0

    def _terms(self, packet: Connect, assigned: str) -> Properties:
        """What a client of MQTT 5 is told: what there is not, and what it asked for."""
        if packet.version != V5:
            return NONE
        return Properties(
            shared_subscription_available=0,
            subscription_identifier_available=0,
            topic_alias_maximum=TOPIC_ALIASES,
            maximum_packet_size=self._chat.limits.payload,
            assigned_client_identifier=assigned or None,
            response_information=self._hub.topics.to(self._answers.me)
            if packet.properties.request_response_information
            else None,
            user_property=(("name", self._answers.me), ("server", f"partyline {VERSION}")),
        )

    def _restore(self, *, clean: bool) -> bool:
        """Take up the session that was kept, or begin a new one; whether there was one."""
        store = self._chat.store
        kept = None if clean else store.client(self._key, _now())
        if kept is None:
            store.drop_client(self._key)
        else:
            self._subscriptions.restore(kept.state)
        if self._expiry != 0:
            self._save(until=None)
        return kept is not None

    def _save(self, until: int | None) -> None:
        self._chat.store.save_client(Client(self._key, self._expiry, until, self._subscriptions.dump()))

    def _resume(self) -> None:
        """Go on where the client's acknowledgements ended: what it had not acknowledged comes again (§4.4)."""
        cursors = self._chat.store.client_cursors(self._key)
        sent = self._hub.sent(self._key)
        for log in self._chat.all_channels():
            view = self._subscriptions.view_of(log)
            if view is None:
                continue
            if not view.acknowledged:
                self._reader.follow(log, log.tail)
            else:
                after = cursors.get(log.row.id, 0)
                self._reader.resume(log, after, log.tail if sent is None else sent.get(log.row.id, 0))

    # PUBLISH

    def _published(self, packet: Publish, requests: list[Request]) -> None:
        """Add what a PUBLISH asks to the requests."""
        channel = self._heard.get(packet.topic)
        if channel is not None and packet.qos < 2 and packet.properties == NONE and packet.payload[:1] != b"{":
            size = len(packet.payload)
            if 0 < size <= self._chat.limits.line:
                try:
                    ref = packet.qos << 16 | packet.packet_id if packet.qos else None
                    requests.append(Say(packet.payload.decode(), channel, None, ref=ref))
                except UnicodeDecodeError:
                    pass
                else:
                    return
        try:
            request = self._request(packet, requests)
        except Refused as refused:
            self._settle(requests)
            self._refuse(packet, refused)
            return
        if request is not None:
            requests.append(request)

    def _settle(self, requests: list[Request]) -> None:
        """Have what came before done, so that acknowledgements keep their order ([MQTT-4.6.0-2])."""
        if requests:
            self._handle(requests[:])
            requests.clear()
        self._session.settle()

    def _request(self, packet: Publish, requests: list[Request]) -> Request | None:
        if len(packet.payload) > self._chat.limits.line:
            raise Refused("too-long", f"A message has at most {self._chat.limits.line} bytes.")
        me = self._answers.me
        request = self._hub.topics.request(packet.topic, packet.payload, me)
        context = Context(
            packet.topic, self._response_topic(packet.properties.response_topic), packet.properties.correlation_data
        )
        if isinstance(request, Live):
            self._hub.straight(me, request)
            self._accept(packet, requests)
            return None
        if isinstance(request, Here | Gone):
            self._accept(packet, requests)
            if isinstance(request, Gone):
                self._disconnected()
            else:
                self._introduce(context)
            return None
        if isinstance(request, Register):
            self._check_register()
        if isinstance(request, Say):
            request.channel = self._join(request.channel, packet.topic, requests)
        if packet.qos == 2 and getattr(request, "id", "") is None:
            request.id = f"/{self._client_id}/{packet.packet_id}"  # type: ignore[attr-defined]
        if packet.qos or not isinstance(request, Say) or self._subscriptions.hears(f"{self._hub.topics.to(me)}/stored"):
            request.ref = self._answers.ref(packet.packet_id, packet.qos, context)
        return request

    def _response_topic(self, topic: str | None) -> str | None:
        """Answers go to where the client alone reads; another response topic is passed over."""
        return topic if topic is not None and topic.startswith(f"{self._hub.topics.to(self._answers.me)}/") else None

    def _join(self, channel: str, topic: str, requests: list[Request]) -> str:
        """Saying something joins."""
        user = self._session.user
        assert user is not None
        log = self._chat.channel(channel)
        if log is None or log not in user.joined:
            self._settle(requests)
            log = self._chat.join(channel, user)
        if len(self._heard) < 1_000:
            self._heard[topic] = log.row.name
        return log.row.name

    def _check_register(self) -> None:
        if self._session.user is not None and self._session.user.registered:
            raise Refused("not-allowed", "The name is registered already; its password is changed in a terminal.")

    def _introduce(self, context: Context) -> None:
        user = self._session.user
        assert user is not None
        welcome = Welcome(
            name=user.name, server=f"partyline {VERSION}", token="", registered=user.registered,
            ref=self._answers.ref(0, 0, context),
        )  # fmt: skip
        self._reader.reply(welcome)

    def _accept(self, packet: Publish, requests: list[Request]) -> None:
        """Acknowledge what has no answer of its own."""
        self._settle(requests)
        if packet.qos:
            answer = PubAck(packet.packet_id) if packet.qos == 1 else PubRec(packet.packet_id)
            self._reader.reply_bytes(encode(answer, self._answers.version))

    def _refuse(self, packet: Publish, refused: Refused) -> None:
        ref = self._answers.ref(packet.packet_id, packet.qos, Context(packet.topic))
        self._reader.reply(Error(code=refused.code, error=refused.sentence, ref=ref))

    def _released(self, packet: PubRel) -> None:
        """The second half of QoS 2: the packet identifier is free for another message (§4.3.3)."""
        self._session.settle()
        self._chat.store.forget_id(self._reader.user_key, f"/{self._client_id}/{packet.packet_id}")
        self._reader.reply_bytes(encode(PubComp(packet.packet_id), self._answers.version))

    # PUBACK

    def _acknowledged(self, packet: PubAcks) -> None:
        self._move(packet.packet_ids)

    def _acknowledged_with_reason(self, packet: PubAck) -> None:
        self._move((packet.packet_id,))

    def _move(self, packet_ids: tuple[int, ...]) -> None:
        for log, number in self._reader.acknowledged(packet_ids).items():
            if log.channel is None:
                self._chat.journal.move(log, self._reader.user_key, number)
            elif self._expiry != 0:
                self._chat.journal.move(log, self._key, number)
        self._chat.journal.carry()

    # SUBSCRIBE and UNSUBSCRIBE

    def _subscribe(self, packet: Subscribe) -> None:
        if packet.properties.subscription_identifier:
            sentence = "Subscription identifiers are not available here."
            raise MqttError(Reason.SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED, sentence)
        self._session.settle()
        known = [self._subscriptions.has(each.filter) for each in packet.subscriptions]
        reasons = tuple([self._subscriptions.add(each) for each in packet.subscriptions])
        granted = [each for each, reason in zip(packet.subscriptions, reasons, strict=True) if reason < 0x80]
        logs = [log for log in self._chat.all_channels() if self._subscriptions.view_of(log) is not None]
        if self._expiry != 0:
            fresh = [log for log in logs if not self._reader.follows(log)]
            self._chat.store.move({(log.row.id, self._key): log.tail for log in fresh}, {})
            self._save(until=None)
        for log in logs:
            self.consider(log)
        if any(self._subscriptions.is_for_messages(each.filter) for each in granted):
            self._follow_messages()
        self._reader.reply_bytes(encode(SubAck(packet.packet_id, reasons), self._answers.version))
        for each, was_known in zip(packet.subscriptions, known, strict=True):
            if each in granted and (each.retain_handling == 0 or (each.retain_handling == 1 and not was_known)):
                self._send_retained(each.filter, min(each.qos, 1))

    def _follow_messages(self) -> None:
        """Direct conversations come from where the user has acknowledged them: all that was kept."""
        user = self._session.user
        assert user is not None
        memberships = [each for each in self._chat.store.memberships(user.key) if each.log.kind == "direct"]
        self._session.catch_up(user, memberships, {})

    def _send_retained(self, topic_filter: str, qos: int) -> None:
        for topic, payload in self._hub.retained(topic_filter):
            if self._subscriptions.matches(topic_filter, topic):
                packet = publish(topic.encode(), payload, retain=True, version=self._answers.version)
                self._reader.reply_bytes(packet)

    def _unsubscribe(self, packet: Unsubscribe) -> None:
        reasons = tuple([self._subscriptions.remove(each) for each in packet.filters])
        for log in self._reader.followed():
            self._reader.change(log, self._subscriptions.view_of(log))
        if self._expiry != 0:
            self._save(until=None)
        self._reader.reply_bytes(encode(UnsubAck(packet.packet_id, reasons), self._answers.version))

    # What others tell this client; called by any thread

    def consider(self, log: Log) -> None:
        """Read a channel, if a subscription takes it in; or read it in another view."""
        view = self._subscriptions.view_of(log)
        if view is None:
            return
        if self._reader.follows(log):
            self._reader.change(log, view)
        else:
            self._reader.follow(log, log.tail)

    def tell(self, topic: str, payload: bytes) -> None:
        """Send something that matters just now, if the client has subscribed to it."""
        if self._subscriptions.hears(topic):
            packet = publish(topic.encode(), payload, version=self._answers.version)
            if not self._answers.limit or len(packet) <= self._answers.limit:
                self._reader.notify_bytes(packet)

    # The rest

    def _ping(self, _packet: PingReq) -> None:
        self._reader.reply_bytes(b"\xd0\x00")

    def _disconnect(self, packet: Disconnect) -> None:
        expiry = packet.properties.session_expiry_interval
        if expiry is not None:
            if self._expiry == 0 and expiry:  # [MQTT-3.1.2-23] of 5: it cannot be made to last afterwards
                raise MqttError(Reason.PROTOCOL_ERROR, "A session that ends with its connection cannot be kept.")
            self._expiry = None if expiry == _FOREVER else expiry
        if packet.reason != Reason.DISCONNECT_WITH_WILL_MESSAGE:
            self._will = None  # [MQTT-3.14.4-3]
        self.done = True

    def _disconnected(self) -> None:
        self._will = None
        self.done = True

    def _authenticate_again(self, _packet: Auth) -> None:
        raise MqttError(Reason.PROTOCOL_ERROR, "There is no other authentication than user name and password.")


def _expiry(packet: Connect) -> int | None:
    """Seconds that the session is kept (3.1.1 §3.1.2.4; 5 §3.1.2.11.2); None: for ever."""
    if packet.version != V5:
        return 0 if packet.clean else None
    interval = packet.properties.session_expiry_interval or 0
    return None if interval == _FOREVER else interval


def _now() -> int:
    return time.time_ns() // 1_000_000


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
