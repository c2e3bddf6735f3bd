"""A site with a broker: Partyline mirrors to mosquitto, and the clients of a run are on both servers.

Mosquitto keeps sessions over a restart and queues without a limit. Its `max_inflight_messages` limits the messages
in flight in both directions.
"""

from __future__ import annotations

import getpass
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.mqtt.pool import MosquittoMqttPeer, MqttPool, PartylineBroker
from bench.peers import PartylinePeer, RunningPeer
from bench.socket.dialects import Partyline, packet
from bench.socket.pool import Channel, Client, Feed, Publisher, RunFailed

ON_BROKER = PartylineBroker()  # the broker has the same topics as Partyline's own door
ON_DOOR = Partyline()


class SiteBroker(MosquittoMqttPeer):
    """Mosquitto with persistence, as a site runs it."""

    def __init__(self, in_flight: int = 0) -> None:
        """`in_flight` is `max_inflight_messages`; 0 means no limit."""
        self._in_flight = in_flight

    def command(self, program: str, folder: Path, port: int) -> list[str]:
        command = super().command(program, folder, port)
        config = folder / "mosquitto.conf"
        text = config.read_text().replace("max_inflight_messages 0", f"max_inflight_messages {self._in_flight}")
        kept = f"persistence true\npersistence_location {folder}/\nuser {getpass.getuser()}"
        config.write_text(text.replace("persistence false", kept))
        return command


class MirroringPeer(PartylinePeer):
    """Partyline with `--broker`."""

    def __init__(self, broker_port: int) -> None:
        self._broker_port = broker_port

    def command(self, program: str, folder: Path, port: int) -> list[str]:
        return [*super().command(program, folder, port), "--broker", f"mqtt://127.0.0.1:{self._broker_port}"]


@dataclass(frozen=True)
class Site:
    """Partyline and the broker to which it mirrors."""

    partyline: RunningPeer
    broker: RunningPeer


@contextmanager
def site(folder: Path, in_flight: int = 0) -> Iterator[Site]:
    """Start both servers, and wait until Partyline mirrors."""
    with (
        SiteBroker(in_flight).running(folder / "broker") as broker,
        MirroringPeer(broker.port).running(folder / "partyline") as partyline,
    ):
        wait_for_mirror(broker.port)
        yield Site(partyline, broker)


def wait_for_mirror(port: int) -> None:
    """Wait until Partyline has published its status `online`, which it does after it has subscribed."""
    client = Client(port, "observer", ON_BROKER)
    try:
        client.ask(ON_BROKER.subscribe(["chat/server"], 0)[0], b"online")
    finally:
        client.sock.close()


class InboundPool(MqttPool):
    """Publishers on the broker at QoS 1, and members on the socket door."""

    def __init__(self) -> None:
        super().__init__(ON_BROKER, 1)

    def connect_both(self, site: Site, name: str, subscribers: int, publishers: int, size: int) -> None:
        """Connect and join on both sides."""
        members = [self.connect(site.partyline.port, ON_DOOR) for _ in range(subscribers)]
        for member in members:
            member.ask(ON_DOOR.join(name), ON_DOOR.joined)
        senders = [self._publisher(site.broker.port, name, size) for _ in range(publishers)]
        for publisher in senders:
            self._join(publisher.client, name)
        self.channels.append(Channel(name, members, senders))

    def _make_ready(self, sample: bool) -> None:
        super(MqttPool, self)._make_ready(sample)  # the members are on the socket door

    def _join(self, client: Client, name: str) -> None:
        """Join the channel and wait for it, so that members receive no notice of the join during the run."""
        me = f"u{self.clients.index(client):05d}"
        client.ask(*ON_BROKER.subscribe([f"chat/to/{me}/join/{name}"], 0))
        client.ask(ON_BROKER.publish(f"chat/from/{me}/join/{name}", b""), b'"channel"')


class OutboundPool(MqttPool):
    """Publishers on the socket door, and subscribers on the broker at QoS 1."""

    def __init__(self, door: int) -> None:
        """`door` is the port of the socket door."""
        super().__init__(ON_BROKER, 1)
        self._door = door

    def _publisher(self, port: int, name: str, size: int) -> Publisher:
        client = self.connect(self._door, ON_DOOR)
        client.ask(ON_DOOR.join(name), ON_DOOR.joined)
        return Publisher(client, Feed(ON_DOOR.post(name, "x" * size), 0))


@contextmanager
def inbound(site: Site, *, subscribers: int, publishers: int, size: int) -> Iterator[MqttPool]:
    """Yield a channel with publishers on the broker and members on the socket door."""
    pool = InboundPool()
    try:
        pool.connect_both(site, "room000", subscribers, publishers, size)
        yield pool
    finally:
        pool.close()


@contextmanager
def outbound(site: Site, *, subscribers: int, publishers: int, size: int) -> Iterator[MqttPool]:
    """Yield a channel with publishers on the socket door and subscribers on the broker."""
    pool = OutboundPool(site.partyline.port)
    try:
        pool.fill(site.broker.port, "room000", subscribers, publishers, size)
        yield pool
    finally:
        pool.close()


@contextmanager
def background_publisher(site: Site, rate: int, size: int) -> Iterator[None]:
    """Publish `rate` messages a second on the broker during the block, in another channel. Raises RunFailed."""
    client = Client(site.broker.port, "background", ON_BROKER)
    post = ON_BROKER.publish(ON_BROKER.write_topic("background", "background"), b"x" * size, 1)
    done, failed = threading.Event(), threading.Event()

    def publish() -> None:
        while not done.wait(1 / rate):
            client.sock.sendall(post)
            if client.sock.recv(4, socket.MSG_WAITALL) != packet(0x40, b"\x00\x01"):
                failed.set()
                return

    thread = threading.Thread(target=publish, name="background-publisher")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        client.sock.close()
    if failed.is_set():
        raise RunFailed("the broker did not acknowledge a message")
