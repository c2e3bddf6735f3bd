"""Peers send noise, cut lines, endless lines, invalid names, and bytes that act on a terminal."""

from __future__ import annotations

import random
import re
import unicodedata
from collections import deque
from collections.abc import Callable, Iterator

import pytest

from server import Server
from tests.support.clients import Bulk, Gone, Json, Text
from tests.support.mqtt import MqttLine
from tests.support.processes import Process, counts, memory, peak_memory, returns_to, serves
from tests.support.strategies import pieces
from wire.frames import (
    Channels,
    Entry,
    Error,
    Frame,
    Hello,
    History,
    Join,
    Malformed,
    Msg,
    Ping,
    Pong,
    Say,
    Stored,
    Topic,
    Whois,
)
from wire.jsonlines import JsonLines
from wire.names import printable
from wire.other_protocols import UNKNOWN_SENTENCE, begins_text

Connect = Callable[..., Json]

BAD_NAMES = [
    "", " ", "#", "@", "##x", "#@x", "../x", "a/b", "a b", "+", "x#", "$SYS", "a.b", "a:b", "x" * 33, "x" * 10_000,
    "é", "\u017f", "\u212a", "名", "a\x00b", "a\tb", "a\nb", "\x1b[31mred", "a\x7f", "a\u202eb", "a\u200bb",
    "\ufeffbom", "-\r",
]  # fmt: skip


def _noise(random_: random.Random) -> bytes:
    """Bytes of some kind: pure noise, near-JSON, frames with a few bytes changed, telnet's and MQTT's beginnings."""
    size = random_.randint(1, 3_000)
    kind = random_.randrange(5)
    if kind == 0:
        return random_.randbytes(size)
    if kind == 1:
        return bytes(random_.choice(b'{}[]",:\\ntrue01e+-. \n\x00\xff') for _ in range(size)) + b"\n"
    if kind == 2:
        return (
            random_.choice([b"\xff\xfb\x01", b"\x10\x20\x00\x04MQTT\x04", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03"]) * 9
        )
    name = f"noise{random_.randrange(50)}"
    frames = [
        Hello(name=name),
        Join("lab"),
        Say("x" * size, "lab"),
        History(channel="lab"),
        Ping(bytes=9, payload=b"123456789"),
    ]
    data = bytearray(b"".join(map(JsonLines.encode, frames)))
    for _ in range(random_.randrange(4)):
        data[random_.randrange(len(data))] = random_.randrange(256)
    return bytes(data) if kind == 3 else bytes(data[: random_.randrange(len(data))])


@pytest.mark.parametrize("seed", range(3))
def test_noise_ends_at_most_its_own_connection(process: Process, seed: int) -> None:
    random_ = random.Random(seed)
    before = counts(process)
    for _ in range(250):
        try:
            with Bulk(process.address) as line:
                for piece in pieces(_noise(random_), [random_.randrange(3_000) for _ in range(random_.randrange(3))]):
                    line.send_bytes(piece)
        except Gone:
            continue
    returns_to(process.pid, before)
    serves(process)


@pytest.mark.parametrize("seed", range(8))
def test_any_cut_of_the_same_bytes_gets_the_same_answers(server: Server, connect: Connect, seed: int) -> None:
    requests = [
        Join("lab", ref=1), Say("one", "lab", ref=2), Say("two", "nowhere", ref=3),
        Ping(bytes=5, payload=b"\n{}\n\n", ref=4),
        Say("three", "lab", "id-1", ref=5), Say("three", "lab", "id-1", ref=6), Msg("nobody", "hello", ref=7),
        Topic("lab", "all of it", ref=8), Whois("nobody", ref=9), History(channel="lab", ref=10), Ping(ref=11),
    ]  # fmt: skip
    extra = b'\n{"op":"dance","ref":12}\nnonsense\n\r\n{"op":"ping","ref":13}\n'
    data = JsonLines.encode(Hello(name="alice", ref=0)) + b"".join(map(JsonLines.encode, requests)) + extra
    line = connect(server.address)
    random_ = random.Random(seed)
    for piece in pieces(data, [random_.randrange(len(data)) for _ in range(random_.choice([0, 3, 40]))]):
        line.send_bytes(piece)
    line.expect(Pong, lambda frame: frame.ref == 13)
    answers = [frame for frame in line.received if not isinstance(frame, Entry)]
    assert [getattr(frame, "ref", None) for frame in answers] == [*range(13), None, 13]
    assert [frame.code for frame in answers if isinstance(frame, Error)] == [
        "no-such-channel", "unknown-frame", "bad-frame",
    ]  # fmt: skip
    numbers = [frame.number for frame in answers if isinstance(frame, Stored)]
    assert numbers == [1, 2, 2, 1]
    line.expect(Entry, lambda entry: entry.text == "three")


@pytest.mark.parametrize("kind", ["json", "text"])
def test_a_line_of_100_mb(process: Process, kind: str) -> None:
    start = memory(process.pid)
    line = Json(process.address, "alice") if kind == "json" else Text(process.address, "alice")
    for piece in _line_of_100_mb(kind):
        line.send_bytes(piece)
    if isinstance(line, Json):
        line.request(Ping())
        assert [frame.code for frame in line.of(Error)] == ["too-long"]
    else:
        line.send("/whois nobody")
        line.expect("No user called nobody")
        assert line.seen.count("A line has at most") == 1
        assert line.seen.count("\n! ") + line.seen.startswith("! ") == 2
    line.close()
    assert peak_memory(process.pid) < start + (16 << 20)


@pytest.mark.parametrize("kind", ["json", "text"])
def test_a_line_of_100_mb_before_the_name(process: Process, kind: str) -> None:
    """The connection ends soon after the limit of a line, whatever follows."""
    start = memory(process.pid)
    with Bulk(process.address) as line:
        pieces = _line_of_100_mb(kind)
        with pytest.raises(Gone):
            deque(map(line.send_bytes, pieces), maxlen=0)
        assert next(pieces, b""), "it ended amid the line"
    serves(process)
    assert peak_memory(process.pid) < start + (16 << 20)


def _line_of_100_mb(kind: str) -> Iterator[bytes]:
    yield b'{"op":"say","text":"' if kind == "json" else b"x"
    for _ in range(100):
        yield b"x" * 1_000_000
    yield b'"}\n' if kind == "json" else b"\n"


def test_a_payload_that_is_too_long_costs_nothing_else(server: Server, connect: Connect) -> None:
    """However it was cut: what came in one piece with it is kept and answered, and the connection goes on."""
    alice = connect(server.address, "alice")
    alice.request(Join("lab"))
    post = JsonLines.encode(Say("before", "lab", ref="before"))
    alice.send_bytes(post + b'{"op":"ping","bytes":1200000,"ref":"too-big"}\n' + b"\n" * 1_200_000)
    alice.request(Say("after", "lab"))
    assert [frame.number for frame in alice.of(Stored)] == [1, 2]
    assert [(frame.ref, frame.code) for frame in alice.of(Error)] == [("too-big", "too-long")]


@pytest.mark.parametrize("name", BAD_NAMES, ids=range(len(BAD_NAMES)))
def test_a_name_that_is_none_gets_one_answer(server: Server, connect: Connect, name: str) -> None:
    line = connect(server.address)
    assert line.request(Hello(name=name)).code == "bad-name"
    line.request(Hello(name="alice"))
    requests = [Join(name), Msg(name, "hello"), Whois(name), History(user=name or "#"), Topic(name or "#", "x")]
    for request in requests:
        answer = line.request(request)
        assert isinstance(answer, Error), answer
        assert answer.code in ("bad-name", "too-long"), answer
        assert _harmless(answer.error), ascii(answer.error)
    assert [frame for frame in line.received if isinstance(frame, Malformed)] == []


@pytest.mark.parametrize("name", [name for name in BAD_NAMES if name.strip() and "\n" not in name])
def test_a_name_that_is_none_gets_one_line(server: Server, dial: Callable[..., Text], name: str) -> None:
    """The server removes invisible characters from a person's line, so a name may be valid without them."""
    typed = printable(name).strip()
    line = dial(server.address)
    line.send(name)
    first = line.expect("")
    if not begins_text(name.encode()):
        assert first == f"! {UNKNOWN_SENTENCE}"
        assert line.until_closed() == f"{first}\n"
        return
    line.send("alice", f"/join {name}", f"/whois {name}", "/whois nobody-at-all")
    line.expect("No user called nobody-at-all")
    assert _harmless(line.seen), ascii(line.seen)
    if re.fullmatch(r"[#@]?[A-Za-z0-9_-]{1,32}", typed):
        assert first.startswith("Welcome, ")
    else:
        assert first.startswith("! A name is 1 to 32 letters")
        assert len(re.findall("^! ", line.seen, re.MULTILINE)) == 4


# What a terminal must not get from others: escapes and other controls, what hides or reorders text.
EVIL = [
    "\x1b[2J\x1b[H", "\x1b]0;title\x07", "\x9b31m", "\x08\x08\x08gone", "a\rb", "\x00", "\x7f", "\x0c", "\x0e", "\x85",
    "\u202egnp.exe", "\u2066x\u2069", "\u2028", "\u2029", "\u200e", "\ufeff", "\x1bP+q\x1b\\",
    "line\n[lab] admin: fake", "line\r\n! fake", "\n\n\n", "\t tab",
]  # fmt: skip


def _harmless(text: str) -> bool:
    """Return True if nothing in the text acts on a terminal except tabs and line ends."""
    return all(
        char in "\t\n" or unicodedata.category(char) not in ("Cc", "Zl", "Zp", "Cs") for char in text
    ) and not any(char in text for char in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\ufeff")


def test_nothing_that_acts_on_a_terminal_reaches_one(
    server: Server, connect: Connect, dial: Callable[..., Text]
) -> None:
    mallory, alice, late = (
        connect(server.address, "mallory"),
        dial(server.address, "alice"),
        dial(server.address, "late"),
    )
    for channel in ("lab", "hall"):
        mallory.request(Join(channel))
    for person in (alice, late):
        person.send("/join lab")
        person.expect("You are in lab")
    late.send("exit")
    late.until_closed()
    for n, evil in enumerate(EVIL):
        for text in (evil, f"{evil} and more {evil}"):
            mallory.request(Say(text, "lab", f"{n}-{len(text)}"))
            mallory.request(Msg("alice", text))
            mallory.request(Msg("late", text))
            mallory.request(Topic("lab", text))
            mallory.request(Whois(text))
            mallory.request(Join(text))
    mallory.request(Say("the end", "lab"))
    mallory.request(Msg("late", "the end"))
    alice.expect("[lab] mallory: the end")
    late = dial(server.address, "late")
    late.expect("mallory -> late: the end")
    commands = ["/history lab 1000", "/history @mallory 1000", "/channels", "/topic lab", "/who lab", "/whois mallory"]
    for evil in EVIL:
        typed = evil.replace("\n", " ")
        commands += [f"/{typed}", f"/join {typed}", f"/msg {typed} x", f"/help {typed}", f"lab: {typed}"]
    for person in (alice, late):
        person.send(*commands, "/whois nobody-at-all")
        person.expect("No user called nobody-at-all")
        assert _harmless(person.seen), [ascii(line) for line in person.seen.split("\n") if not _harmless(line)][:5]
        assert not re.search(r"^(\S+ )?\[lab\] admin: |^! fake", person.seen, re.MULTILINE), "nobody speaks for another"


def test_nothing_that_acts_on_a_terminal_is_in_json_or_mqtt(
    server: Server, connect: Connect, mqtt: Callable[..., MqttLine]
) -> None:
    """People look at both with nc and mosquitto_sub."""
    mallory, device = connect(server.address, "mallory"), mqtt(server.address, "device")
    device.subscribe("#")
    watcher = Raw(server.address, "watcher")
    watcher.send(Join("lab"), Join("device"))
    mallory.request(Join("lab"))
    for n, evil in enumerate(EVIL):
        mallory.request(Say(f"<{evil}>", "lab", f"{n}"))
        mallory.request(Msg("device", f"<{evil}>"))
        mallory.request(Msg("watcher", f"<{evil}>"))
        mallory.request(Topic("lab", f"<{evil}>"))
        device.publish(f"chat/from/device/{evil.replace(chr(0), '').replace('+', '')}/lab", "x")
    device.ask("history/lab")
    device.ask("channels")
    mallory.request(Say("the end", "lab"))
    device.hear("lab", "the end")
    watcher.send(History(channel="lab"), Channels(), Topic("lab"), Ping(ref="last"))
    raw = watcher.until(b'"ref":"last"')
    for data in (raw, *[packet.payload for packet in device.messages()]):
        assert _harmless(data.decode().replace("\r\n", "\n")), [
            line for line in data.split(b"\n") if not _harmless(line.decode())
        ]
    assert b"<\\u009b31m>" in raw
    assert b"<\\u202egnp.exe>" in raw


class Raw(Bulk):
    """A program's connection that keeps the bytes as they came."""

    def until(self, end: bytes) -> bytes:
        """Return all bytes up to those."""
        data = b""
        while end not in data:
            data += self.socket.recv(1 << 16)
        return data


def test_a_program_gets_the_text_as_it_was(server: Server, connect: Connect) -> None:
    """The server removes nothing from what programs say to each other; a client escapes it for its terminal."""
    alice, bob = connect(server.address, "alice"), connect(server.address, "bob")
    for client in (alice, bob):
        client.request(Join("lab"))
    for evil in EVIL:
        alice.request(Say(f"<{evil}>", "lab"))
        assert bob.expect(Entry).text == f"<{evil}>"


@pytest.mark.parametrize(
    "frame",
    [
        b'{"op":"history","channel":"lab","after":%d}' % 2**70,
        b'{"op":"history","channel":"lab","after":%d}' % (2**53 - 1),
        b'{"op":"history","channel":"lab","before":%d}' % (2**63),
        b'{"op":"history","channel":"lab","before":0}',
        b'{"op":"history","channel":"lab","limit":%d}' % 2**70,
        b'{"op":"history","channel":"lab","after":-1}',
        b'{"op":"seen","channel":"lab","number":%d}' % 2**70,
        b'{"op":"seen","channel":"lab","number":1e300}',
        b'{"op":"ping","bytes":%d}' % 2**40,
        b'{"op":"say","text":"x","id":""}',
        b'{"op":"say","text":"x","id":"%s"}' % (b"x" * 65),
        b'{"op":"register","password":"%s"}' % (b"x" * 5_000),
        b'{"op":"hello","name":"x","since":{"lab":%d}}' % 2**70,
    ],
)
def test_numbers_and_lengths_beyond_all_bounds(server: Server, connect: Connect, frame: bytes) -> None:
    line = connect(server.address, "alice")
    line.request(Join("lab"))
    line.send_bytes(frame[:-1] + b',"ref":"huge"}\n')
    answer: Frame = line.expect(Frame, lambda frame: getattr(frame, "ref", None) == "huge" or isinstance(frame, Error))
    if not line.ended and getattr(answer, "code", "") != "too-long":
        assert isinstance(line.request(Say("and the connection goes on", "lab")), Stored)
