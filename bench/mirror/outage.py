"""An outage of the broker that Partyline mirrors to: what was said meanwhile has to be caught up with."""

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

CHANNEL = "room000"  # as `client_pool` calls its first one
PATIENCE = 70.0  # seconds without a delivery: the pause before Partyline tries again is up to a minute


class PersistentSession(PartylineBroker):
    """A client whose session the broker keeps."""

    connack: ClassVar[bytes] = b"\x20\x02\x01\x00"  # with a session that was there already

    def login(self, name: str) -> bytes:
        user_name_no_keep_alive = b"\x80\x00\x00"
        return packet(0x10, string("MQTT") + b"\x04" + user_name_no_keep_alive + string(name) + string(name))


class Subscriber:
    """Reads a channel on the broker at QoS 1, over its restart."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._client = Client(port, "reader", PersistentSession())
        self._client.ask(*ON_BROKER.subscribe([ON_BROKER.read_topic(CHANNEL)], 1))
        self._id_at = self._size = 0

    def take_first(self) -> None:
        """The channel's first entry, which tells how long a delivery is."""
        (first,) = first_deliveries(self._client, 1, 1)
        topic = ON_BROKER.read_topic(CHANNEL).encode()
        self._id_at, self._size = first.index(topic) + len(topic), len(first)
        self._client.sock.sendall(b"\x40\x02" + first[self._id_at : self._id_at + 2])

    def take(self, entries: int) -> tuple[float, float]:
        """Connect again; when the first and the last of so many further entries have come (`time.perf_counter`)."""
        self._client.sock.close()
        with socket.create_connection(("127.0.0.1", self._port), SETUP_SECONDS) as sock:
            sock.sendall(PersistentSession().login("reader"))
            connack = sock.recv(len(PersistentSession.connack), socket.MSG_WAITALL)
            if connack != PersistentSession.connack:
                raise RunFailed(f"the broker has not kept the subscriber's session: {connack!r}")
            sock.setblocking(False)
            acknowledger, buffer, first = Acknowledger(sock, self._id_at, self._size, 2), bytearray(CHUNK), 0.0
            while acknowledger.acknowledged < entries:
                if not select.select([sock], [], [], PATIENCE)[0] or not acknowledger.receive(buffer):
                    raise RunFailed(f"{entries - acknowledger.acknowledged} of {entries} entries did not come")
                first = first or time.perf_counter()
            return first, time.perf_counter()


def outage(folder: Path, entries: int, size: int) -> tuple[float, float]:
    """At least so many entries are said while the broker is away.

    The seconds from its return until a subscriber has the last of them, and how many a second came once they came.
    """
    port, broker = free_port(), SiteBroker()
    with ExitStack() as life:
        life.enter_context(broker.running(folder / "broker", port))
        with MirroringPeer(port).running(folder / "partyline") as partyline:
            wait_for_mirror(port)
            subscriber = Subscriber(port)
            with client_pool(ON_DOOR, partyline.port, channels=1, subscribers=1, publishers=1, size=size) as pool:
                subscriber.take_first()
                life.close()
                Saturation(pool, PartylinePeer.window).run(0.0, entries)
                missed = pool.channels[0].posts()
                with broker.running(folder / "broker", port):
                    back = time.perf_counter()
                    first, last = subscriber.take(missed)
    return last - back, missed / (last - first)
