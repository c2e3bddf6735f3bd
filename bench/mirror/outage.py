"""The load of an outage: the broker restarts, and Partyline sends it the entries of the time between."""

from __future__ import annotations

import select
import socket
import time
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar

from bench.mqtt.pool import Acknowledger, PartylineBroker, first_deliveries
from bench.peers import PartylinePeer, free_port
from bench.socket.dialects import packet, string
from bench.socket.load import Saturation
from bench.socket.pool import CHUNK, SETUP_SECONDS, Client, RunFailed, client_pool

from .pool import ON_BROKER, ON_DOOR, MirroringPeer, SiteBroker, wait_for_mirror

CHANNEL = "room000"  # the name that `client_pool` gives to its first channel
PATIENCE = 70.0  # seconds without a delivery; Partyline pauses up to 60 seconds before it connects again


class PersistentSession(PartylineBroker):
    """MQTT without a clean session: the broker keeps the client's session."""

    connack: ClassVar[bytes] = b"\x20\x02\x01\x00"  # accepted, session present

    def login(self, name: str) -> bytes:
        user_name_no_keep_alive = b"\x80\x00\x00"
        return packet(0x10, string("MQTT") + b"\x04" + user_name_no_keep_alive + string(name) + string(name))


class Subscriber:
    """Reads a channel on the broker at QoS 1, before and after the restart."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._client = Client(port, "reader", PersistentSession())
        self._client.ask(*ON_BROKER.subscribe([ON_BROKER.read_topic(CHANNEL)], 1))
        self._id_at = self._size = 0

    def take_first(self) -> None:
        """Read the channel's first entry, to learn the size of a delivery."""
        (first,) = first_deliveries(self._client, 1, 1)
        topic = ON_BROKER.read_topic(CHANNEL).encode()
        self._id_at, self._size = first.index(topic) + len(topic), len(first)
        self._client.sock.sendall(b"\x40\x02" + first[self._id_at : self._id_at + 2])

    def take(self, entries: int) -> tuple[float, float]:
        """Connect again and read `entries` entries; return the `time.perf_counter` of the first and the last."""
        self._client.sock.close()
        with socket.create_connection(("127.0.0.1", self._port), SETUP_SECONDS) as sock:
            sock.sendall(PersistentSession().login("reader"))
            connack = sock.recv(len(PersistentSession.connack), socket.MSG_WAITALL)
            if connack != PersistentSession.connack:
                raise RunFailed(f"the broker did not keep the subscriber's session: {connack!r}")
            sock.setblocking(False)
            acknowledger, buffer, first = Acknowledger(sock, self._id_at, self._size, 2), bytearray(CHUNK), 0.0
            while acknowledger.acknowledged < entries:
                if not select.select([sock], [], [], PATIENCE)[0] or not acknowledger.receive(buffer):
                    raise RunFailed(f"{entries - acknowledger.acknowledged} of {entries} entries did not arrive")
                first = first or time.perf_counter()
            return first, time.perf_counter()


def outage(folder: Path, entries: int, size: int) -> tuple[float, float]:
    """Post at least `entries` entries while the broker is down.

    Return the seconds from its restart until a subscriber has the last entry, and the entries a second from the first
    one on.
    """
    port, broker = free_port(), SiteBroker()
    with ExitStack() as life:
        life.enter_context(broker.running(folder / "broker", port))
        with MirroringPeer(port).running(folder / "partyline") as partyline:
            wait_for_mirror(port)
            subscriber = Subscriber(port)
            with client_pool(ON_DOOR, partyline.port, channels=1, subscribers=1, publishers=1, size=size) as pool:
                pool.prepare(sample=True)
                subscriber.take_first()
                life.close()
                Saturation(pool, PartylinePeer.window).run(0.0, entries)
                missed = pool.channels[0].posts()
                with broker.running(folder / "broker", port):
                    back = time.perf_counter()
                    first, last = subscriber.take(missed)
    return last - back, missed / (last - first)
