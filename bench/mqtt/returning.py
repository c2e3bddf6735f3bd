"""The load of many devices with persistent sessions that return at once, each of which missed the same messages."""

from __future__ import annotations

from bench.load import Generator
from bench.meter import wait_until_settled
from bench.peers import RunningPeer
from bench.socket.dialects import packet, string
from bench.socket.logins import names
from bench.socket.pool import Client

from .pool import Broker, MqttPool, broker_of

CHANNEL = "room000"


def persistent_login(name: str) -> bytes:
    """Return a CONNECT that keeps the session, with a user name and without keep-alive."""
    return packet(0x10, string("MQTT") + b"\x04\x80\x00\x00" + string(name) + string(name))


def return_to_topic(generator: Generator, server: RunningPeer, clients: int, missed: int, size: int) -> float:
    """Return the seconds from the first connection until every subscriber at QoS 1 has what it missed."""
    broker, members = broker_of(server), names("m", clients)
    for name in members:
        _subscribe(server.port, broker, name)
    pool = MqttPool(broker, 1)
    try:
        pool.fill(server.port, CHANNEL, 0, 1, size)
        wait_until_settled(server)
        generator.saturated(pool, missed, 0.0, missed)
        return generator.returns(server.port, broker, [persistent_login(name) for name in members], missed, size)
    finally:
        pool.close()


def _subscribe(port: int, broker: Broker, name: str) -> None:
    """Make a persistent session that subscribes, and leave."""
    client = Client(port, name, broker, persistent_login(name))
    client.ask(*broker.subscribe([broker.read_topic(CHANNEL)], 1))
    client.sock.sendall(b"\xe0\x00")  # DISCONNECT
    while client.sock.recv(4096):
        pass
    client.sock.close()
