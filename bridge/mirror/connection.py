"""Floor 3: the link: one connection to a broker, over TLS or not, and the handshake that finds the broker's version."""

from __future__ import annotations

import errno
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from typing import Protocol

import msgspec

from wire.mqtt import NONE, V5, V311, ConnAck, Connect, Item, MqttError, MqttPackets, Reason, encode

from .address import Broker

_PATIENCE = 5.0  # seconds that a connection, a TLS handshake and a CONNACK may take, each
_CHUNK = 65_536  # bytes of one recv (for much more, each would map memory anew), and of what is encrypted at once
_LARGEST = 8_388_608  # bytes of a packet that is taken in at all; what is larger is read past
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 20), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))


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


class Walker(Protocol):
    """What the pump walks."""

    def walk(self) -> None:
        """Send what can be sent; must not raise."""


class Pumping(Protocol):
    """The pump of the doors."""

    def add(self, descriptor: int, walker: Walker) -> None:
        """Walk it once, when its descriptor can be written to."""

    def remove(self, descriptor: int) -> None:
        """Forget it, before its descriptor is closed."""


class Link:
    """An outlet (see channels/reader.py) to a broker. `receive` and `close` are for its owner's thread alone."""

    def __init__(self, broker: Broker, pump: Pumping, walk: Callable[[], None]) -> None:
        """Connect. `walk` is called by the pump when the line takes bytes again. Raises Unreachable."""
        self._pump = pump
        self._walk = walk
        self._timeout: float | None = None
        self._least = 1
        self._tls: _Tls | None = None
        self._broke = ""  # how it ended, if it was no ordinary end
        try:
            self._socket = socket.create_connection((broker.host, broker.port), _PATIENCE)
        except OSError as error:
            raise Unreachable(f"{broker.address} cannot be reached: {_said(error)}.") from error
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in _KEEPALIVE:
                self._socket.setsockopt(socket.IPPROTO_TCP, option, value)
            if broker.tls is not None:
                self._tls = _Tls(self._socket, broker.tls, broker.host)
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
            seconds, part = divmod(max(timeout, 0.001), 1)
            value = struct.pack("ll", int(seconds), int(part * 1_000_000))
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
        try:
            while True:
                data = self._socket.recv(_CHUNK)
                if self._tls is not None and data:
                    plain = self._tls.decrypt(data)
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
            taken, waits = self._tls.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            return len(data)  # the owner's thread finds out, too
        if waits:
            self.when_writable()
        return taken

    def when_writable(self) -> None:
        """Have the pump walk the reader once the line takes bytes again."""
        descriptor = self._socket.fileno()
        if descriptor >= 0:
            self._pump.add(descriptor, self)

    def walk(self) -> None:
        """Called by the pump."""
        if self._tls is not None:
            self.transmit(b"")
            if self._tls.waits:
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
    broker: Broker, pump: Pumping, walk: Callable[[], None], hello: Connect
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


class _Tls:
    """TLS in memory, as an SSLSocket must not be read and written by two threads at once; the socket is used plain.

    `waits`: what is encrypted already has not been sent in full.
    """

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, host: str) -> None:
        """Shake hands, while the socket blocks. Raises OSError."""
        self._socket = sock
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname=host)
        self._lock = threading.Lock()  # of the connection, like a reader's: taken below that one
        self._pending = b""
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                sock.sendall(self._out.read())
                self._in.write(sock.recv(_CHUNK) or _eof())
            finally:
                if self._out.pending:
                    sock.sendall(self._out.read())

    @property
    def waits(self) -> bool:
        return bool(self._pending)

    def decrypt(self, data: bytes) -> bytes | None:
        """The plain text of what has come; empty if there is none yet, None at the end. Raises OSError."""
        pieces: list[bytes] = []
        with self._lock:
            self._in.write(data)
            try:
                while piece := self._tls.read(_CHUNK):
                    pieces.append(piece)
                ended = True
            except ssl.SSLWantReadError:
                ended = False
            except ssl.SSLZeroReturnError:
                ended = True
            self._flush()  # TLS itself may have something to say
        return None if ended and not pieces else b"".join(pieces)

    def send(self, data: bytes | memoryview) -> tuple[int, bool]:
        """Encrypt and send without blocking: how many bytes were taken, and whether some of them wait here."""
        with self._lock:
            if not self._flush():
                return 0, True
            taken = data[:_CHUNK]
            if taken:
                self._tls.write(taken)
            return len(taken), not self._flush()

    def _flush(self) -> bool:
        """Send what is encrypted; whether all of it went out."""
        self._pending += self._out.read()
        try:
            while self._pending:
                self._pending = self._pending[self._socket.send(self._pending, socket.MSG_DONTWAIT) :]
        except BlockingIOError:
            return False
        return True


def _eof() -> bytes:
    raise OSError(errno.ECONNRESET, "the connection was closed")


def _said(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not good ({error.verify_message.rstrip('.')})"
    if isinstance(error, TimeoutError):
        return f"no answer within {_PATIENCE:g} s"
    if isinstance(error, ssl.SSLError):
        return error.reason or str(error)
    return error.strerror or str(error)
