"""Floor 3: the link: one connection to a broker, over TLS or not, and the handshake that finds the broker's version."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

import msgspec

from net import KeepAlive, TlsStream, WritePump, disable_nagle, set_receive_timeout
from net import reason as reason_of
from wire.mqtt import NONE, V5, V311, ConnAck, Connect, Item, MqttError, MqttPackets, Reason, encode

from .address import Broker

_PATIENCE = 5.0  # seconds that a connection, a TLS handshake and a CONNACK may take, each
_CHUNK = 65_536  # bytes of one recv (for much more, each would map memory anew), and of what is encrypted at once
_LARGEST = 8_388_608  # bytes of a packet that is taken in at all; what is larger is read past
_KEEP_ALIVE = KeepAlive(idle=20, interval=10, probes=3)  # ends a dead connection after 50 s

_REFUSED = {
    Reason.BAD_USER_NAME_OR_PASSWORD: "it does not take our user name and password",
    Reason.NOT_AUTHORIZED: "our user name has no right to connect, or to what we asked for",
    Reason.CLIENT_IDENTIFIER_NOT_VALID: "it does not take our client id",
    Reason.SESSION_TAKEN_OVER: "another client has our client id: another Partyline may mirror there with our root",
}


def words(reason: int) -> str:
    """Why a broker says no."""
    return _REFUSED.get(Reason(reason), Reason(reason).words)


class Unreachable(Exception):
    """The broker cannot be used now; the message is one sentence for the operator."""


class Misunderstood(Exception):
    """The broker did not answer as a broker of that version does: it may know another one."""


class Link:
    """An outlet (see channels/reader.py) to a broker. `receive` and `close` are for its owner's thread alone."""

    def __init__(self, broker: Broker, pump: WritePump, walk: Callable[[], None]) -> None:
        """Connect. `walk` is called by the pump when the line takes bytes again. Raises Unreachable."""
        self._pump = pump
        self._walk = walk
        self._timeout: float | None = None
        self._least = 1
        self._tls: TlsStream | None = None
        self._broke = ""  # how it ended, if it was no ordinary end
        try:
            self._socket = socket.create_connection((broker.host, broker.port), _PATIENCE)
        except OSError as error:
            raise Unreachable(f"{broker.address} cannot be reached: {_said(error)}.") from error
        try:
            disable_nagle(self._socket)
            _KEEP_ALIVE.apply(self._socket)
            if broker.tls is not None:
                self._tls = TlsStream(self._socket, broker.tls, broker.host)
            self._socket.settimeout(None)
        except OSError as error:
            self._socket.close()
            raise Unreachable(f"{broker.address} does not speak TLS with us: {_said(error)}.") from error

    def receive(self, timeout: float, least: int = 1) -> bytes | None:
        """What comes next; empty at the end, None after so many seconds of silence.

        Waits so long for at least so many bytes; then it takes what there is.
        """
        if least != self._least:
            self._least = least
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, least)
        if timeout != self._timeout:
            self._timeout = timeout
            set_receive_timeout(self._socket, timeout)
        try:
            while True:
                data = self._socket.recv(_CHUNK)
                if self._tls is not None and data:
                    plain = self._tls.decrypt(data)
                    if self._tls.paused:
                        self.when_writable()
                    if plain == b"":
                        continue  # a record that has not come in full
                    return plain or b""
                return data
        except BlockingIOError:
            return None
        except OSError as error:
            self._broke = _said(error)
            return b""

    def transmit(self, data: bytes | memoryview, *, answered: bool = False) -> int:
        """Send without blocking; how many bytes were taken. A broken line takes everything."""
        try:
            if self._tls is None:
                return self._socket.send(data, socket.MSG_DONTWAIT)
            taken = self._tls.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            return len(data)  # the owner's thread finds out, too
        if self._tls.paused:
            self.when_writable()
        return taken

    def when_writable(self) -> None:
        """Have the pump walk the reader once the line takes bytes again."""
        descriptor = self._socket.fileno()
        if descriptor >= 0:
            self._pump.add(descriptor, self)

    def resume_writing(self) -> None:
        """Called by the pump."""
        if self._tls is not None:
            self.transmit(b"")
            if self._tls.paused:
                return
        self._walk()

    def part(self) -> None:
        """Say that nothing more comes; `receive` comes to its end when the broker has had it all, and has closed."""
        self._shut(socket.SHUT_WR)

    def hang_up(self) -> None:
        """End the connection; `receive` then comes to its end."""
        self._shut(socket.SHUT_RDWR)

    def _shut(self, how: int) -> None:
        try:
            self._socket.shutdown(how)
        except OSError as error:
            if error.errno not in (errno.ENOTCONN, errno.EBADF):
                raise

    def unacknowledged(self) -> int:
        """Nobody asks: what the broker has acknowledged is known by its PUBACKs."""
        return 0

    def close(self) -> None:
        """Let go of it."""
        self._pump.remove(self._socket.fileno())
        self._socket.close()

    def shake_hands(self, connect: Connect) -> tuple[MqttPackets, ConnAck, list[Item]]:
        """Say CONNECT; the parser of what comes, the CONNACK, and what came with it.

        Raises Misunderstood if the broker does not answer as one of that version does.
        """
        self.transmit(encode(connect, connect.version))
        packets = MqttPackets(_LARGEST, version=connect.version, skips=True, unheard=True)
        items: list[Item] = []
        while not items:
            data = self.receive(_PATIENCE)
            if data is None:
                raise Misunderstood(f"it did not answer within {_PATIENCE:g} s")
            if not data:
                how = f" ({self._broke})" if self._broke else ""
                raise Misunderstood(f"it closed the connection without an answer{how}")
            items = packets.receive(data)
        first = items.pop(0)
        if isinstance(first, MqttError):
            raise Misunderstood(first.sentence)
        if not isinstance(first, ConnAck):
            raise Misunderstood(f"it answered with {type(first).__name__}")
        return packets, first, items


def connect(
    broker: Broker, pump: WritePump, walk: Callable[[], None], hello: Connect
) -> tuple[Link, MqttPackets, ConnAck, list[Item]]:
    """A connection in the version of `hello`, or in the other one if the broker does not know it. Raises Unreachable.

    The link, the parser of what comes, the CONNACK that accepts, and what came with it.
    """
    other = msgspec.structs.replace(hello, version=V311 if hello.version == V5 else V5, properties=NONE)
    for attempt in (hello, other):
        link = Link(broker, pump, walk)
        try:
            packets, connack, items = link.shake_hands(attempt)
        except Misunderstood as error:
            link.close()
            why = str(error)
            continue
        if not connack.reason:
            return link, packets, connack, items
        link.close()
        why = _unwelcome(broker) if connack.reason == Reason.NOT_AUTHORIZED else words(connack.reason)
        if connack.reason != Reason.UNSUPPORTED_PROTOCOL_VERSION:
            break
    raise Unreachable(f"{broker.address} refuses us: {why}.")


def _unwelcome(broker: Broker) -> str:
    """What "not authorized" means in a CONNACK: Mosquitto says it of a wrong password, too."""
    if broker.user is None:
        return "it wants a user name and a password, or lets nobody in from here"
    return "our user name or our password is wrong, or has no right to connect"


def _said(error: OSError) -> str:
    return f"no answer within {_PATIENCE:g} s" if isinstance(error, TimeoutError) else reason_of(error)
