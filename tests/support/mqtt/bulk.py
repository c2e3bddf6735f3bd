"""A lean MQTT client for floods."""

from __future__ import annotations

import socket
from collections.abc import Iterator

from tests.support.clients import Gone, endpoint
from tests.support.waiting import DEADLINE
from wire.mqtt import V5, ConnAck, Connect, MqttPackets, Packet, Properties, encode
from wire.text import GREETING_START


class BulkMqtt:
    """A device's connection with a session that is kept. Raises Gone where a line may break."""

    def __init__(self, address: str, name: str, version: int, receive_maximum: int | None = None) -> None:
        self.version = version
        self._packets = MqttPackets(version=version)
        self._early: list[object] = []  # what came together with CONNACK
        more = Properties(session_expiry_interval=1_000, receive_maximum=receive_maximum)
        try:
            self._socket = socket.create_connection(endpoint(address), DEADLINE)
        except OSError as error:
            raise Gone(error) from error
        self.send(
            Connect(
                version=version, client_id=name, username=name, clean=False,
                properties=more if version == V5 else Properties(),
            )
        )  # fmt: skip
        first, *self._early = self.take()
        assert isinstance(first, ConnAck), first
        assert not first.reason, first
        self.present = first.session_present

    def send(self, *packets: Packet) -> None:
        try:
            self._socket.sendall(b"".join([encode(packet, self.version) for packet in packets]))
        except OSError as error:
            raise Gone(error) from error

    def take(self, seconds: float = DEADLINE) -> Iterator[object]:
        """Return what has arrived; wait at most `seconds` for its first byte."""
        if self._early:
            yield from self._early
            self._early = []
            return
        self._socket.settimeout(seconds)
        try:
            data = self._socket.recv(1 << 18)
        except TimeoutError:
            return
        except OSError as error:
            raise Gone(error) from error
        if not data:
            raise Gone("the server has closed it")
        if data.startswith(GREETING_START):
            raise Gone("the server took it for a person, as CONNECT came too late")
        yield from self._packets.receive(data)

    def close(self) -> None:
        self._socket.close()
