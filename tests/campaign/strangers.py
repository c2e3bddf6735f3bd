"""Strangers: each comes, shouts, breaks rules, and vanishes.

All of them use the same few names, channels and client ids, so what the server keeps of them is bounded by these.
"""

from __future__ import annotations

import json
import random
import socket
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TypeAlias

from tests.support.clients import endpoint
from tests.support.waiting import DEADLINE
from wire.mqtt import V5, V311, Connect, Properties, Publish, Subscribe, Subscription, Will, encode

Attack: TypeAlias = "Callable[[Stranger], None]"

NAMES = [f"stranger{n}" for n in range(24)]
CHANNELS = ["lab", "hall", "yard"]
SOURCES = [f"127.0.1.{n}" for n in range(1, 25)]
PASSWORD = "open sesame, please"


@dataclass
class Stranger:
    """One stranger: the server's address, the address that it comes from, its name, and its chance."""

    address: str
    source: str
    name: str
    chance: random.Random
    sockets: list[socket.socket] = field(default_factory=list)

    @property
    def channel(self) -> str:
        return self.chance.choice(CHANNELS)

    def connect(self) -> socket.socket:
        """Connect; the connection ends with the stranger."""
        made = socket.socket()
        self.sockets.append(made)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.settimeout(DEADLINE)
        made.bind((self.source, 0))
        made.connect(endpoint(self.address))
        return made

    def json(self, *frames: Mapping[str, object], payload: bytes = b"") -> socket.socket:
        """Log in, send frames as JSON, and return the connection after the first answer."""
        line = self.connect()
        hello = {"op": "hello", "name": self.name}
        line.sendall(b"".join(json.dumps(frame).encode() + b"\n" for frame in (hello, *frames)) + payload)
        line.recv(1)
        return line

    def mqtt(self, *data: bytes, version: int = V311, **fields: object) -> socket.socket:
        """Log in over MQTT, send bytes, and return the connection after the first answer."""
        line = self.connect()
        connect = Connect(version=version, username=self.name, client_id="one", **fields)  # type: ignore[arg-type]
        line.sendall(encode(connect, version) + b"".join(data))
        line.recv(1)
        return line


@contextmanager
def _vanishing(stranger: Stranger) -> Iterator[None]:
    """End all connections at the end, half of them by a reset. The server may end them before that."""
    try:
        with suppress(OSError):
            yield
    finally:
        for line in stranger.sockets:
            if stranger.chance.random() < 0.5:
                line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            line.close()


def _read(line: socket.socket, most: int = 1 << 20) -> None:
    """Read to the end of the connection, but not more than that."""
    while most > 0 and (data := line.recv(1 << 16)):
        most -= len(data)


# Before the login


def telnet(stranger: Stranger) -> None:
    line = stranger.connect()
    line.sendall(b"\xff\xfa" * 8_190 + b"\n")
    _read(line)


def helpless(stranger: Stranger) -> None:
    line = stranger.connect()
    line.sendall(b"/help\n" * 3_000)
    _read(line)


def early_payload(stranger: Stranger) -> None:
    line = stranger.connect()
    line.sendall(b'{"op":"ping","bytes":1048576}\n' + b"x" * 500_000)
    _read(line)


def other_protocol(stranger: Stranger) -> None:
    line = stranger.connect()
    mqtt_3_1 = b"\x10\x13\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x05me-31"
    openings = (b"POST / HTTP/1.1\r\n\r\nme\nhello\n", b"\x16\x03\x01\x02\x00\x01\x00", b"SSH-2.0-x\r\n", mqtt_3_1)
    line.sendall(stranger.chance.choice(openings))
    line.shutdown(socket.SHUT_WR)
    _read(line)


def noise(stranger: Stranger) -> None:
    """Without line ends: a short random line could be a name."""
    line = stranger.connect()
    sent = stranger.chance.randbytes(stranger.chance.randrange(1, 50_000)).replace(b"\n", b" ")
    line.sendall(stranger.chance.choice((b"{", b"\x10", b"\xff", b"")) + sent)
    line.shutdown(socket.SHUT_WR)
    _read(line)


def bad_names(stranger: Stranger) -> None:
    line = stranger.connect()
    line.sendall("\x1b[2J\n\u202ename\n{}\n/register x\n".encode() * 3)
    _read(line)


def silence(stranger: Stranger) -> None:
    for _ in range(20):
        stranger.connect().sendall(stranger.chance.choice((b"", b"\x10", b'{"op":"hel', b"/he")))


def crowd(stranger: Stranger) -> None:
    """More connections than one address may have."""
    for _ in range(230):
        stranger.connect()


def guesses(stranger: Stranger) -> None:
    line = stranger.connect()
    line.sendall(b"".join(b'{"op":"hello","name":"owner","password":"guess %d"}\n' % n for n in range(5)))
    _read(line)


def mqtt_guesses(stranger: Stranger) -> None:
    stranger.name = "owner"
    stranger.mqtt(password=b"a guess")


# After the login


def shouts(stranger: Stranger) -> None:
    join = {"op": "join", "channel": stranger.channel}
    size = stranger.chance.choice((1, 100, 4_000))
    say = {"op": "say", "channel": join["channel"], "text": "x" * size}
    line = stranger.json(join, *[say] * 60)
    with suppress(TimeoutError):
        line.settimeout(0.5)
        _read(line)


def types_and_vanishes(stranger: Stranger) -> None:
    line = stranger.connect()
    line.sendall(f"{stranger.name}\n/join lab\n".encode() + b"hello there\n" * 30 + b"half a li")
    line.recv(1)


def topics(stranger: Stranger) -> None:
    channel = stranger.channel
    topic = {"op": "topic", "channel": channel, "topic": "t" * stranger.chance.choice((10, 300, 16_000))}
    stranger.json({"op": "join", "channel": channel}, *[topic] * 30)


def long_lines(stranger: Stranger) -> None:
    line = stranger.json()
    line.sendall(
        b"x" * 300_000 + b"\n" + b"[" * 16_000 + b"\n" + b'{"op":"say","text":"' + b"\\u0000" * 2_500 + b'"}\n'
    )


def history_unread(stranger: Stranger) -> None:
    """Asks for far more than it reads, and reads nothing."""
    channel = stranger.channel
    history = {"op": "history", "channel": channel, "limit": 1_000}
    stranger.json({"op": "join", "channel": channel}, *[history] * 50, *[{"op": "channels"}] * 50)


def partner_of(name: str) -> str:
    """Return the name to which the stranger of that name writes in private."""
    return NAMES[(NAMES.index(name) + 1) % len(NAMES)]


def private_talk(stranger: Stranger) -> None:
    other = partner_of(stranger.name)
    stranger.json(*[{"op": "msg", "user": other, "text": "psst"}] * 30, {"op": "whois", "name": other})


def folder_of_one_name(stranger: Stranger) -> None:
    parts = [{"name": "a", "size": 1}] * 2_000
    offer = {"op": "offer", "channel": "lab", "name": "folder", "size": 2_000, "parts": parts}
    stranger.json({"op": "join", "channel": "lab"}, offer)


def tiny_puts(stranger: Stranger) -> None:
    """One offer, by the same id each time, and as many gaps as it can make."""
    offer = {"op": "offer", "channel": "lab", "name": "tiny", "size": 100_000, "id": "tiny", "ref": "offer"}
    line = stranger.json({"op": "join", "channel": "lab"}, offer)
    answer = b""
    while b'"offered"' not in answer and b'"error"' not in answer:
        answer += line.recv(1 << 16)
    found = answer.partition(b'"file":"')[2].partition(b'"')[0].decode()
    puts = [json.dumps({"op": "put", "file": found, "offset": at * 3, "bytes": 1}).encode() for at in range(300)]
    line.sendall(b"".join(put + b"\nx" for put in puts))
    with suppress(TimeoutError):
        line.settimeout(0.5)
        _read(line)


def deep_filters(stranger: Stranger) -> None:
    deep = "a/" * stranger.chance.choice((10, 1_000, 30_000))
    stranger.mqtt(encode(Subscribe(1, (Subscription(deep + "#", 0),)), V311))


def many_filters(stranger: Stranger) -> None:
    everything = Subscribe(1, tuple([Subscription("#", 0)] * 5_000))
    different = Subscribe(2, tuple([Subscription(f"chat/presence/x{n}", 0) for n in range(5_000)]))
    stranger.mqtt(encode(everything, V311), encode(different, V311))


def forbidden_topics(stranger: Stranger) -> None:
    topics = ("chat/from/owner/say/lab", "$SYS/x", "chat/channels/lab", "chat/from/+/say/lab", "elsewhere")
    stranger.mqtt(*[encode(Publish(topic, b"x" * 500, 1, packet_id=at + 1), V311) for at, topic in enumerate(topics)])


def forbidden_will(stranger: Stranger) -> None:
    stranger.mqtt(will=Will("chat/from/owner/say/lab", b"as the owner"))


def dies_with_a_will(stranger: Stranger) -> None:
    delay = Properties(will_delay_interval=stranger.chance.choice((0, 1)))
    will = Will(f"chat/from/{stranger.name}/say/lab", b"died", properties=delay)
    stranger.mqtt(version=V5, will=will, clean=False, properties=Properties(session_expiry_interval=5))


def kept_session(stranger: Stranger) -> None:
    """Subscribes to everything at QoS 1, leaves, comes back, and acknowledges nothing."""
    wanted = Subscribe(1, (Subscription("chat/channels/#", 1), Subscription("chat/presence/#", 1)))
    stranger.mqtt(encode(wanted, V311), clean=False)


def live_flood(stranger: Stranger) -> None:
    to = f"chat/direct/{stranger.chance.choice(NAMES)}/{stranger.name}"
    stranger.mqtt(*[encode(Publish(to, b"x" * 1_000), V311)] * 500)


def broken_packets(stranger: Stranger) -> None:
    line = stranger.mqtt()
    broken = (b"\xf0\x00", b"\x30\xff\xff\xff\x7f" + b"x" * 1_000, b"\x82\x00", b"\x30\x05\x00\x09ab\xff", b"\x10\x00")
    line.sendall(stranger.chance.choice(broken))
    _read(line)


def takes_over(stranger: Stranger) -> None:
    """The same client again and again, each time before the last connection has ended."""
    for _ in range(10):
        stranger.mqtt(clean=False)


ATTACKS: tuple[Attack, ...] = (
    telnet, helpless, early_payload, other_protocol, noise, bad_names, silence, crowd, guesses, mqtt_guesses, shouts,
    types_and_vanishes, topics, long_lines, history_unread, private_talk, folder_of_one_name, tiny_puts, deep_filters,
    many_filters, forbidden_topics, forbidden_will, dies_with_a_will, kept_session, live_flood, broken_packets,
    takes_over,
)  # fmt: skip


def visit(attack: Attack, address: str, source: str, name: str, chance: random.Random) -> None:
    """One stranger's visit, from its coming to its vanishing."""
    stranger = Stranger(address, source, name, chance)
    with _vanishing(stranger):
        attack(stranger)
