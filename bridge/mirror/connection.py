"""Floor 3: one connection to a broker, with or without TLS, and the handshake that finds the broker's MQTT version."""

from __future__ import annotations

import errno
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from net import KeepAlive, PlainStream, Stream, TlsStream, WritePump, disable_nagle
from net import reason as reason_of
from wire.mqtt import NONE, V5, V311, ConnAck, Connect, Item, MqttError, MqttPackets, Reason, encode

from .address import Broker

_CONNACK = 0x20  # the first byte that a broker sends
_PATIENCE = 5.0  # seconds that the connection, the TLS handshake and the CONNACK may take, each
_CHUNK = 65_536  # bytes of one recv; for much more, each call would map memory anew
_LARGEST = 8_388_608  # bytes of the largest packet that is kept; a larger one is skipped
_KEEP_ALIVE = KeepAlive(idle=20, interval=10, probes=3)  # ends a dead connection after 50 s

_REASON_TEXTS = {
    Reason.BAD_USER_NAME_OR_PASSWORD: "wrong user name or password",
    Reason.NOT_AUTHORIZED: "our user may not connect, or may not use these topics",
    Reason.CLIENT_IDENTIFIER_NOT_VALID: "it rejects our client id",
    Reason.SESSION_TAKEN_OVER: "another client has our client id; another Partyline server may use the same root there",
}


def reason_text(reason: int) -> str:
    """Return what a reason code of the broker means for the operator."""
    return _REASON_TEXTS.get(Reason(reason), Reason(reason).words)


class BrokerUnreachable(Exception):
    """The broker cannot be used now. The message is one sentence for the operator."""


class UnexpectedAnswer(Exception):
    """The broker did not answer as one of that MQTT version does: it may speak another version."""


class NotMqtt(Exception):
    """The first bytes are not those of a broker: the peer speaks another protocol."""


class BrokerConnection:
    """A connection to a broker; an Outlet (channels/reader.py). Only its owner's thread calls `receive` and `close`."""

    def __init__(self, broker: Broker, pump: WritePump, resume: Callable[[], None]) -> None:
        """Connect. The pump calls `resume` when the socket is writable again. Raises BrokerUnreachable."""
        self._pump = pump
        self._resume = resume
        self._least = 1
        self._failure = ""  # the error that ended the connection
        try:
            sock = socket.create_connection((broker.host, broker.port), _PATIENCE)
        except OSError as error:
            raise BrokerUnreachable(f"Could not connect to {broker.address}: {_describe(error)}.") from error
        try:
            sock.settimeout(None)
            disable_nagle(sock)
            _KEEP_ALIVE.apply(sock)
            self._stream: Stream = PlainStream(sock)
            if broker.tls is not None:
                encrypted = TlsStream(sock, broker.tls, broker.host)
                self._stream = encrypted
                encrypted.shake_hands(_PATIENCE)
        except OSError as error:
            sock.close()
            self._stream.close()
            raise BrokerUnreachable(f"The TLS handshake with {broker.address} failed: {_describe(error)}.") from error

    def receive(self, timeout: float, least: int = 1) -> bytes | None:
        """Return the next bytes; empty at the end of the connection, None after `timeout` seconds without any.

        Waits at most `timeout` seconds for `least` bytes; then it returns what has come.
        """
        self._wait_for(least)
        try:
            return self._stream.receive(_CHUNK, timeout)
        except OSError as error:
            self._failure = _describe(error)
            return b""

    def receive_or_wake(self, timeout: float, waker: socket.socket) -> bytes | None:
        """Do the same, for any number of bytes, but return None as soon as `waker` is readable."""
        self._wait_for(1)
        try:
            data = self._stream.receive_waiting(_CHUNK)
            if data is not None:
                return data
            poll = select.poll()
            poll.register(self._stream.socket, select.POLLIN)
            poll.register(waker, select.POLLIN)
            poll.poll(timeout * 1_000)
            return self._stream.receive_waiting(_CHUNK)
        except OSError as error:
            self._failure = _describe(error)
            return b""

    def _wait_for(self, least: int) -> None:
        """Have the kernel call the socket readable when it has so many bytes."""
        if least != self._least:
            self._least = least
            self._stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, least)

    def transmit(self, data: bytes | memoryview, *, answered: bool = False) -> int:
        """Send without blocking; return how many bytes were taken. A broken connection takes everything."""
        try:
            return self._stream.send(data)
        except OSError:
            return len(data)  # the owner's thread gets the error, too

    def when_writable(self) -> None:
        """Have the pump call `resume` when the socket is writable again."""
        descriptor = self._stream.socket.fileno()
        if descriptor >= 0:
            self._pump.add(descriptor, self)

    def resume_writing(self) -> None:
        """Call `resume`. Called by the pump."""
        self._resume()

    def end_output(self) -> None:
        """Shut down writing. `receive` returns the end when the broker has read everything and has closed."""
        with _unless_gone():
            self._stream.end_output()

    def hang_up(self) -> None:
        """End the connection; `receive` then returns the end."""
        with _unless_gone():
            self._stream.shut(socket.SHUT_RDWR)

    def peer_has_ended(self) -> bool:
        """Return False. The mirror does not use it: `receive` returns the end."""
        return False

    def is_broken(self) -> bool:
        """Return False. The mirror does not use it: `receive` returns the end."""
        return False

    def unacknowledged(self) -> int:
        """Return 0. The mirror does not use it: PUBACKs tell what the broker has."""
        return 0

    def close(self) -> None:
        """Close the socket."""
        self._pump.remove(self._stream.socket.fileno())
        self._stream.close()

    def handshake(self, connect: Connect) -> tuple[MqttPackets, ConnAck, list[Item]]:
        """Send CONNECT; return the decoder, the CONNACK, and the items that came with it.

        Raises UnexpectedAnswer, NotMqtt.
        """
        self.transmit(encode(connect, connect.version))
        packets = MqttPackets(_LARGEST, version=connect.version, skips=True, unheard=True)
        items: list[Item] = []
        while not items:
            data = self.receive(_PATIENCE)
            if data is None:
                raise UnexpectedAnswer(f"no answer within {_PATIENCE:g} s")
            if not data:
                failure = f" ({self._failure})" if self._failure else ""
                raise UnexpectedAnswer(f"it closed the connection without an answer{failure}")
            if data[0] != _CONNACK:  # [MQTT-3.2.0-1]; for a longer look at it, there may be too few bytes
                raise NotMqtt
            items = packets.receive(data)
        first = items.pop(0)
        if isinstance(first, MqttError):
            raise UnexpectedAnswer(first.sentence)
        if not isinstance(first, ConnAck):
            raise UnexpectedAnswer(f"it answered with {type(first).__name__}")
        return packets, first, items


def connect(
    broker: Broker,
    pump: WritePump,
    resume: Callable[[], None],
    opened: Callable[[BrokerConnection], None],
    packet: Connect,
) -> tuple[BrokerConnection, MqttPackets, ConnAck, list[Item]]:
    """Connect in the MQTT version of `packet`, or in the other one if the broker does not speak it.

    Calls `opened` with each connection before its handshake, which another thread may interrupt with `hang_up`.
    Returns the connection, the decoder, the CONNACK that accepts, and the items that came with it. Raises
    BrokerUnreachable.
    """
    other = msgspec.structs.replace(packet, version=V311 if packet.version == V5 else V5, properties=NONE)
    for attempt in (packet, other):
        connection = BrokerConnection(broker, pump, resume)
        opened(connection)
        try:
            packets, connack, items = connection.handshake(attempt)
        except NotMqtt:
            connection.close()
            sentence = f"{broker.address} does not speak MQTT; is the address right?"
            continue
        except UnexpectedAnswer as error:
            connection.close()
            sentence = f"{broker.address} refused the connection: {error}."
            continue
        if not connack.reason:
            return connection, packets, connack, items
        connection.close()
        why = _not_authorized(broker) if connack.reason == Reason.NOT_AUTHORIZED else reason_text(connack.reason)
        sentence = f"{broker.address} refused the connection: {why}."
        if connack.reason != Reason.UNSUPPORTED_PROTOCOL_VERSION:
            break
    raise BrokerUnreachable(sentence)


def _not_authorized(broker: Broker) -> str:
    """Return what "not authorized" in a CONNACK means. Mosquitto answers it to a wrong password, too."""
    if broker.user is None:
        return "it requires a user name and a password, or does not allow this machine"
    return "wrong user name or password, or this user may not connect"


@contextmanager
def _unless_gone() -> Iterator[None]:
    """Do nothing more about a connection that has ended or is closed."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOTCONN, errno.EBADF):
            raise


def _describe(error: OSError) -> str:
    return f"no answer within {_PATIENCE:g} s" if isinstance(error, TimeoutError) else reason_of(error)
