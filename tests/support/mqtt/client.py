"""A small MQTT client for tests, over the codec of wire.mqtt; a test can wait for each packet."""

from __future__ import annotations

import itertools
import json
import socket
from collections.abc import Callable
from typing import Any, TypeVar

from server import Server
from tests.support.clients import Connection, encrypted, endpoint
from tests.support.waiting import DEADLINE
from wire.mqtt import (
    NONE,
    V5,
    V311,
    ConnAck,
    Connect,
    Disconnect,
    Item,
    MqttPackets,
    Packet,
    PingReq,
    PingResp,
    Properties,
    PubAck,
    PubAcks,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    Subscription,
    UnsubAck,
    Unsubscribe,
    encode,
)
from wire.text import GREETING_START

VERSIONS = {"3.1.1": V311, "5": V5}
P = TypeVar("P")


class MqttLine(Connection):
    """A connection. `received` is every packet that came; `inbox` what no `expect` took yet.

    PUBLISHes of QoS 1 are acknowledged as they come, unless `acknowledge` is false. Bare PUBACKs come one by one.
    """

    def __init__(
        self, address: str, name: str | None = None, *, version: int = V5, refused: bool = False,
        acknowledge: bool = True, connect: bool = True, source: str = "127.0.0.1", room: int = 0, **fields: Any,
    ) -> None:  # fmt: skip
        """Connect from the address `source`; say CONNECT with the user name and the fields; `connack` is the answer.

        `refused` if that is to be a refusal. `room` is the size of the receive buffer, if it is to be small.
        """
        self.socket = socket.socket()
        if room:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(DEADLINE)
        self.socket.bind((source, 0))
        self.socket.connect(endpoint(address))
        self.socket = encrypted(self.socket, address)
        self.ended = False
        self.name = name or ""
        self.version = version
        self.acknowledge = acknowledge
        self.received: list[Item] = []
        self.inbox: list[Item] = []
        self._ids = itertools.cycle(range(1, 60_000))
        self._packets = MqttPackets(1 << 28, version=version)
        if connect:
            self.send(Connect(version=version, username=name, **{"client_id": f"{name}-line", **fields}))
            self.connack = self.expect(ConnAck)
            assert bool(self.connack.reason) == refused, self.connack

    def send(self, *packets: Packet) -> None:
        """Send packets, and wait for nothing."""
        self.send_bytes(b"".join([encode(packet, self.version) for packet in packets]))

    def fresh_id(self) -> int:
        """A packet identifier that was not used lately."""
        return next(self._ids)

    def expect(self, kind: type[P], predicate: Callable[[Any], bool] = lambda _: True) -> P:
        """The first packet of that type that fits, out of `inbox` or as it comes; the others stay in `inbox`."""
        looked = 0
        while True:
            for at in range(looked, len(self.inbox)):
                packet = self.inbox[at]
                if isinstance(packet, kind) and predicate(packet):
                    del self.inbox[at]
                    return packet
            looked = len(self.inbox)
            self.read(kind.__name__)

    def read(self, wanted: str = "anything") -> None:
        """Take in what comes next. AssertionError if nothing does."""
        if self.ended:
            raise AssertionError(f"no {wanted} before the connection ended; unread: {self.inbox!r}")
        try:
            data = self._receive()
            if not self.received and data.startswith(GREETING_START):  # meant for a person: CONNECT came too late
                data = data.partition(b"\n")[2]
            items = self._packets.receive(data)
        except TimeoutError:
            raise AssertionError(f"no {wanted} came in time; unread: {self.inbox!r}") from None
        apart: list[Item] = []
        for item in items:
            apart += [PubAck(each) for each in item.packet_ids] if isinstance(item, PubAcks) else [item]
        self.received += apart
        self.inbox += apart
        if self.acknowledge:
            taken = tuple([item.packet_id for item in apart if isinstance(item, Publish) and item.qos == 1])
            if taken:
                self.ack(*taken)

    def ack(self, *packet_ids: int) -> None:
        """Acknowledge; no harm if the server has gone meanwhile."""
        try:
            self.send(PubAcks(packet_ids))
        except OSError:
            self.ended = True

    def until_closed(self) -> list[Item]:
        """All that nobody took and all that still comes, up to the end of the connection."""
        while not self.ended:
            self.read("end of the connection")
        rest, self.inbox = self.inbox, []
        return rest

    # What a client does

    def subscribe(self, *filters: str | Subscription, qos: int = 1) -> tuple[int, ...]:
        """Subscribe; the reasons."""
        packet_id = self.fresh_id()
        wanted = [Subscription(each, qos) if isinstance(each, str) else each for each in filters]
        self.send(Subscribe(packet_id, tuple(wanted)))
        self.suback = self.expect(SubAck, lambda packet: packet.packet_id == packet_id)
        return self.suback.reasons

    def unsubscribe(self, *filters: str) -> tuple[int, ...]:
        """Unsubscribe; the reasons."""
        packet_id = self.fresh_id()
        self.send(Unsubscribe(packet_id, filters))
        return self.expect(UnsubAck, lambda packet: packet.packet_id == packet_id).reasons

    def publish(self, topic: str, payload: bytes | str = b"", qos: int = 1, **properties: Any) -> PubAck:
        """Publish, and return when it is acknowledged (at QoS 0 at once): the reason and the properties of that."""
        data = payload.encode() if isinstance(payload, str) else payload
        packet_id = self.fresh_id() if qos else 0
        more = Properties(**properties) if properties else NONE
        self.send(Publish(topic, data, qos, packet_id=packet_id, properties=more))
        return self.settle(packet_id, qos)

    def settle(self, packet_id: int, qos: int) -> PubAck:
        """Wait for the acknowledgement of what was published, and do the second half of QoS 2."""
        if qos == 2:
            got = self.expect(PubRec, lambda packet: packet.packet_id == packet_id)
            if got.reason < 0x80:
                self.send(PubRel(packet_id))
                self.expect(PubComp, lambda packet: packet.packet_id == packet_id)
            return PubAck(packet_id, got.reason, got.properties)
        if qos == 1:
            return self.expect(PubAck, lambda packet: bool(packet.packet_id == packet_id))
        return PubAck(0)

    def message(self, topic: str = "", predicate: Callable[[Publish], bool] = lambda _: True) -> Publish:
        """The next message on that topic (on any without one) that fits."""
        return self.expect(Publish, lambda packet: topic in ("", packet.topic) and predicate(packet))

    def messages(self, topic: str = "") -> list[Publish]:
        """Every message on that topic so far, in order."""
        return [each for each in self.received if isinstance(each, Publish) and topic in ("", each.topic)]

    def ping(self) -> None:
        """Return when all that was sent before is done."""
        self.send(PingReq())
        self.expect(PingResp)

    def disconnect(self, reason: int = 0, expiry: int | None = None) -> None:
        """Say that we go, and wait for the end."""
        properties = Properties(session_expiry_interval=expiry) if expiry is not None else NONE
        self.send(Disconnect(reason, properties))
        self.until_closed()
        self.close()

    # What a member of the chat does

    def do(self, what: str, payload: bytes | str = b"", qos: int = 1, **properties: Any) -> PubAck:
        """Publish below `chat/from/<me>/`."""
        return self.publish(f"chat/from/{self.name}/{what}", payload, qos, **properties)

    def ask(self, what: str, payload: bytes | str = b"") -> dict[str, Any]:
        """Ask, and take the answer below `chat/to/<me>/`, which has to be subscribed to."""
        self.do(what, payload)
        answer: dict[str, Any] = body(self.message(f"chat/to/{self.name}/{what}"))
        return answer

    def error(self) -> dict[str, Any]:
        """The next error below `chat/to/<me>/`, which has to be subscribed to."""
        error: dict[str, Any] = body(self.message(f"chat/to/{self.name}/error"))
        return error

    def texts(self, channel: str) -> list[str]:
        """Return what the client has received of a channel, as JSON."""
        return [body(packet)["text"] for packet in self.messages(f"chat/channels/{channel}")]

    def hear(self, channel: str, text: str) -> Publish:
        """Wait for that in a channel."""
        return self.message(f"chat/channels/{channel}", lambda packet: bool(body(packet)["text"] == text))


def body(packet: Publish) -> Any:
    """The JSON in a message."""
    return json.loads(packet.payload)


def watch(server: Server, mqtt: Callable[..., MqttLine], *filters: str) -> MqttLine:
    """Somebody who hears what happens."""
    watcher = mqtt(server.address, "watcher")
    watcher.subscribe(*filters or ("chat/channels/#", "chat/presence/+", "chat/to/watcher/#", "chat/direct/watcher/+"))
    watcher.ping()  # what is retained has come
    return watcher
