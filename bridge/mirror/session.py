"""Floor 3: the mirror's MQTT session at the broker: CONNECT, its subscriptions, and the packets of each connection."""

from __future__ import annotations

import time
from collections.abc import Callable
from urllib.parse import quote

from bridge.clients import SUBSCRIBE_ID, UNSUBSCRIBE_ID
from channels import Chat
from store import Client
from wire.clock import now
from wire.errors import Refused
from wire.mqtt import (
    NONE,
    PINGREQ,
    PUBACK_SIZE,
    V5,
    ConnAck,
    Connect,
    Disconnect,
    Item,
    MqttError,
    MqttPackets,
    Oversized,
    PingResp,
    Properties,
    PubAck,
    PubAcks,
    Publish,
    PubRel,
    Reason,
    SubAck,
    Subscribe,
    Subscription,
    Unsubscribe,
    Unusable,
    Will,
    encode,
    encode_pubcomp,
)
from wire.topics import ServerState, Topics

from .address import Broker
from .connection import BrokerConnection, reason_text
from .incoming import MirrorIncoming
from .live import MirrorLive
from .outgoing import MirrorReader, UserLog
from .presence import MirrorPresence
from .progress import MirrorProgress
from .sender import KEEP_ALIVE, MirrorSender
from .status import MirrorStatus
from .users import MirrorUsers

_NEVER = 0xFFFF_FFFF  # a session expiry interval (5 §3.1.2.11.2)
_STORE_PERIOD = 0.05  # seconds in which acknowledgements in channels are gathered; after a crash these come again
_MANY = 1_024  # packets in flight that the broker may keep waiting; above that, bytes of PUBACKs to wait for at once
_FEW = 17  # bytes to wait for otherwise: more than four PUBACKs, and less than any request
_GATHER = 0.005  # seconds to wait for so many bytes
_LONGEST = 3_600.0  # seconds of an outage for which users may deliver posts at once, also assumed before a start


class MirrorSession:
    """Serves one connection after the other, in the mirror's thread. The broker keeps the session between them."""

    def __init__(
        self, chat: Chat, topics: Topics, broker: Broker, sender: MirrorSender, users: MirrorUsers, live: MirrorLive,
        presence: MirrorPresence, progress: MirrorProgress, status: MirrorStatus,
    ) -> None:  # fmt: skip
        self._chat = chat
        self._topics = topics
        self._broker = broker
        self._sender = sender
        self._users = users
        self._live = live
        self._presence = presence
        self._progress = progress
        self._status = status
        self._incoming = MirrorIncoming(topics, sender, users, live, presence, status)
        self._away_since: float | None = None  # the end of the last connection; None before the first one
        self._subscribed_to_presence = False  # until the presence that the broker retained has come

    def connect_packet(self) -> Connect:
        """Return the CONNECT: always the same client id, a persistent session, and a will."""
        password, version = self._broker.password, self._sender.version
        return Connect(
            version=version,
            client_id=f"partyline-{quote(self._topics.root, safe='')}",
            clean=False,
            keep_alive=KEEP_ALIVE,
            username=self._broker.user,
            password=password.encode() if password is not None else None,
            will=Will(*self._topics.state(ServerState(online=False)), 1, True),
            properties=Properties(session_expiry_interval=_NEVER) if version == V5 else NONE,
        )

    def serve(
        self, connection: BrokerConnection, packets: MqttPackets, connack: ConnAck, items: list[Item],
        is_lost: Callable[[], bool],
    ) -> str:  # fmt: skip
        """Serve a connection until it ends, or until the turn to run the mirror `is_lost`; return why it ended.

        Raises MqttError, Refused, StoreError.
        """
        self._open(connection, connack)
        return self._receive_all(connection, packets, items, is_lost)

    def _open(self, connection: BrokerConnection, connack: ConnAck) -> None:
        """Subscribe, publish presence, and go on with each log where the broker's acknowledgements ended."""
        told, sender = connack.properties, self._sender
        if told.maximum_qos == 0:
            raise MqttError(Reason.QOS_NOT_SUPPORTED, "it does not accept QoS 1, so entries could be lost")
        sender.configure(told)
        reader = MirrorReader(connection, self._topics, sender.version, self._chat.limits, told)
        self._live.reset()
        self._check_session(present=connack.session_present)
        self._users.connected(self._outage())
        sender.reader = reader
        self._subscribed_to_presence = True
        sender.send(encode(Subscribe(SUBSCRIBE_ID, self._subscriptions()), sender.version))
        self._presence.publish_all()
        sender.send(PINGREQ)  # the broker answers it after the retained messages
        for log in self._chat.all_channels():
            reader.resume(log, *self._progress.start_of(log))
        for user in self._users.everyone:
            self._users.follow_private_logs(user)

    def _outage(self) -> float:
        """Return the seconds since the last connection for which users may have posted, at most an hour."""
        return _LONGEST if self._away_since is None else min(_LONGEST, time.monotonic() - self._away_since)

    def _check_session(self, *, present: bool) -> None:
        """Report it if the broker has lost the session that it had, and note that it has one now."""
        store, key, address = self._chat.store, self._progress.key, self._broker.address
        known = store.client(key, now())
        if known is not None and known.state == address and not present:
            self._status.session_lost()
        store.save_client(Client(key, None, None, address))

    def _subscriptions(self) -> tuple[Subscription, ...]:
        return (
            Subscription(self._topics.requests, 1, retain_handling=2),
            Subscription(self._topics.live_topic("+", "+"), 0, no_local=True, retain_handling=2),
            Subscription(self._topics.presence("+"), 0, no_local=True),
        )

    def _receive_all(
        self, connection: BrokerConnection, packets: MqttPackets, items: list[Item], is_lost: Callable[[], bool]
    ) -> str:
        sender, progress = self._sender, self._progress
        heard = asked = stored = time.monotonic()
        while not is_lost():
            self._incoming.finish_logins()
            for item in items:
                self._take(item)
            at = time.monotonic()
            heard = at if items else heard  # while this thread was busy, the broker was not silent
            if progress.unstored and at - stored >= _STORE_PERIOD:
                stored = at
                progress.store()
            self._users.flush()
            if at - heard > 1.5 * sender.keep_alive:
                return f"{self._broker.address} did not answer for {1.5 * sender.keep_alive:g} s."
            if at - asked >= sender.keep_alive / 2:
                asked = at
                self._status.log_connected(progress.behind())
                sender.send(PINGREQ)
                self._users.sweep()
            data = self._receive(connection, bulk=bool(items))
            if data == b"":
                return self._status.explain_close()
            items = packets.receive(data) if data else []
            heard = time.monotonic() if data else heard
            sender.wait_for_room()
        return "Another server may run the mirror now."

    def _receive(self, connection: BrokerConnection, *, bulk: bool) -> bytes | None:
        """Return the next bytes. Brokers write PUBACKs one by one, and to wake up for each costs more than they do."""
        reader, waker = self._sender.reader, self._users.waker
        if waker is not None:
            soon = self._progress.unstored
            return connection.receive_or_wake(_STORE_PERIOD if soon else self._sender.keep_alive / 2, waker)
        if reader is None or not (reader.in_flight or self._progress.unstored):
            return connection.receive(self._sender.keep_alive / 2)
        if bulk and (many := reader.in_flight - min(_MANY, reader.window // 2)) > 0:
            return connection.receive(_GATHER, min(_MANY, many * PUBACK_SIZE))
        return connection.receive(_STORE_PERIOD, min(_FEW, reader.window // 4 * PUBACK_SIZE + 1))

    def _take(self, item: Item) -> None:
        match item:
            case Publish():
                self._incoming.take(item)
            case PubAcks():
                self._take_pubacks(item.packet_ids)
            case PubAck():
                if item.reason >= 0x80:
                    self._status.complain(f"rejects some of our messages: {reason_text(item.reason)}")
                self._take_pubacks((item.packet_id,))
            case Oversized():
                sentence = f"A message has at most {self._chat.limits.line} bytes."
                self._incoming.refuse(item, Refused("too-long", sentence))
            case Unusable():
                self._incoming.refuse(item, Refused("bad-frame", item.sentence))
            case PubRel():
                self._sender.send(encode_pubcomp(item.packet_id))
            case SubAck():
                self._granted(item.reasons)
            case PingResp() if self._subscribed_to_presence:
                self._subscribed_to_presence = False
                unsubscribe = Unsubscribe(UNSUBSCRIBE_ID, (self._topics.presence("+"),))
                self._sender.send(encode(unsubscribe, self._sender.version))
            case Disconnect():
                raise MqttError(item.reason, reason_text(item.reason))
            case MqttError():
                raise item

    def _granted(self, reasons: tuple[int, ...]) -> None:
        """Check what the broker has granted. Raises MqttError if it did not grant the topics of requests."""
        refused = [each.filter for each, reason in zip(self._subscriptions(), reasons, strict=False) if reason >= 0x80]
        problem = f"does not allow us to subscribe to {' and '.join(refused)} (see server.py acl)"
        if reasons[0] >= 0x80:
            raise MqttError(reasons[0], f"it {problem}")
        self._status.connected(self._sender.version, self._progress.behind())
        if refused:
            self._status.complain(problem)

    def _take_pubacks(self, packet_ids: tuple[int, ...]) -> None:
        """The broker has entries: move the mirror's cursors in channels, and the users' cursors in private logs."""
        reader = self._sender.reader
        if reader is None:
            return
        self._status.sent += len(packet_ids)
        for log, number in reader.take_pubacks(packet_ids).items():
            if isinstance(log, UserLog):
                log.recipient.acknowledged[log.whole] = number  # at once; the store has it with the next commit
                self._chat.journal.move(log.whole, log.recipient.user_key, number)
            else:
                self._progress.acknowledge(log, number)

    def close(self) -> None:
        """Store what was acknowledged, and settle requests: their answers must not go to the next connection."""
        reader = self._sender.close()
        if reader is not None:
            self._away_since = time.monotonic()
        try:
            self._progress.store()
            self._users.drop_held()
            self._users.settle()
        finally:
            if reader is not None:
                self._progress.note_sent(reader.sent())
                reader.close()
