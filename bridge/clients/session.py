"""Floor 3: the session of one connected MQTT client: packets in, packets out.

The packets that it publishes become requests (publish.py) of the session that every door has (channels/session.py). The
answers become acknowledgements and messages (responses.py). The entries that it has subscribed to come from its reader
(delivery.py). The server keeps its subscriptions and cursors while it is away (session_state.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import msgspec

from channels import REQUESTS, Chat, Log, Outlet, Session, SessionReport
from reporting import events, report
from store import Entries, StoreError
from wire.errors import PeerError
from wire.limits import Limits
from wire.mqtt import (
    NONE,
    PINGRESP,
    V5,
    V311,
    Auth,
    Bounds,
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
from wire.topics import ServerState

from .connect import TOPIC_ALIASES, Login, expiry, log_in, longest_expiry, welcome
from .delivery import MqttReader
from .encoding import largest_packet
from .interest import Interest
from .publish import PublishHandler
from .registry import TakenOver
from .responses import Responses
from .session_state import SessionState
from .shared import SharedState
from .subscribe import SubscribeHandler
from .subscriptions import Subscriptions
from .wills import LastWill, WillOwner

_PINGREQ = b"\xc0\x00"
_PINGS = 64  # bytes that may be nothing but PINGREQs, of which a flood is not decoded
_TOGETHER = 16  # PINGREQs that are answered together
_PROTOCOLS = {V5: "mqtt-5", V311: "mqtt-3.1.1"}  # in the operator's log


class MqttSession:
    """A speaker (doors/speaker.py). The connection's own thread calls every method that does not name another."""

    __slots__ = (
        "_chat", "_deadline", "_keep_alive", "_key", "_packets", "_publish_handler", "_reader", "_report",
        "_responses", "_session", "_shared", "_state", "_subscribe_handler", "_subscriptions", "_will", "address",
    )  # fmt: skip

    def __init__(self, shared: SharedState, chat: Chat, outlet: Outlet, report: SessionReport) -> None:
        self._shared = shared
        self._chat = chat
        limits = chat.limits
        bounds = Bounds(limits.topic_bytes, limits.filters, limits.user_properties, limits.login_bytes)
        self._packets = MqttPackets(chat.limits.payload, topic_alias_maximum=TOPIC_ALIASES, bounds=bounds)
        registry = shared.registry
        self._subscriptions = Subscriptions(
            shared.topics, limits, shared.filter_budget, Interest(registry.presence, self),
            Interest(registry.channels, self),
        )  # fmt: skip
        self._responses = Responses(shared.topics, self._subscriptions.is_subscribed, outlet.hang_up)
        self._reader: MqttReader[Log] = MqttReader(
            outlet, self._responses, self._subscriptions.encoding_of, chat.limits.backlog
        )
        self._report = report
        self._session = Session(chat, self._reader, "mqtt", self._report)
        self._session.shortcut = self._responses.pubacks
        self._state = SessionState(shared, self._reader, self._subscriptions, self._session.number)
        self._publish_handler = PublishHandler(shared, self._session, self._responses)
        self._subscribe_handler = SubscribeHandler(
            shared, self._session, self._reader, self._subscriptions, self._state, self._responses
        )
        self.address = report.address
        self._key = ""  # in the registry and in the store; empty before CONNECT
        self._deadline = time.monotonic() + chat.limits.login_seconds
        self._keep_alive: float | None = None
        self._will: LastWill | None = None

    # Packets in

    @property
    def done(self) -> bool:
        """True if nothing more is to be read from the client."""
        return self._session.done or self._publish_handler.gone

    @property
    def patience(self) -> float | None:
        """Seconds to log in until CONNECT; then one and a half times the keep-alive ([MQTT-3.1.2-22])."""
        return self._keep_alive if self._responses.connected else max(0.0, self._deadline - time.monotonic())

    def receive(self, data: bytes) -> None:
        """Handle the packets. The session gets PUBLISHes that follow each other as one run."""
        if len(data) > _PINGS and self._packets.between:  # to decode so many packets would take some time
            count = len(data) // 2
            if data[: 2 * count] == _PINGREQ * count:
                self._ping(count)
                data = data[2 * count :]
        take = self._publish_handler.take
        self._session.note_read()
        pings = 0  # PINGREQs that follow each other, which are answered together
        try:
            for item in self._packets.receive(data):
                if type(item) is Publish:
                    take(item)
                    continue
                self._publish_handler.flush()
                if type(item) is PingReq:
                    pings += 1
                    continue
                self._ping(pings)
                pings = 0
                if isinstance(item, MqttError):
                    raise item
                if self.done:
                    return
                self._handle(item)
                self._reader.wait_for_room(self._chat.limits.backlog)
                if self._session.done:
                    return  # ignore what follows a DISCONNECT ([MQTT-3.14.4-2])
            self._publish_handler.flush()
            self._ping(pings)
            self._session.await_payload(self._packets.awaited)
        except StoreError as error:
            if not self._responses.connected:
                raise MqttError(Reason.SERVER_UNAVAILABLE, f"The server cannot log you in now: {error.told}") from error
            raise PeerError("not-stored", f"It was not stored: {error.told}") from error
        self._reader.wait_for_room(self._chat.limits.backlog)

    def _handle(self, packet: Any) -> None:
        handler = _HANDLERS.get(type(packet))
        if handler is None:
            raise MqttError(Reason.PROTOCOL_ERROR, f"{type(packet).__name__} is not expected here.")
        handler(self, packet)

    def input_ended(self) -> None:
        """Discard an incomplete packet: the client has ended its side."""

    # CONNECT

    def _connect(self, packet: Connect) -> None:
        try:
            self._open(packet)
        except TakenOver:
            raise MqttError(Reason.SERVER_BUSY, "The same client has connected once more.") from None

    def _open(self, packet: Connect) -> None:
        """Log in and open the session. Raises TakenOver, MqttError, StoreError."""
        self._responses.limit = packet.properties.maximum_packet_size or 0  # first, as it holds for a refusal, too
        self._report.protocol, self._report.client = _PROTOCOLS[packet.version], packet.client_id
        self._shared.partings.opened(self._session.number)
        with self._one_login_at_a_time(packet):
            login = log_in(self._shared, self._session, packet, self.address)
            self._will = login.will
            self._responses.open(packet, login.me, self._session.user)
            self._set_limits(packet, login)
            previous, sent = self._shared.registry.add(login.key, self)
            self._key = login.key
        if previous is not None:
            previous.taken_over(self.address, clean=packet.clean)
        will = self._will
        delay = min(will.delay, self._state.expiry) if will is not None else 0
        self._shared.wills.connected(self._will_owner(login.account.name), will, delay, clean=packet.clean)
        self._shared.partings.wait(self._session.instead)
        wanted = self._state.expiry
        present = self._state.open(self._key, sent, clean=packet.clean)
        if self._state.expiry != wanted:
            self._report.limit_reached("sessions")
        self._publish_handler.open(login.client_id)
        self._responses.subscriptions_changed()
        self._reader.reply_bytes(
            welcome(self._shared.topics, packet, login, self._chat.limits, self._state.expiry, present=present)
        )
        self._responses.connected = True
        self._subscribe_handler.follow_private_logs()

    def _one_login_at_a_time(self, packet: Connect) -> AbstractContextManager[None]:
        """Return the context of a login. A client without a client id is never another connection's client."""
        if not packet.client_id:
            return nullcontext()
        return self._shared.registry.logging_in(self.address, packet.username or "", packet.client_id)

    def _set_limits(self, packet: Connect, login: Login) -> None:
        """Note how much the client takes, how long it may be silent, and how long its state is kept."""
        properties = packet.properties
        self._state.expiry = expiry(packet, self._chat.limits)
        self._keep_alive = packet.keep_alive * 1.5 or None
        limit = self._responses.limit if self._responses.limit < largest_packet(self._chat.limits) else 0
        one_at_a_time = properties.receive_maximum == 1
        network = self._session.network or ""
        self._subscriptions.open(
            packet.version, login.me, login.account, limit, network=network, one_at_a_time=one_at_a_time
        )
        if properties.receive_maximum:
            self._reader.limit_flight(properties.receive_maximum)

    # PUBREL, PUBACK, SUBSCRIBE, UNSUBSCRIBE, PINGREQ, DISCONNECT, AUTH

    def _release(self, packet: PubRel) -> None:
        self._session.check_rate(REQUESTS)
        self._publish_handler.release(packet)

    def _take_pubacks(self, packet: PubAcks) -> None:
        self._state.take_pubacks(packet.packet_ids)

    def _take_puback(self, packet: PubAck) -> None:
        self._state.take_pubacks((packet.packet_id,))

    def _subscribe(self, packet: Subscribe) -> None:
        self._subscribe_handler.subscribe(packet)
        self._responses.subscriptions_changed()

    def _unsubscribe(self, packet: Unsubscribe) -> None:
        self._subscribe_handler.unsubscribe(packet)
        self._responses.subscriptions_changed()

    def _ping(self, count: int) -> None:
        """Answer so many PINGREQs, until the connection has ended, which their limit would hold up."""
        while count and not self._session.ending:
            some = min(count, _TOGETHER)
            self._session.check_rate(REQUESTS, some)
            self._reader.reply_bytes(PINGRESP * some)
            count -= some

    def _disconnect(self, packet: Disconnect) -> None:
        interval = packet.properties.session_expiry_interval
        if interval is not None:
            if self._state.expiry == 0 and interval:  # 5 §3.14.2.2.2
                raise MqttError(Reason.PROTOCOL_ERROR, "A session that ends with its connection cannot be kept.")
            self._state.expiry = min(interval, longest_expiry(self._chat.limits))
        if packet.reason == Reason.SUCCESS:
            self._will = None  # [MQTT-3.14.4-3]
        self._session.done = True

    def _authenticate_again(self, _packet: Auth) -> None:
        raise MqttError(Reason.PROTOCOL_ERROR, "Only user name and password are supported for authentication.")

    # The other clients and the server's state, as a ConnectedClient (registry.py): called by any thread

    @property
    def user_key(self) -> str:
        """The key of the user who has logged in; empty before CONNECT."""
        return self._reader.user_key

    @property
    def me(self) -> str:
        """The name of the user as the client writes it in topics; empty before CONNECT."""
        return self._responses.me

    @property
    def replaced(self) -> bool:
        """True if the connection was taken over, at this server or at another one."""
        return self._session.taken_over

    def taken_over(self, by: str, *, clean: bool) -> None:
        """End the connection: the same client has connected again from `by`, with or without a clean start."""
        will = self._will
        if will is not None and will.delay:  # a clean start ends the session, so the will is due; else it is dropped
            self._will = replace(will, delay=0) if clean else None
        self._session.replaced(by)

    def channel_made(self, log: Log) -> None:
        """Read a new channel from its first entry, if a subscription matches it."""
        self._reader.resume(log, *self._state.start_of(log))

    def channel_removed(self, log: Log) -> None:
        """Forget a channel that has left the store."""
        self._reader.drop(log)

    def send_message(
        self, topic: str, payload: bytes, *, retained: bool = False, properties: Properties = NONE, own: bool = False
    ) -> None:
        """Send a message at QoS 0 if a subscription matches its topic. `own` is True if the client published it."""
        found = self._subscriptions.matching(topic)
        if own:
            found = [each for each in found if not each.no_local]  # [MQTT-3.8.3-3]
        if found:
            retain = retained and any(each.retain_as_published for each in found)  # [MQTT-3.3.1-13]
            self._reader.send_or_drop(self._responses.message(topic, payload, retain=retain, properties=properties))

    # The end

    def overdue(self) -> PeerError:
        """Return the error of a client that was silent for longer than `patience`."""
        return MqttError(Reason.KEEP_ALIVE_TIMEOUT, "No packet came within one and a half times the keep-alive.")

    def fail(self, error: PeerError) -> None:
        """Tell the operator why the connection ends, and the client if its version has a packet for that.

        A refused login is in the log already.
        """
        if self._responses.connected or not self._report.user:
            self._report.cut_off(error)
        self._say_goodbye(error)

    def _say_goodbye(self, error: PeerError) -> None:
        reason = error.reason if isinstance(error, MqttError) else Reason.UNSPECIFIED_ERROR
        version = (error.version if isinstance(error, MqttError) else 0) or self._packets.version
        self._reader.reply_bytes(self._responses.goodbye(reason, error.sentence, version))

    def refuse(self, data: bytes, error: PeerError) -> None:
        """Tell the client why it is turned away, in the version of its CONNECT."""
        self._packets.receive(data)
        self._report.protocol = _PROTOCOLS.get(self._packets.version, self._report.protocol)
        self.fail(MqttError(Reason.NOT_AUTHORIZED, error.sentence, code=error.code))

    def dismiss(self) -> None:
        """Tell the client that the server is shutting down. Its will is dropped, as the client has not failed."""
        self.send_message(*self._shared.topics.state(ServerState(online=False)), retained=True)
        self._will = None
        self._say_goodbye(MqttError(Reason.SERVER_SHUTTING_DOWN, "The server is going down."))

    def hang_up(self) -> None:
        """Have the connection's own thread read nothing more and end it. Any thread may call it."""
        self._session.hang_up()

    def walk(self, store: Entries, limits: Limits) -> None:
        """Send what the client has not been sent yet. Called by the pump."""
        self._reader.walk(store, limits)

    def stop_sending(self) -> None:
        """Send nothing more. Any thread may call it."""
        self._reader.close()

    def close(self) -> None:
        """Release the name, publish the will, and keep the session state or drop it: the connection has ended.

        The name is released first: a client that connects again finds this connection, which it takes over, or a free
        name.
        """
        self._session.close()
        self._subscriptions.end()
        try:
            self._close_client()
        finally:
            self._subscriptions.close()
            if self._shared.partings.closed(self._session.number):
                self._shared.registry.forget([self._key])  # it is at the server that waits

    def _close_client(self) -> None:
        if not self._key:
            return
        try:
            self._state.take_pubacks(())
            with self._shared.registry.parting(self._key, self) as current:
                self._publish_will()
                if current:  # else another connection has taken the session over
                    posted_once, elsewhere = self._publish_handler.posted_once, self._session.gone_elsewhere
                    self._state.close(posted_once=posted_once, elsewhere=elsewhere)
        except StoreError as error:
            report(events.StoreProblem(str(error), f"The session of {self._key} may be incomplete."))

    def _will_owner(self, name: str) -> WillOwner:
        return WillOwner(self._key, self._session.number, name, self._session.has_wills)

    def _publish_will(self) -> None:
        will, user = self._will, self._session.user
        if user is None:
            return
        who = self._will_owner(user.name)
        if will is None or not self._responses.connected or self._publish_handler.gone:
            self._shared.wills.dropped(who)  # [MQTT-3.1.2-8]
        elif not self._shared.wills.lost(who, will, min(will.delay, self._state.expiry), lambda: self._will is will):
            self._publish_will()  # `taken_over` has dropped the will meanwhile, or has made it due

    def note_last_read(self) -> None:
        """Store how far the client's machine has acknowledged what it was sent: that is final now."""
        self._session.note_last_read()


_Handler = Callable[[MqttSession, Any], None]

_HANDLERS: dict[type[msgspec.Struct], _Handler] = {  # `receive` handles PUBLISH
    Connect: MqttSession._connect,
    PubRel: MqttSession._release,
    PubAcks: MqttSession._take_pubacks,
    PubAck: MqttSession._take_puback,
    Subscribe: MqttSession._subscribe,
    Unsubscribe: MqttSession._unsubscribe,
    Disconnect: MqttSession._disconnect,
    Auth: MqttSession._authenticate_again,
}
