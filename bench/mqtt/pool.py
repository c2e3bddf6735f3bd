"""The clients of one run over MQTT 3.1.1: publishers that do not subscribe, and subscribers at QoS 0 or 1.

The load generator in Python counts deliveries by their size here, too. At QoS 1 the size gives the offsets of the
packet identifiers, so that a subscriber acknowledges all packets of one `recv` at once.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

from bench.peers import MosquittoPeer, NatsPeer, PartylinePeer, Peer, RunningPeer
from bench.socket.dialects import Mqtt, SizeModel, packet, string
from bench.socket.pool import CHUNK, SETUP_SECONDS, Channel, Client, ClientPool, Feed, Publisher, RunFailed

PACKET_IDS = 1_000  # that a publisher uses in turn, far more than are in flight
PUBACK = 4  # bytes
_PUBLISH = (0x30, 0x32)  # the first byte of a delivery, by QoS; without DUP, as no client reconnects


class Broker(Mqtt):
    """MQTT with user names, on a broker that delivers each PUBLISH unchanged."""

    echoes = False

    def login(self, name: str) -> bytes:
        user_name_clean_session_no_keep_alive = b"\x82\x00\x00"
        start = string("MQTT") + b"\x04" + user_name_clean_session_no_keep_alive
        return packet(0x10, start + string(name) + string(name))

    def read_topic(self, channel: str) -> str:
        """Return the topic to which subscribers of a channel subscribe."""
        return f"chat/channels/{channel}"

    def write_topic(self, channel: str, name: str) -> str:
        """Return the topic to which the publisher of that name publishes."""
        return self.read_topic(channel)

    def subscribe(self, filters: Sequence[str], qos: int) -> tuple[bytes, bytes]:
        """Return a SUBSCRIBE, and the SUBACK that grants all of its filters."""
        body = b"".join([string(each) + bytes([qos]) for each in filters])
        return packet(0x82, b"\x00\x01" + body), packet(0x90, b"\x00\x01" + bytes([qos]) * len(filters))

    def publish(self, topic: str, payload: bytes, packet_id: int = 0) -> bytes:
        """Return a PUBLISH: at QoS 1 if it has a packet identifier, else at QoS 0."""
        if not packet_id:
            return packet(0x30, string(topic) + payload)
        return packet(0x32, string(topic) + packet_id.to_bytes(2, "big") + payload)


class PartylineBroker(Broker):
    """Partyline: a publisher writes below its own name, and subscribers receive an entry as JSON."""

    numbered = True

    def write_topic(self, channel: str, name: str) -> str:
        return f"chat/from/{name}/say/{channel}"


class PartylineMqttPeer(PartylinePeer):
    """Partyline, which serves MQTT on its one port."""

    dialect = PartylineBroker()


class MosquittoMqttPeer(MosquittoPeer):
    """Mosquitto without persistence and limits, with user names."""

    dialect = Broker()


class NatsMqttPeer(NatsPeer):
    """NATS with its MQTT gateway, which needs JetStream: it writes messages at QoS 1 to files."""

    dialect = Broker()

    def command(self, program: str, folder: Path, port: int) -> list[str]:
        command = super().command(program, folder, 0)
        config = folder / "nats.conf"
        own = config.read_text().replace("127.0.0.1:0", "127.0.0.1:-1")  # its own protocol on any free port
        config.write_text(
            f'{own}server_name: bench\njetstream {{ store_dir: "{folder}/jetstream" }}\n'
            f'mqtt {{ host: "127.0.0.1", port: {port} }}\n'
        )
        return command


MQTT_PEERS: dict[str, Peer] = {peer.name: peer for peer in (PartylineMqttPeer(), NatsMqttPeer(), MosquittoMqttPeer())}


class PostsWithIds(Feed):
    """An endless byte string of one post, with packet identifiers in turn, which a publisher at QoS 1 sends."""

    def __init__(self, posts: Sequence[bytes]) -> None:
        super().__init__(posts[0], 0)
        self._posts = memoryview(b"".join(posts))

    def take(self, start: int, limit: int) -> memoryview:
        start %= len(self._posts)
        return self._posts[start : start + limit]


class Acknowledger:
    """Receives for one subscriber at QoS 1, and acknowledges all complete deliveries of one `recv` at once."""

    def __init__(self, sock: socket.socket, id_at: int, size: int, number: int | None) -> None:
        """The next delivery has `size` bytes, its packet identifier at `id_at`, and entry number `number`, if any."""
        self._sock = sock
        self._id_at = id_at
        self._size = size
        self._digits = len(str(number))
        self._left = (
            (1 << 62) if number is None else 10**self._digits - number
        )  # deliveries until the number has one more digit
        self._rest = bytearray()
        self.acknowledged = 0

    def receive(self, buffer: bytearray) -> int:
        """Receive into the buffer and acknowledge; return the number of bytes, as `socket.recv_into` does."""
        got = self._sock.recv_into(buffer)
        data = self._rest + memoryview(buffer)[:got]
        at, acks = 0, bytearray()
        while run := min((len(data) - at) // self._size, self._left):
            end = at + run * self._size
            acks += self._acks(data[at:end], run)
            at = end
            self.acknowledged += run
            self._left -= run
            if not self._left:
                self._left = 9 * 10**self._digits
                self._digits += 1
                self._size += 1
        self._rest = data[at:]
        self._send(acks)
        return got

    def _acks(self, packets: bytearray, count: int) -> bytearray:
        """Return the PUBACKs for `count` deliveries of one size."""
        size, at = self._size, self._id_at
        if packets[::size].count(_PUBLISH[1]) != count:
            raise RunFailed("received a duplicate, or a packet that is not a delivery of the expected size")
        acks = bytearray(b"\x40\x02\0\0" * count)
        acks[2::PUBACK] = packets[at::size]
        acks[3::PUBACK] = packets[at + 1 :: size]
        return acks

    def _send(self, acks: bytearray) -> None:
        while acks:
            try:
                del acks[: self._sock.send(acks)]
            except BlockingIOError:
                if not select.select([], [self._sock], [], SETUP_SECONDS)[1]:
                    raise RunFailed("the server stopped reading acknowledgements") from None


class MqttPool(ClientPool):
    """The publishers and subscribers of one topic."""

    def __init__(self, broker: Broker, qos: int) -> None:
        super().__init__(broker)
        self.broker = broker
        self.qos = qos
        self.acknowledgers: dict[int, Acknowledger] = {}  # one for each subscriber at QoS 1, by its file descriptor

    def fill(self, port: int, name: str, subscribers: int, publishers: int, size: int) -> None:
        """Connect and subscribe."""
        members = [self._subscriber(port, name) for _ in range(subscribers)]
        channel = Channel(name, members, [self._publisher(port, name, size) for _ in range(publishers)])
        self.channels.append(channel)

    def _make_ready(self, sample: bool) -> None:
        for channel in self.channels if sample else ():
            self._sample(channel)
        self.level()

    def _subscriber(self, port: int, name: str) -> Client:
        client = self.connect(port)
        client.ask(*self.broker.subscribe([self.broker.read_topic(name)], self.qos))
        return client

    def _publisher(self, port: int, name: str, size: int) -> Publisher:
        topic = self.broker.write_topic(name, f"u{len(self.clients):05d}")  # the name that `connect` gives
        return Publisher(self.connect(port), self._feed(topic, b"x" * size), receives=False)

    def _feed(self, topic: str, payload: bytes) -> Feed:
        if not self.qos:
            return Feed(self.broker.publish(topic, payload), 0)
        return PostsWithIds([self.broker.publish(topic, payload, number + 1) for number in range(PACKET_IDS)])

    def _sample(self, channel: Channel) -> None:
        for publisher in channel.publishers:
            publisher.client.sock.sendall(publisher.feed.take(0, publisher.feed.size))
            publisher.sent = publisher.feed.size
            if publisher.client.dialect is self.broker and self.qos:
                publisher.client.expect(packet(0x40, b"\x00\x01"))
        sizes = set()
        for client in channel.subscribers:
            deliveries = first_deliveries(client, len(channel.publishers), self.qos)
            sizes.add(tuple(map(len, deliveries)))
            if self.qos:
                self._acknowledge(client, deliveries, self.broker.read_topic(channel.name))
        if len(set(chain.from_iterable(sizes))) != 1:
            raise RunFailed(f"the first deliveries differ in size: {sizes}")
        channel.size_model = SizeModel(sum(sizes.pop()), len(channel.publishers), numbered=self.broker.numbered)

    def _acknowledge(self, client: Client, deliveries: Sequence[bytes], topic: str) -> None:
        """Acknowledge the first deliveries; add an `Acknowledger` for the following ones."""
        size = len(deliveries[0])
        id_at = deliveries[0].index(topic.encode()) + len(topic)
        client.sock.sendall(b"".join([b"\x40\x02" + each[id_at : id_at + 2] for each in deliveries]))
        number = len(deliveries) + 1 if self.broker.numbered else None
        self.acknowledgers[client.fd] = Acknowledger(client.sock, id_at, size, number)


def first_deliveries(client: Client, count: int, qos: int) -> list[bytes]:
    """Return the first `count` packets. Raises RunFailed unless they are PUBLISHes of this QoS."""
    data = b""
    while len(packets := _split(data)) < count:
        try:
            more = client.sock.recv(CHUNK)
        except TimeoutError:
            more = b""
        if not more:
            raise RunFailed(f"the first message did not reach every subscriber: {data!r}")
        data += more
    if any(each[0] != _PUBLISH[qos] for each in packets) or sum(map(len, packets)) != len(data):
        raise RunFailed(f"expected the first messages, received {data!r}")
    return packets


def _split(data: bytes) -> list[bytes]:
    """Return the complete packets of `data`, whose remaining lengths are below 16384."""
    packets = []
    while len(data) > 2:
        size = data[1] + 2 if data[1] < 128 else (data[1] & 127 | data[2] << 7) + 3
        if len(data) < size:
            break
        packets.append(data[:size])
        data = data[size:]
    return packets


def broker_of(server: RunningPeer) -> Broker:
    """Return the dialect of a server that was started from MQTT_PEERS."""
    assert isinstance(server.dialect, Broker)
    return server.dialect


@contextmanager
def mqtt_pool(
    server: RunningPeer, *, qos: int, subscribers: int, publishers: int, size: int, name: str = "room000"
) -> Iterator[MqttPool]:
    """Yield a topic with so many subscribers, and publishers of payloads of `size` bytes. Use a name once a server."""
    pool = MqttPool(broker_of(server), qos)
    try:
        pool.fill(server.port, name, subscribers, publishers, size)
        yield pool
    finally:
        pool.close()


@contextmanager
def wildcards(server: RunningPeer, clients: int, each: int) -> Iterator[None]:
    """Connect `clients` further subscribers with `each` filters each, none of which matches."""
    broker, holders = broker_of(server), []
    try:
        for nth in range(clients):
            holder = Client(server.port, f"w{nth:05d}", broker)
            holders.append(holder)
            filters = [f"chat/x/+/{number:05d}" for number in range(nth * each, (nth + 1) * each)]
            holder.ask(*broker.subscribe(filters, 0))
        yield
    finally:
        for holder in holders:
            holder.sock.close()
