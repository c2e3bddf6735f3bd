"""Floor 3: the mirror: the same rooms on another broker, and nothing lost between.

Out, it is a reader like any other (mirror_reader.py): a stored cursor in each log, moved by the broker's PUBACKs. In,
what users publish there becomes requests of their sessions (residents.py), acknowledged to the broker when the store
has it. It publishes nothing that it reads, and reads nothing that it publishes, so there is no echo and no loop.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from typing import Any
from urllib.parse import quote

import msgspec

from bridge.clients import SharedState, presence_of
from channels.directory import User
from channels.log import Log
from net import WritePump
from store import Client, StoreError
from wire.clock import now
from wire.errors import Refused
from wire.frames import BridgeStatus
from wire.mqtt import (
    NONE,
    V5,
    ConnAck,
    Connect,
    Disconnect,
    Item,
    MqttError,
    Oversized,
    PingReq,
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
    publish,
)
from wire.topics import ServerState

from .address import Broker
from .connection import Link, Unreachable, connect, words
from .incoming import MirrorInbox
from .outgoing import Half, MirrorReader
from .status import MirrorState
from .users import Residents

log_ = logging.getLogger("partyline.bridge")

_KEEP_ALIVE = 30  # seconds
_FOREVER = 0xFFFF_FFFF  # as a session expiry interval (5 §3.1.2.11.2)
_PAUSES = (1.0, 60.0)  # seconds before the second attempt to connect, and at most; each is up to half shorter by chance
_PATIENCE = 0.5  # seconds that the broker has to close, and then that the thread has to end
_KEPT = 0.05  # seconds until it is stored what the broker has acknowledged of channels: after a crash it comes again
_MANY = 1_024  # packets in flight that are none too many; with more, bytes of PUBACKs that are awaited at once
_FEW = 17  # bytes that are awaited while not many are: more than four PUBACKs, and less than any request
_GATHER = 0.005  # seconds that this may take, for what else comes
_PUBACK = 4  # bytes
_SUBSCRIBE, _UNSUBSCRIBE = 0xFFFF, 0xFFFE  # packet identifiers


class Mirror:
    """Owns the thread `mirror`, which connects, receives, and connects again; whoever delivers a log sends."""

    def __init__(self, shared: SharedState, broker: Broker, pump: WritePump, *, trusted: bool = False) -> None:
        """`trusted`: the broker lets nobody write in another's name."""
        self._shared = shared
        self._chat = shared.chat
        self._topics = shared.topics
        self._broker = broker
        self._pump = pump
        self._root = quote(shared.topics.root, safe="")
        self._key = f"/{self._root}"  # of the cursors
        self._link: Link | None = None
        self._reader: MirrorReader | None = None
        self.version = broker.version
        self.limit = 0
        self._keep_alive: float = _KEEP_ALIVE
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mirror", daemon=True)
        self.residents = Residents(shared, self, broker.address, trusted=trusted)
        self._confirmed: dict[Log, int] = {}  # how far the broker has acknowledged each channel
        self._unkept: set[Log] = set()  # of which that is not stored yet
        self._sent: dict[int, int] = {}  # how far each log was sent by earlier connections, by its id
        self._inbox = MirrorInbox(shared, self, self.residents)
        self._retains = True  # the broker keeps what is retained
        self._stale_wanted = False  # until the retained presence of before has come
        self._state = MirrorState(broker.address)
        shared.live.to_broker = self._inbox.straight
        self._chat.watchers.append(self)

    def start(self) -> None:
        """Have those back who were on the broker, and connect. Called before anybody else can take their names."""
        store = self._chat.store
        if store.client(self._key, now()) is None:  # the first time: what was said before is not for the broker
            channels = self._chat.all_channels()
            store.save_client(Client(self._key, None, None, ""))
            store.move({(log.row.id, self._key): log.tail for log in channels}, {})
        cursors = store.client_cursors(self._key)
        self._confirmed = {log: cursors.get(log.row.id, 0) for log in self._chat.all_channels()}
        self._sent = {log.row.id: log.tail for log in self._confirmed}  # nobody knows: it may have been all
        self.residents.restore()
        self._thread.start()

    def status(self) -> BridgeStatus:
        """How it stands; any thread may ask."""
        inbox, channels = self._inbox, self._chat.all_channels()
        behind = sum(log.tail - self._confirmed.get(log, 0) for log in channels)
        state = self._state.status
        return msgspec.structs.replace(state, behind=behind, received=inbox.received, refused=inbox.refused)

    def close(self) -> None:
        """Say goodbye, and end the thread; who is on the broker stays there."""
        self._closing.set()
        self.publish_retained(*self._topics.state(ServerState(online=False)))
        self.send(encode(Disconnect(), self.version))
        if (link := self._link) is not None:
            link.part()  # to hang up at once could destroy what was just sent
        if self._thread.is_alive():
            self._thread.join(_PATIENCE)
            self.give_up()
            self._thread.join(_PATIENCE)  # unless it is just trying to reach the broker
        self.residents.close()

    # The thread

    def _run(self) -> None:
        """Thread `mirror`: connect, serve, and again after a pause."""
        least, most = _PAUSES
        pause = least
        while not self._closing.is_set():
            try:
                error = self._connect_and_serve()
            except Exception:
                log_.exception("the bridge failed; it connects again")
                error = "the server made a mistake; its log says more"
            if self._state.down(error, quiet=self._closing.is_set()):
                pause = least
            self._closing.wait(pause * random.uniform(0.5, 1.0))
            pause = min(pause * 2, most)

    def _connect_and_serve(self) -> str:
        """One connection; why it ended, or did not come about."""
        try:
            link, packets, connack, items = connect(self._broker, self._pump, self._walk, self._hello())
        except Unreachable as error:
            self.version = self._broker.version  # it may be another one when it is back
            return str(error)
        try:
            self.version = packets.version
            self._link = link  # first, as whoever closes looks for it after saying so
            if self._closing.is_set():
                return "the server goes down"
            self._open(link, connack)
            return self._serve(link, packets, items)
        except (MqttError, Refused) as error:
            return f"{self._broker.address}: {error.sentence}"
        except StoreError as error:
            return f"Nothing can be taken from the broker: {error}"
        finally:
            self._close(link)

    def _close(self, link: Link) -> None:
        reader, self._reader = self._reader, None
        self._link = None
        try:
            self._keep()
            self.residents.settle()  # or an acknowledgement of now could go to the next connection
        finally:
            if reader is not None:
                self._sent.update(reader.sent())
                reader.close()
            link.close()

    def _hello(self) -> Connect:
        """CONNECT: one client id for ever, a session that is kept, and a will."""
        password = self._broker.password
        return Connect(
            version=self.version,
            client_id=f"partyline-{self._root}",
            clean=False,
            keep_alive=_KEEP_ALIVE,
            username=self._broker.user,
            password=password.encode() if password is not None else None,
            will=Will(*self._topics.state(ServerState(online=False)), 1, True),
            properties=Properties(session_expiry_interval=_FOREVER) if self.version == V5 else NONE,
        )

    def _open(self, link: Link, connack: ConnAck) -> None:
        """Subscribe, say who is here, and go on with every log where the broker's acknowledgements ended."""
        told = connack.properties
        if told.maximum_qos == 0:
            raise MqttError(Reason.QOS_NOT_SUPPORTED, "it takes nothing at QoS 1, so nothing would be certain")
        self._retains = told.retain_available != 0
        self._keep_alive = told.server_keep_alive or _KEEP_ALIVE  # [MQTT-3.2.2-21]
        self.limit = told.maximum_packet_size or 0
        reader = MirrorReader(link, self._topics, self.version, self._chat.limits, told)
        self._inbox.open()
        self._recognise(session_present=connack.session_present)
        self._reader = reader
        self._stale_wanted = True
        self.send(encode(Subscribe(_SUBSCRIBE, self._filters()), self.version))
        self.publish_retained(*self._topics.state(ServerState(online=True)))
        for user in self._chat.directory.users():
            self._tell_presence(user)
        self.send(encode(PingReq(), self.version))  # when it is answered, what is retained has come
        for log in self._chat.all_channels():
            reader.resume(log, self._confirmed.get(log, 0), self._sent.get(log.row.id, 0))
        for resident in self.residents.everyone:
            self.residents.catch_up(resident)

    def _recognise(self, *, session_present: bool) -> None:
        """Note that the broker keeps a session for us from now on, and say so if it has not kept the last one."""
        store, address = self._chat.store, self._broker.address
        kept = store.client(self._key, now())
        if kept is not None and kept.state == address and not session_present:
            self._state.forgotten()
        store.save_client(Client(self._key, None, None, address))

    def _filters(self) -> tuple[Subscription, ...]:
        return (
            Subscription(self._topics.requests, 1, retain_handling=2),
            Subscription(self._topics.direct("+", "+"), 0, no_local=True, retain_handling=2),
            Subscription(self._topics.presence("+"), 0, no_local=True),
        )

    # What comes

    def _serve(self, link: Link, packets: Any, items: list[Item]) -> str:
        """Take what comes until the connection ends; why it did."""
        heard = asked = kept = time.monotonic()
        while True:
            for item in items:
                self._take(item)
            at = time.monotonic()
            heard = at if items else heard  # while we were at that, it was not the broker that was silent
            if self._unkept and at - kept >= _KEPT:
                kept = at
                self._keep()
            self.residents.flush()
            if at - heard > 1.5 * self._keep_alive:
                return f"{self._broker.address} has not answered for {1.5 * self._keep_alive:g} s."
            if at - asked >= self._keep_alive / 2:
                asked = at
                self._state.tell(self.status().behind)
                self.send(encode(PingReq(), self.version))
                self.residents.sweep()
            data = self._receive(link, bulk=bool(items))
            if data == b"":
                return self._state.closed()
            items = packets.receive(data) if data else []
            heard = time.monotonic() if data else heard
            self.wait_for_room()

    def _receive(self, link: Link, *, bulk: bool) -> bytes | None:
        """What comes next. A broker writes its PUBACKs one by one, and to wake up for each costs more than they do."""
        reader = self._reader
        if reader is None or not (reader.in_flight or self._unkept):
            return link.receive(self._keep_alive / 2)
        if bulk and (many := reader.in_flight - min(_MANY, reader.window // 2)) > 0:
            return link.receive(_GATHER, min(_MANY, many * _PUBACK))
        return link.receive(_KEPT, min(_FEW, reader.window // 4 * _PUBACK + 1))

    def _take(self, item: Item) -> None:
        match item:
            case Publish():
                self._inbox.take(item)
            case PubAcks():
                self._acknowledged(item.packet_ids)
            case PubAck():
                if item.reason >= 0x80:
                    self._state.complain(f"does not take all that we publish: {words(item.reason)}")
                self._acknowledged((item.packet_id,))
            case Oversized():
                self._inbox.refuse(item, Refused("too-long", f"A message has at most {self._chat.limits.line} bytes."))
            case Unusable():
                self._inbox.refuse(item, Refused("bad-frame", item.sentence))
            case PubRel():
                self.send(b"\x70\x02" + item.packet_id.to_bytes(2, "big"))
            case SubAck():
                self._granted(item.reasons)
            case PingResp() if self._stale_wanted:
                self._stale_wanted = False
                self.send(encode(Unsubscribe(_UNSUBSCRIBE, (self._topics.presence("+"),)), self.version))
            case Disconnect():
                raise MqttError(item.reason, words(item.reason))
            case MqttError():
                raise item

    def _granted(self, reasons: tuple[int, ...]) -> None:
        """What we may read: without requests there is no point in it; without the rest there is some."""
        refused = [what for what, reason in zip(self._filters(), reasons, strict=False) if reason >= 0x80]
        sentence = f"does not let us read {' and '.join([each.filter for each in refused])}: see server.py acl"
        if reasons[0] >= 0x80:
            raise MqttError(reasons[0], f"it {sentence}")
        self._state.up(self.version, self.status().behind)
        if refused:
            self._state.complain(sentence)

    def _acknowledged(self, packet_ids: tuple[int, ...]) -> None:
        """The broker has taken entries: move the cursors of channels, and those of users in direct conversations."""
        reader, journal = self._reader, self._chat.journal
        if reader is None:
            return
        self._state.status.sent += len(packet_ids)
        for log, number in reader.acknowledged(packet_ids).items():
            if isinstance(log, Half):
                journal.move(log.whole, log.user_key, number)
            else:
                self._confirmed[log] = number
                self._unkept.add(log)

    def _keep(self) -> None:
        """Have it stored, with the next commit, how far the broker has acknowledged channels.

        A transaction for each of its PUBACKs would cost more than all that leads to them.
        """
        unkept, self._unkept = self._unkept, set()
        for log in unkept:
            self._chat.journal.move(log, self._key, self._confirmed[log])

    # What goes out; called by any thread

    def send(self, data: bytes) -> None:
        """See `Carrier`."""
        reader = self._reader
        if reader is not None and data:
            reader.reply_bytes(data)

    def follow(self, log: Log, user_key: str, me: str, after: int) -> None:
        """See `Carrier`."""
        if (reader := self._reader) is not None:
            reader.follow_half(log, user_key, me, after)

    def follows(self, log: Log, user_key: str) -> bool:
        """See `Carrier`."""
        reader = self._reader
        return reader is not None and reader.has_half(log, user_key)

    def unfollow(self, user_key: str) -> None:
        """See `Carrier`."""
        if (reader := self._reader) is not None:
            reader.drop_halves(user_key)

    def wait_for_room(self) -> None:
        """See `Carrier`. A broker that takes nothing for so long is left."""
        reader = self._reader
        if reader is not None and not reader.wait_for_room(self._chat.limits.backlog, self._keep_alive):
            self.give_up()

    def give_up(self) -> None:
        """See `Carrier`."""
        if (link := self._link) is not None:
            link.hang_up()

    def count_refused(self) -> None:
        """See `Carrier`."""
        self._inbox.refused += 1

    def _walk(self) -> None:
        """Called by the pump."""
        if (reader := self._reader) is not None:
            try:
                reader.walk(self._chat.store, self._chat.limits)
            except Exception:
                log_.exception("reading for the broker failed; it connects again")
                self.give_up()

    def publish_retained(self, topic: str, payload: bytes) -> None:
        """See `Carrier`."""
        self.send(publish(topic.encode(), payload, retain=self._retains, version=self.version))

    def _tell_presence(self, user: User) -> None:
        self.publish_retained(*self._topics.state(presence_of(user)))

    # The chat's watcher

    def channel_made(self, log: Log) -> None:
        """There is a new channel."""
        if (reader := self._reader) is not None:
            reader.resume(log, 0)

    def presence_changed(self, user: User) -> None:
        """Somebody has come or gone: what is retained is to be how it is."""
        while True:
            there = self._chat.directory.find(user.key)
            self._tell_presence(there or user)
            if self._chat.directory.find(user.key) is there:
                return
