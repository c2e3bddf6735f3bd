"""A broker made of a socket and the codec's server side: it says what a test has it say, and nothing by itself."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bridge.mirror import BrokerConfig
from server import Server
from tests.support.fixtures import StartServer
from tests.support.mqtt import MqttLine
from tests.support.waiting import DEADLINE, eventually
from wire.frames import BridgeStatus
from wire.mqtt import (
    NONE,
    V5,
    ConnAck,
    Connect,
    Item,
    MqttPackets,
    PingReq,
    PingResp,
    Properties,
    Publish,
    SubAck,
    Subscribe,
)


class Visit(MqttLine):
    """The broker's end of one connection; `connect` is what the visitor said first.

    As with MqttLine, PUBLISHes of QoS 1 are acknowledged as they come, unless `acknowledge` is false.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.ended = False
        self.name = ""
        self.version = V5
        self.acknowledge = True
        self.received: list[Item] = []
        self.inbox: list[Item] = []
        self._ids = itertools.cycle(range(1, 60_000))
        self._packets = MqttPackets(1 << 28)
        self.connect = self.expect(Connect)
        self.version = self.connect.version

    def accept(self, *, present: bool = False, **properties: Any) -> None:
        """CONNACK."""
        self.send(ConnAck(0, present, Properties(**properties) if properties else NONE))

    def refuse(self, reason: int) -> None:
        """CONNACK, and the end."""
        self.send(ConnAck(reason))
        self.close()

    def grant(self, *reasons: int) -> Subscribe:
        """SUBACK, with these reasons or else what was asked for."""
        packet = self.expect(Subscribe)
        self.send(SubAck(packet.packet_id, reasons or tuple([each.qos for each in packet.subscriptions])))
        return packet

    def pong(self) -> None:
        """PINGRESP, to the next PINGREQ."""
        self.expect(PingReq)
        self.send(PingResp())

    def open(self, **properties: Any) -> None:
        """All that a visitor needs to be there: CONNACK, SUBACK and the first PINGRESP."""
        self.accept(**properties)
        self.grant()
        self.pong()

    def bring(self, topic: str, payload: bytes | str, qos: int = 1) -> int:
        """PUBLISH to the visitor; the packet identifier."""
        data = payload.encode() if isinstance(payload, str) else payload
        packet_id = self.fresh_id() if qos else 0
        self.send(Publish(topic, data, qos, packet_id=packet_id))
        return packet_id


class ScriptedBroker:
    """Listens; `visit` takes the next connection. Nobody is answered otherwise."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._visits: list[Visit] = []
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.url = f"mqtt://{self.address}"

    def connection(self) -> socket.socket:
        """The next connection, before it has said anything."""
        self._listener.settimeout(DEADLINE)
        connection, _ = self._listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def visit(self) -> Visit:
        """The next connection, after its CONNECT."""
        self._visits.append(Visit(self.connection()))
        return self._visits[-1]

    def newest(self) -> Visit:
        """The first connection whose other end is still there: others may have come and gone meanwhile."""
        while True:
            try:
                visit = self.visit()
            except AssertionError:
                continue
            visit.socket.setblocking(False)
            try:
                if visit.socket.recv(1, socket.MSG_PEEK):
                    return visit
            except BlockingIOError:
                return visit
            except OSError:
                continue

    def close(self) -> None:
        """Stop listening, and end every connection."""
        self._listener.close()
        for visit in self._visits:
            visit.close()


@pytest.fixture
def broker() -> Iterator[ScriptedBroker]:
    """A broker that answers nobody by itself."""
    made = ScriptedBroker()
    yield made
    made.close()


@pytest.fixture
def server(start_server: StartServer, broker: ScriptedBroker) -> Server:
    """A server that mirrors to it."""
    return start_server(broker=BrokerConfig(url=broker.url))


def status(server: Server) -> BridgeStatus:
    """Return the status of the mirror."""
    assert server.chat.mirror_status is not None
    return server.chat.mirror_status()


def wait(server: Server, fits: Callable[[BridgeStatus], bool]) -> BridgeStatus:
    """Wait until the mirror stands like that."""
    eventually(lambda: fits(status(server)), lambda: f"the mirror stands like this: {status(server)}")
    return status(server)
