"""The protocol of each server as a client speaks it: requests and the marks of their answers, without I/O.

The load generator in Python counts deliveries by their size and does not parse them. Texts and names have a fixed
length, so all deliveries in a channel have the same size, except for the digits of Partyline's number, which
`SizeModel` adds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

ID_PLACE = "#" * 12  # stands for the id in a post made by `Dialect.post(..., with_id=True)`; an id has as many digits


class Dialect(ABC):
    """One protocol, as seen by a client that logs in, joins, pings and posts."""

    framing: ClassVar[str] = "lines"  # how the C program finds the end of a frame: lines, nats or mqtt
    numbered: ClassVar[bool] = False  # deliveries carry a number that grows by one
    echoes: ClassVar[bool] = True  # a publisher receives its own posts, like the other members
    unasked_bytes: ClassVar[int] = 0  # bytes that the server may send to each connection once, unasked
    welcomed: ClassVar[bytes]  # is in the answer to `login`
    joined: ClassVar[bytes]  # is in the answer to `join`
    ping: ClassVar[bytes]
    pong: ClassVar[bytes]

    @abstractmethod
    def login(self, name: str) -> bytes:
        """Return the request that logs a new connection in."""

    @abstractmethod
    def join(self, channel: str) -> bytes:
        """Return the request that makes the connection a member of `channel`."""

    @abstractmethod
    def post(self, channel: str, text: str, *, with_id: bool = False) -> bytes:
        """Return one message to a channel: the same bytes for the same arguments."""


class Partyline(Dialect):
    """Partyline's JSON dialect."""

    numbered = True
    welcomed = b'"op":"welcome"'
    joined = b'"op":"joined"'
    ping = b'{"op":"ping","ref":"p"}\n'
    pong = b'"op":"pong"'

    def login(self, name: str) -> bytes:
        return b'{"op":"hello","name":"%b","ref":1}\n' % name.encode()

    def join(self, channel: str) -> bytes:
        return b'{"op":"join","channel":"%b","ref":2}\n' % channel.encode()

    def post(self, channel: str, text: str, *, with_id: bool = False) -> bytes:
        identity = f',"id":"{ID_PLACE}"' if with_id else ""
        return f'{{"op":"say","channel":"{channel}","text":"{text}"{identity}}}\n'.encode()


class Nats(Dialect):
    """The core protocol of NATS; a channel is a subject."""

    framing = "nats"
    unasked_bytes = len(b"PING\r\n")  # 2 seconds after the login, to measure the round trip; no setting turns it off
    welcomed = b"PONG\r\n"
    joined = b"PONG\r\n"
    ping = b"PING\r\n"
    pong = b"PONG\r\n"

    def login(self, name: str) -> bytes:
        return b'CONNECT {"verbose":false,"pedantic":false,"name":"%b"}\r\nPING\r\n' % name.encode()

    def join(self, channel: str) -> bytes:
        return b"SUB %b 1\r\nPING\r\n" % channel.encode()

    def post(self, channel: str, text: str, *, with_id: bool = False) -> bytes:
        return f"PUB {channel} {len(text)}\r\n{text}\r\n".encode()


class Irc(Dialect):
    """IRC (RFC 2812), as ngircd speaks it."""

    echoes = False
    welcomed = b" 376 "  # RPL_ENDOFMOTD
    joined = b" 366 "  # RPL_ENDOFNAMES
    ping = b"PING p\r\n"
    pong = b" PONG "

    def login(self, name: str) -> bytes:
        return f"NICK {name}\r\nUSER {name} 0 * :{name}\r\n".encode()

    def join(self, channel: str) -> bytes:
        return f"JOIN #{channel}\r\n".encode()

    def post(self, channel: str, text: str, *, with_id: bool = False) -> bytes:
        return f"PRIVMSG #{channel} :{text}\r\n".encode()


class Mqtt(Dialect):
    """MQTT 3.1.1 at QoS 0; a channel is a topic."""

    framing = "mqtt"
    welcomed = b"\x20\x02\x00\x00"  # CONNACK, accepted
    joined = b"\x90\x03\x00\x01\x00"  # SUBACK of packet 1, QoS 0
    ping = b"\xc0\x00"
    pong = b"\xd0\x00"

    def login(self, name: str) -> bytes:
        clean_session_no_keep_alive = b"\x02\x00\x00"
        return packet(0x10, string("MQTT") + b"\x04" + clean_session_no_keep_alive + string(name))

    def join(self, channel: str) -> bytes:
        return packet(0x82, b"\x00\x01" + string(channel) + b"\x00")

    def post(self, channel: str, text: str, *, with_id: bool = False) -> bytes:
        return packet(0x30, string(channel) + text.encode())


def string(text: str) -> bytes:
    """Return an MQTT string (section 1.5.3): its length, then UTF-8."""
    return len(text).to_bytes(2, "big") + text.encode()


def packet(first: int, body: bytes) -> bytes:
    """Return a control packet (section 2.2)."""
    size, length = len(body), bytearray()
    while size > 127:
        length.append(size % 128 | 128)
        size //= 128
    return bytes([first, *length, size]) + body


class SizeModel:
    """The size of the deliveries of one channel, to convert received bytes to received messages.

    The first `sample` deliveries, numbered from 1, had `size` bytes together. The model starts after them.
    """

    def __init__(self, size: int, sample: int, *, numbered: bool) -> None:
        self._numbered = numbered
        self._first = 1
        self._base, rest = divmod(size - (self._digits(sample) if numbered else 0), sample)
        if rest:
            raise ValueError(f"{sample} deliveries of equal size cannot have {size} bytes together")
        self._first = sample + 1

    def total(self, count: int) -> int:
        """Return the number of bytes of the next `count` deliveries."""
        total = self._base * count
        return total + self._digits(count) if self._numbered else total

    def count(self, size: int) -> int:
        """Return the number of whole deliveries in the next `size` bytes."""
        if not self._numbered:
            return size // self._base
        guess = size // (self._base + 1)
        while (total := self.total(guess)) > size:
            guess -= max(1, (total - size) // (self._base + 20))
        return guess

    def _digits(self, count: int) -> int:
        """Return the total number of digits of `count` numbers from the first one on."""
        last = self._first + count - 1
        digits, power = 0, 1
        while power <= last:
            digits += last - max(power, self._first) + 1
            power *= 10
        return digits
