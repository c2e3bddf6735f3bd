"""Attacks of strangers on a server with its default limits, as a table: what they send, and what they are told.

Each attack is a function of the server's address. It keeps its connections in the stack that it is given, so that the
caller can look at the server while they are there, and returns what the attacker was sent last.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import NamedTuple, TypeAlias

from tests.support.clients import Json, endpoint
from tests.support.waiting import DEADLINE
from wire.frames import (
    Error,
    FilePart,
    Get,
    Have,
    Hello,
    Help,
    History,
    Join,
    Msg,
    Offer,
    Ping,
    Put,
    Register,
    Say,
    Topic,
    with_parts_behind,
)
from wire.jsonlines import JsonLines
from wire.mqtt import V5, Connect, PingReq, Publish, Subscribe, Subscription, encode
from wire.mqtt.packets import Packet

Attack: TypeAlias = Callable[[str, ExitStack], bytes]

CHANNEL = "lab"  # a channel with HISTORY entries of ENTRY bytes
HISTORY, ENTRY = 400, 16_000
NAME, PASSWORD = "owner", "correct horse"  # a registered name
_STUCK = 1.0  # seconds after which an attacker gives up on a server that does not read
_END, _ENDED = JsonLines.encode(Ping(ref="the end")), b'"ref":"the end"'
_ANSWER = 1 << 26  # bytes that an attacker reads at most
_SILENT = 150  # connections that ask and do not read
_WINDOW = 4_096  # bytes that the machine of such a connection takes
PAYLOAD = 1_048_576  # bytes of the largest payload
_PARTS = [FilePart(f"{number:04}" + "x" * 80, 0) for number in range(9_000)]  # nearly as long as a list may be


def fill(address: str) -> None:
    """Give a server without rate limits what the attacks need: the channel with its history, and the name."""
    with Json(address, NAME) as owner:
        owner.request(Join(CHANNEL))
        owner.request(Register(password=PASSWORD))
        for _ in range(HISTORY):
            owner.request(Say("y" * ENTRY, CHANNEL))


def connected(address: str, stack: ExitStack) -> socket.socket:
    """Return a connection that stays until the stack is closed."""
    return stack.enter_context(socket.create_connection(endpoint(address), DEADLINE))


def shout(sock: socket.socket, data: bytes, times: int = 1) -> None:
    """Send, until the server has ended the connection or does not read any more."""
    with suppress(OSError):
        for _ in range(times):
            sock.sendall(data)


def listen(sock: socket.socket, end: bytes | None = None) -> bytes:
    """Return what comes until `end` has come, or, without it, until the server ends the connection or is silent."""
    received = bytearray()
    sock.settimeout(_STUCK if end is None else DEADLINE)
    with suppress(OSError):
        while len(received) < _ANSWER and (data := sock.recv(1 << 18)):
            received += data
            if end is not None and end in received:
                break
    return bytes(received)


def pour(data: bytes, times: int = 1, connections: int = 1) -> Attack:
    """Return an attack that sends the same from several connections at a time."""

    def attack(address: str, stack: ExitStack) -> bytes:
        lines = [connected(address, stack) for _ in range(connections)]
        for line in lines:
            shout(line, data, times)
        return [listen(line) for line in lines][-1]

    return attack


def guest(make: Callable[[int], bytes], times: int, *, reads: bool = True, guests: int = 1) -> Attack:
    """Return an attack of guests, each of whom sends `make(n)` for every n below `times`."""

    def attack(address: str, stack: ExitStack) -> bytes:
        lines = []
        for number in range(guests):
            line = connected(address, stack)
            shout(line, JsonLines.encode(Hello(name=f"guest{number}")) + JsonLines.encode(Join(CHANNEL)))
            lines.append(line)
        for line in lines:
            shout(line, b"".join([make(n) for n in range(times)]) + _END)
        return listen(lines[-1], _ENDED) if reads else b""

    return attack


def _quiet_guests(address: str, stack: ExitStack) -> list[socket.socket]:
    """Return connections of guests who are in the channel, and read nothing more."""
    lines = []
    for number in range(_SILENT):
        line = stack.enter_context(socket.socket())
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _WINDOW)
        line.settimeout(DEADLINE)
        line.connect(endpoint(address))
        line.sendall(JsonLines.encode(Hello(name=f"guest{number}")) + JsonLines.encode(Join(CHANNEL)) + _END)
        listen(line, _ENDED)
        lines.append(line)
    return lines


def unread(make: Callable[[str, ExitStack], bytes]) -> Attack:
    """Return an attack of guests who send what `make` returns and read no answer."""

    def attack(address: str, stack: ExitStack) -> bytes:
        asked = make(address, stack)
        lines = _quiet_guests(address, stack)
        _send_all(lines, asked)
        return b""

    return attack


def _send_all(lines: Sequence[socket.socket], data: bytes) -> None:
    """Send on all connections at a time, until everything is sent or the server has read nothing for a while."""
    left = {line.fileno(): (line, memoryview(data)) for line in lines}
    poll = select.poll()
    for line in lines:
        line.setblocking(False)
        poll.register(line, select.POLLOUT)
    while left and (ready := poll.poll(_STUCK * 1_000)):
        for descriptor, _ in ready:
            line, rest = left[descriptor]
            try:
                rest = rest[line.send(rest[: 1 << 16]) :]
            except OSError:
                rest = rest[:0]
            left[descriptor] = (line, rest)
            if not rest:
                poll.unregister(descriptor)
                del left[descriptor]
    with suppress(OSError):
        select.select([], [], [], _STUCK)  # the server is answering


def _offered(address: str, stack: ExitStack, payload: bytes = b"", parts: Sequence[FilePart] = ()) -> str:
    """Offer a file, or a folder with these parts, put its bytes, and return its id."""
    line = stack.enter_context(Json(address, "offerer"))
    line.request(Join(CHANNEL))
    offer = with_parts_behind(Offer(name="x", size=len(payload), channel=CHANNEL, parts=list(parts)))
    file: str = line.request(offer).file
    if payload:
        line.request(Put(file=file, offset=0, payload=payload))
    return file


def _have(address: str, stack: ExitStack) -> bytes:
    return JsonLines.encode(Have(file=_offered(address, stack, parts=_PARTS))) * 3


def _get(address: str, stack: ExitStack) -> bytes:
    return JsonLines.encode(Get(file=_offered(address, stack, b"x" * PAYLOAD), offset=0, length=PAYLOAD)) * 20


def device(*packets: Packet) -> Attack:
    """Return an attack of an MQTT 5 client."""
    connect = Connect(version=V5, username="device", client_id="device")
    return pour(b"".join([encode(packet, V5) for packet in (connect, *packets)]))


def _quiet_devices(address: str, stack: ExitStack) -> list[socket.socket]:
    """Return connections of MQTT clients, which read nothing more."""
    lines = []
    for number in range(_SILENT):
        line = stack.enter_context(socket.socket())
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _WINDOW)
        line.settimeout(DEADLINE)
        line.connect(endpoint(address))
        line.sendall(encode(Connect(version=V5, username=f"device{number}", client_id=f"device{number}"), V5))
        line.recv(_WINDOW)
        lines.append(line)
    return lines


def _unread_devices(*packets: Packet, times: int = 1, cut: int | None = None) -> Attack:
    """Return an attack of MQTT clients that send these packets, without the end, and read nothing."""

    def attack(address: str, stack: ExitStack) -> bytes:
        _send_all(_quiet_devices(address, stack), (b"".join([encode(packet, V5) for packet in packets]) * times)[:cut])
        return b""

    return attack


def _comers(make: Callable[[int], bytes], count: int) -> Attack:
    """Return an attack of many connections, one after the other, each of which sends `make(n)`."""

    def attack(address: str, stack: ExitStack) -> bytes:
        answer = b""
        for number in range(count):
            with socket.create_connection(endpoint(address), DEADLINE) as line:
                shout(line, make(number))
                with suppress(OSError):
                    answer = line.recv(1 << 16) or answer
        return answer

    return attack


def _crowd(address: str, stack: ExitStack) -> bytes:
    """More connections of one address than it may have."""
    lines = [connected(address, stack) for _ in range(220)]
    return listen(lines[-1])


def _single_bytes(address: str, stack: ExitStack) -> bytes:
    """An upload in pieces of one byte with gaps between them."""
    line = stack.enter_context(Json(address, "uploader"))
    line.request(Join(CHANNEL))
    file = line.request(Offer(name="x.bin", size=10_000, channel=CHANNEL)).file
    answer = b""
    for number in range(3_500):
        found = line.request(Put(file=file, offset=2 * number, payload=b"x"))
        if isinstance(found, Error):
            answer = found.error.encode()
    return answer


class Row(NamedTuple):
    """One attack, and a part of what the attacker is told; empty if the server goes on reading without a word."""

    name: str
    attack: Attack
    told: bytes


ATTACKS: tuple[Row, ...] = (
    Row("unclosed telnet subnegotiations", pour(b"\xff\xfa" * 8190 + b"\n", 50, 4), b"at most 32768 bytes"),
    Row("nested JSON", pour(b'{"op":' + b"[" * 16_000 + b"\n", 50, 4), b"at most 32768 bytes"),
    Row("a line without an end", pour(b"x" * 65_536, 500), b"A line has at most 16384 bytes."),
    Row("help before a name", pour(b"/help\n" * 3_000), b"at most 10 requests"),
    Row(
        "payloads before a name",
        pour(b'{"op":"ping","bytes":1000000}\n' + b"x" * 900_000, 1, 40),
        b"at most 32768 bytes",
    ),
    Row(
        "a web page",
        pour(b"POST / HTTP/1.1\r\nHost: chat\r\nContent-Length: 20\r\n\r\nname\nhello, everyone\n"),
        b"HTTP/1.1 400",
    ),
    Row("MQTT 3.1", pour(b"\x10\x12\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x04name"), b"\x20\x02\x00\x01"),
    Row("connections", _crowd, b"Too many connections from your address."),
    Row("bad names", pour(b"no name\n" * 1_000), b"This was the last attempt."),
    Row(
        "new names",
        _comers(lambda n: JsonLines.encode(Hello(name=f"new{n}")), 400),
        b"Too many new names come from your address.",
    ),
    Row(
        "wrong passwords",
        _comers(lambda n: JsonLines.encode(Hello(name=NAME, password=f"wrong{n}")), 40),
        b"Too many passwords for owner were wrong.",
    ),
    Row(
        "history that nobody reads",
        guest(lambda n: b'{"op":"history","channel":"lab","limit":1000}\n', 100, reads=False, guests=4),
        b"",
    ),
    Row(
        "history that 150 do not read",
        unread(lambda *_: JsonLines.encode(History(channel=CHANNEL, limit=1_000)) * 20),
        b"",
    ),
    Row("lists of a folder that nobody reads", unread(_have), b""),
    Row("parts of a file that nobody reads", unread(_get), b""),
    Row("pings that nobody reads", unread(lambda *_: JsonLines.encode(Ping(payload=b"x" * PAYLOAD)) * 6), b""),
    Row("help that nobody reads", unread(lambda *_: JsonLines.encode(Help()) * 1_000), b""),
    Row("payloads without an end", unread(lambda *_: JsonLines.encode(Ping(payload=b"x" * PAYLOAD))[:-1]), b""),
    Row(
        "packets without an end",
        _unread_devices(Publish("chat/from/device/direct/x", b"x" * (PAYLOAD - 100)), cut=-1),
        b"",
    ),
    Row("pings of devices that nobody reads", _unread_devices(PingReq(), times=200_000), b""),
    Row("retained messages that nobody reads", _unread_devices(Subscribe(1, (Subscription("#"),)), times=100), b""),
    Row(
        "new channels",
        guest(lambda n: JsonLines.encode(Join(f"channel{n}")), 1_000),
        b"You join and leave channels too often.",
    ),
    Row(
        "long topics",
        guest(lambda n: JsonLines.encode(Topic(CHANNEL, "x" * 16_000)), 100),
        b"You change topics too often.",
    ),
    Row("posts", guest(lambda n: JsonLines.encode(Say("x" * 1_000, CHANNEL)), 400, reads=False), b""),
    Row(
        "messages to names never seen",
        guest(lambda n: JsonLines.encode(Msg(user=f"never{n}", text="hello")), 150),
        b"You have written to too many users for the first time.",
    ),
    Row(
        "passwords to register",
        guest(lambda n: JsonLines.encode(Register(password=f"my password {n}")), 40),
        b"You have set a password too often.",
    ),
    Row(
        "a folder of files with one name",
        guest(
            lambda n: JsonLines.encode(Offer(name="x", size=0, channel=CHANNEL, parts=[FilePart("same", 0)] * 400)), 5
        ),
        b"Two files in x have the same path.",
    ),
    Row("an upload by single bytes", _single_bytes, b"The upload has 1024 ranges with gaps"),
    Row(
        "a deep filter",
        device(*[Subscribe(n, (Subscription("a/" * 32_000),)) for n in range(1, 20)]),
        b"A topic filter has at most 32 levels",
    ),
    Row(
        "a filter 5,000 times",
        device(*[Subscribe(n, (Subscription("#"),) * 5_000) for n in range(1, 5)]),
        b"A packet has at most 2000 topic filters",
    ),
    Row("live messages", device(*[Publish("chat/from/device/direct/owner", b"x" * 1_000) for _ in range(5_000)]), b""),
)
