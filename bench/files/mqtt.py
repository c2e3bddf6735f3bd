"""A file over MQTT 3.1.1 at QoS 1: upload by EMQX's commands, download by `get`."""

from __future__ import annotations

import hashlib
import json
import socket
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.mqtt.load import IN_FLIGHT
from bench.socket.pool import SETUP_SECONDS, RunFailed
from wire.mqtt import (
    V311,
    ConnAck,
    Connect,
    MqttPackets,
    Packet,
    PubAck,
    PubAcks,
    Publish,
    SubAck,
    Subscribe,
    Subscription,
    encode,
)

_SEGMENT = 1 << 18  # bytes
_AHEAD = 8  # ranges requested before they arrive
_LARGEST = 1 << 24  # bytes of a packet


class Device:
    """A client that subscribes to the topics addressed to it."""

    def __init__(self, port: int, name: str) -> None:
        self._sock = socket.create_connection(("127.0.0.1", port), SETUP_SECONDS)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._packets = MqttPackets(_LARGEST, version=V311)
        self._received: deque[Any] = deque()
        self._name = name
        self._unacknowledged = 0
        self._published = 0
        self._send(Connect(version=V311, client_id=name, username=name))
        self._next(ConnAck)
        self._send(Subscribe(1, (Subscription(f"chat/to/{name}/#", 0),)))
        self._next(SubAck)

    def _send(self, packet: Packet) -> None:
        self._sock.sendall(encode(packet, V311))

    def _next(self, kind: type | None = None) -> Any:
        """Return the next packet, or the next one of a kind; count the PUBACKs on the way. Raises RunFailed."""
        while True:
            while not self._received:
                data = self._sock.recv(1 << 20)
                if not data:
                    raise RunFailed("the server closed the connection of the device")
                self._received.extend(self._packets.receive(data))
            packet = self._received.popleft()
            if isinstance(packet, PubAcks | PubAck):
                self._unacknowledged -= len(packet.packet_ids) if isinstance(packet, PubAcks) else 1
            if kind is None or isinstance(packet, kind):
                return packet

    def do(self, command: str, payload: bytes = b"") -> None:
        """Publish a command below the device's name, with at most IN_FLIGHT messages without a PUBACK."""
        while self._unacknowledged >= IN_FLIGHT:
            self._next()
        self._unacknowledged += 1
        self._published += 1
        packet_id = self._published % 60_000 + 1
        self._send(Publish(f"chat/from/{self._name}/{command}", payload, 1, packet_id=packet_id))

    def answer(self, command: str) -> dict[str, Any]:
        """Return the answer to a command. Raises RunFailed if the server refused it."""
        while True:
            packet = self._next(Publish)
            if packet.topic.count("/") == 4:
                answer: dict[str, Any] = json.loads(packet.payload)
                if answer.get("reason_code", 0):
                    raise RunFailed(f"{answer}")
                if answer.get("topic") == command:
                    return answer

    def chunks(self, file: str, size: int) -> Iterator[bytes]:
        """Yield the file's content in order."""
        requested = at = 0
        while at < size:
            while requested < size and requested - at < _AHEAD * _SEGMENT:
                length = min(_SEGMENT, size - requested)
                self.do(f"file/{file}/get", json.dumps({"offset": requested, "length": length}).encode())
                requested += length
            packet = self._next(Publish)
            if packet.topic == f"chat/to/{self._name}/file/{file}/{at}":
                yield packet.payload
                at += len(packet.payload)


def upload(port: int, name: str, to: str, path: str) -> str:
    """Offer and send a file; return its id once the server has verified it."""
    device, size, digest = Device(port, name), Path(path).stat().st_size, hashlib.sha256()
    device.do("file/own/init", json.dumps({"name": Path(path).name, "size": size, "to": to}).encode())
    file: str = device.answer("file/own/init")["file"]
    with Path(path).open("rb") as source:
        for at in range(0, size, _SEGMENT):
            data = source.read(_SEGMENT)
            digest.update(data)
            device.do(f"file/own/{at}", data)
    device.do(f"file/own/fin/{size}/{digest.hexdigest()}")
    device.answer(f"file/own/fin/{size}/{digest.hexdigest()}")
    return file


def download(port: int, name: str, file: str, path: str) -> None:
    """Download, verify and write a file. Raises RunFailed if its checksum is wrong."""
    device, digest = Device(port, name), hashlib.sha256()
    device.do(f"file/{file}/have")
    state = device.answer(f"file/{file}/have")
    with Path(path).open("wb") as target:
        for data in device.chunks(file, state["size"]):
            digest.update(data)
            target.write(data)
    if digest.hexdigest() != state["sha256"]:
        raise RunFailed("the checksum of the file is wrong")
