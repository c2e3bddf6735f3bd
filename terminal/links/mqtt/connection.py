"""Floor 4: one MQTT connection: paho without a thread of its own, and what has come as events.

All of it is called by the link's thread: paho's callbacks, too, which only put down what has happened, so that they
cannot fail inside of paho.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from net import disable_nagle

from .conversation import Message

V5, V311 = MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311

_DIALLING = 10.0  # seconds for one attempt
_KEEP_ALIVE = 30  # seconds of silence until the broker is asked for a sign of life
_EXPIRY = 3600  # seconds that the broker keeps what comes while we are away; later, the history has it
_IN_FLIGHT = 500  # messages that either side may have under way
_BATCH = 256  # messages that are taken before they are dealt with
_GONE = b"gone"  # it is the topic that says it, but amqtt takes no empty will
_RETAINED_LATER = 2  # retain handling: what was retained before the subscription is not sent (5 §3.8.3.1)
_LOST = {"Keep alive timeout": "the server does not respond", "Protocol error": "that is no MQTT"}


@dataclass(frozen=True, slots=True)
class LetIn:
    """CONNACK, and it accepts."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """CONNACK, and it does not accept: the reason code of MQTT 5, and the sentence, if there is one."""

    code: int
    sentence: str


@dataclass(frozen=True, slots=True)
class Taken:
    """PUBACK; `refusal` is why the broker would not have it."""

    packet_id: int
    refusal: str | None


@dataclass(frozen=True, slots=True)
class Subscribed:
    """SUBACK: for each filter, whether it was granted."""

    packet_id: int
    granted: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Ended:
    """The connection is over: the reason code of the broker's DISCONNECT if it sent one, and why in words."""

    code: int | None
    reason: str


Happening: TypeAlias = LetIn | Refusal | Taken | Subscribed | Ended | Message


def _properties(kind: int, **values: int | str | bytes) -> Properties:
    properties = Properties(kind)  # type: ignore[no-untyped-call]
    for name, value in values.items():
        setattr(properties, name, value)
    return properties


class MqttLine:
    """One connection to a broker; a Broker (see mqtt_talk.py)."""

    def __init__(self, client_id: str, version: MQTTProtocolVersion, tls: ssl.SSLContext | None) -> None:
        """The session is kept for a while under the client id; under 3.1.1, which knows no expiry, it is not."""
        self.window = 1
        self._will = ""
        self._version = version
        self._client = client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id,
            clean_session=None if version == V5 else True,
            protocol=version,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.connect_timeout = _DIALLING
        client.max_inflight_messages_set(0)  # the talk keeps to `window`: paho could not change its own now
        if tls is not None:
            client.tls_set_context(tls)
        client.on_socket_open = self._opened
        client.on_connect = self._connected
        client.on_message = self._received
        client.on_publish = self._published
        client.on_subscribe = self._subscribed
        client.on_disconnect = self._disconnected
        self._happened: list[Happening] = []
        self._held: socket.socket | None = None  # our own hold on the connection, to see it end

    def connect(self, host: str, port: int, name: str, password: str | None, will: str) -> None:
        """Dial, and send CONNECT. `will` is where the broker says that we are gone. Raises OSError."""
        self._client.username_pw_set(name, password)
        self._will = will
        self._client.will_set(will, _GONE, qos=1)
        if self._version != V5:
            self._client.connect(host, port, _KEEP_ALIVE)
            return
        properties = _properties(PacketTypes.CONNECT, SessionExpiryInterval=_EXPIRY, ReceiveMaximum=_IN_FLIGHT)
        self._client.connect(host, port, _KEEP_ALIVE, clean_start=False, properties=properties)

    def turn(self, bell: socket.socket, seconds: float) -> list[Happening]:
        """Wait until something comes, `bell` is rung, or so long; read and write; what has happened."""
        peer: Any = self._client.socket()
        if peer is None and not self._happened:
            return [Ended(None, "the server closed the connection")]
        if peer is not None and not self._happened:
            writing = [peer] if self._client.want_write() else []
            ready, writable, _ = select.select([bell, peer], writing, [], 0 if self._pending() else seconds)
            if peer in ready or self._pending():
                self._read()
            if peer in writable:
                self._client.loop_write()
            self._client.loop_misc()
        happened, self._happened = self._happened, []
        return happened

    def _read(self) -> None:
        while len(self._happened) < _BATCH:
            self._client.loop_read()
            peer: Any = self._client.socket()
            if peer is None or not (self._pending() or select.select([peer], [], [], 0)[0]):
                return

    def _pending(self) -> int:
        """Bytes that TLS has taken from the socket already."""
        peer = self._client.socket()
        return peer.pending() if isinstance(peer, ssl.SSLSocket) else 0

    def part(self, seconds: float) -> None:
        """Say goodbye, end the session, and wait so long until the broker hangs up: then our name is free.

        Behind another broker, only our will tells the server that we are gone.
        """
        if self._version == V5:
            ending = _properties(PacketTypes.DISCONNECT, SessionExpiryInterval=0)
            self._client.disconnect(ReasonCode(PacketTypes.DISCONNECT, "Disconnect with will message"), ending)
        else:
            self._client.publish(self._will, _GONE)
            self._client.disconnect()
        while self._client.want_write():
            peer: Any = self._client.socket()
            if peer is None or not select.select([], [peer], [], seconds)[1]:
                return
            self._client.loop_write()
        if self._held is not None:
            self._held.settimeout(seconds)
            with contextlib.suppress(OSError):
                while self._held.recv(65_536):
                    pass

    def close(self) -> None:
        """Let go of the connection, without a word."""
        for peer in (self._client.socket(), self._held):
            if peer is not None:
                peer.close()

    # As a Broker

    def publish(self, topic: str, payload: bytes, reply: str, correlation: bytes) -> int:
        """Publish at QoS 1."""
        properties = None
        if self._version == V5:
            properties = _properties(PacketTypes.PUBLISH, ResponseTopic=reply, CorrelationData=correlation)
        return self._client.publish(topic, payload, 1, properties=properties).mid

    def subscribe(self, filters: Sequence[tuple[str, int]]) -> int:
        """Subscribe; not to what was retained before, where the version can say that."""
        if self._version != V5:
            return self._client.subscribe(list(filters))[1] or 0
        options = [
            (topic_filter, SubscribeOptions(qos, retainHandling=0 if "+" not in topic_filter else _RETAINED_LATER))
            for topic_filter, qos in filters
        ]
        return self._client.subscribe(options)[1] or 0

    def unsubscribe(self, filters: Sequence[str]) -> None:
        """Subscribe no more."""
        self._client.unsubscribe(list(filters))

    def acknowledge(self, packet_id: int) -> None:
        """Send PUBACK."""
        self._client.ack(packet_id, 1)

    # paho's callbacks

    def _opened(self, _client: paho.Client, _data: Any, peer: Any) -> None:
        disable_nagle(peer)  # paho does not do that
        self._held = socket.socket(fileno=os.dup(peer.fileno()))

    def _connected(
        self, _client: paho.Client, _data: Any, _flags: paho.ConnectFlags, reason: ReasonCode, properties: Any
    ) -> None:
        if reason.is_failure:
            self._happened.append(Refusal(reason.value, getattr(properties, "ReasonString", "")))
            return
        self.window = min(_IN_FLIGHT, getattr(properties, "ReceiveMaximum", _IN_FLIGHT))
        self._happened.append(LetIn())

    def _received(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            return
        correlation = getattr(message.properties, "CorrelationData", None)
        packet_id = message.mid if message.qos else 0
        self._happened.append(Message(topic, bytes(message.payload), packet_id, message.retain, correlation))

    def _published(self, _client: paho.Client, _data: Any, mid: int, reason: ReasonCode, properties: Any) -> None:
        refusal = getattr(properties, "ReasonString", str(reason).lower()) if reason.is_failure else None
        self._happened.append(Taken(mid, refusal))

    def _subscribed(
        self, _client: paho.Client, _data: Any, mid: int, reasons: list[ReasonCode], _properties: Any
    ) -> None:
        self._happened.append(Subscribed(mid, tuple([not reason.is_failure for reason in reasons])))

    def _disconnected(
        self, _client: paho.Client, _data: Any, flags: paho.DisconnectFlags, reason: ReasonCode, properties: Any
    ) -> None:
        if flags.is_disconnect_packet_from_server:
            sentence = getattr(properties, "ReasonString", str(reason).lower())
            self._happened.append(Ended(reason.value, sentence))
        else:
            self._happened.append(Ended(None, _LOST.get(reason.getName(), "the server closed the connection")))
