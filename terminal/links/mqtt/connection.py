"""Floor 4: one MQTT connection: paho without a thread of its own, and what it receives as events.

The link's thread calls everything here, and so paho's callbacks. They only note an event, so that they cannot fail
inside of paho.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import ssl
from collections.abc import Sequence
from typing import Any

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from net import connect, disable_nagle

from .events import (
    Accepted,
    Acknowledged,
    ConnectionEnded,
    ConnectionEvent,
    ConnectRefused,
    Message,
    Subscribed,
)

V5, V311 = MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311

_KEEP_ALIVE = 30  # seconds of silence until paho sends a ping
_EXPIRY = 3600  # seconds that the broker keeps our session; later the history has what we missed
_IN_FLIGHT = 500  # unacknowledged messages of either side
_BATCH = 256  # messages that are read before the link handles them
_GONE = b"gone"  # the topic alone has a meaning, but amqtt rejects an empty will
_NO_RETAINED = 2  # retain handling: do not send retained messages at the subscription (5 §3.8.3.1)
_LOST = {"Keep alive timeout": "the server does not respond", "Protocol error": "the server does not speak MQTT"}


def _properties(kind: int, **values: int | str | bytes) -> Properties:
    properties = Properties(kind)  # type: ignore[no-untyped-call]
    for name, value in values.items():
        setattr(properties, name, value)
    return properties


class _Client(paho.Client):
    """Connects, and shakes hands for TLS, within `connect_timeout` seconds in all. paho takes them for each address."""

    def _create_socket_connection(self) -> socket.socket:
        sock = connect(self.host, self.port, self.connect_timeout)
        self._connect_timeout = sock.gettimeout() or self.connect_timeout  # for the handshake; the property is locked
        return sock


class PahoConnection:
    """One connection to a broker; see `PacketSender` in events.py."""

    def __init__(
        self, client_id: str, version: MQTTProtocolVersion, tls: ssl.SSLContext | None, patience: float
    ) -> None:
        """`patience` is the number of seconds to connect.

        The broker keeps the session for a while under the client id, but not by 3.1.1, which has no expiry.
        """
        self.window = 1
        self._will = ""
        self.version = version
        self._client = client = _Client(
            CallbackAPIVersion.VERSION2,
            client_id,
            clean_session=None if version == V5 else True,
            protocol=version,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.connect_timeout = patience
        client.max_inflight_messages_set(0)  # the conversation keeps to `window` instead
        if tls is not None:
            client.tls_set_context(tls)
            client.tls_insecure_set(
                not tls.check_hostname
            )  # paho would check the name by itself, which Python 3.12 ends
        client.on_socket_open = self._opened
        client.on_connect = self._connected
        client.on_message = self._received
        client.on_publish = self._published
        client.on_subscribe = self._subscribed
        client.on_disconnect = self._disconnected
        self._events: list[ConnectionEvent] = []
        self._held: socket.socket | None = None  # a second handle of the socket, which shows its end

    def connect(self, host: str, port: int, name: str, password: str | None, will: str) -> None:
        """Connect and send CONNECT. `will` is the topic of our departure. Raises OSError."""
        self._client.username_pw_set(name, password)
        self._will = will
        self._client.will_set(will, _GONE, qos=1)
        if self.version != V5:
            self._client.connect(host, port, _KEEP_ALIVE)
            return
        properties = _properties(PacketTypes.CONNECT, SessionExpiryInterval=_EXPIRY, ReceiveMaximum=_IN_FLIGHT)
        self._client.connect(host, port, _KEEP_ALIVE, clean_start=False, properties=properties)

    def wait(self, wake_reader: socket.socket, seconds: float) -> list[ConnectionEvent]:
        """Wait for data, for `wake_reader`, or for `seconds`; read and write. Return the new events."""
        peer: Any = self._client.socket()
        if peer is None and not self._events:
            return [ConnectionEnded(None, "the server closed the connection")]
        if peer is not None and not self._events:
            writing = [peer] if self._client.want_write() else []
            ready, writable, _ = select.select([wake_reader, peer], writing, [], 0 if self._pending() else seconds)
            if peer in ready or self._pending():
                self._read()
            if peer in writable:
                self._client.loop_write()
            self._client.loop_misc()
        events, self._events = self._events, []
        return events

    def _read(self) -> None:
        while len(self._events) < _BATCH:
            self._client.loop_read()
            peer: Any = self._client.socket()
            if peer is None or not (self._pending() or select.select([peer], [], [], 0)[0]):
                return

    def _pending(self) -> int:
        """The count of bytes that TLS has already read from the socket."""
        peer = self._client.socket()
        return peer.pending() if isinstance(peer, ssl.SSLSocket) else 0

    def disconnect(self, seconds: float) -> None:
        """End the session, send DISCONNECT, and wait up to `seconds` for the broker to close, as then our name is free.

        Behind another broker, only our will tells the server that we have left.
        """
        if self.version == V5:
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
        """Close the connection without DISCONNECT."""
        for peer in (self._client.socket(), self._held):
            if peer is not None:
                peer.close()

    # As a PacketSender

    def publish(self, topic: str, payload: bytes, reply: str, correlation: bytes) -> int:
        """Publish at QoS 1."""
        properties = None
        if self.version == V5:
            properties = _properties(PacketTypes.PUBLISH, ResponseTopic=reply, CorrelationData=correlation)
        return self._client.publish(topic, payload, 1, properties=properties).mid

    def subscribe(self, filters: Sequence[tuple[str, int]]) -> int:
        """Subscribe. MQTT 5 leaves out messages of `+` filters that were retained before."""
        if self.version != V5:
            return self._client.subscribe(list(filters))[1] or 0
        options = [
            (topic_filter, SubscribeOptions(qos, retainHandling=0 if "+" not in topic_filter else _NO_RETAINED))
            for topic_filter, qos in filters
        ]
        return self._client.subscribe(options)[1] or 0

    def unsubscribe(self, filters: Sequence[str]) -> None:
        """Unsubscribe from the filters."""
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
            self._events.append(ConnectRefused(reason.value, getattr(properties, "ReasonString", "")))
            return
        self.window = min(_IN_FLIGHT, getattr(properties, "ReceiveMaximum", _IN_FLIGHT))
        self._events.append(Accepted())

    def _received(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            return
        correlation = getattr(message.properties, "CorrelationData", None)
        packet_id = message.mid if message.qos else 0
        self._events.append(Message(topic, bytes(message.payload), packet_id, message.retain, correlation))

    def _published(self, _client: paho.Client, _data: Any, mid: int, reason: ReasonCode, properties: Any) -> None:
        refusal = getattr(properties, "ReasonString", str(reason).lower()) if reason.is_failure else None
        self._events.append(Acknowledged(mid, refusal))

    def _subscribed(
        self, _client: paho.Client, _data: Any, mid: int, reasons: list[ReasonCode], _properties: Any
    ) -> None:
        self._events.append(Subscribed(mid, tuple([not reason.is_failure for reason in reasons])))

    def _disconnected(
        self, _client: paho.Client, _data: Any, flags: paho.DisconnectFlags, reason: ReasonCode, properties: Any
    ) -> None:
        if flags.is_disconnect_packet_from_server:
            sentence = getattr(properties, "ReasonString", str(reason).lower())
            self._events.append(ConnectionEnded(reason.value, sentence))
        else:
            self._events.append(ConnectionEnded(None, _LOST.get(reason.getName(), "the server closed the connection")))
