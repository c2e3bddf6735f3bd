"""Every parser of what peers send, as a table: tests/parsers checks the time and the memory that each takes.

A new parser is a new row. `parse` takes bytes as a peer sends them and must raise nothing but the errors that its row
names. `fragments` are the pieces that mean something to it: the tests repeat each, and Hypothesis combines them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from bridge.clients.filter_tree import FilterTree
from bridge.mirror import BrokerConfig, parse_broker
from server import load
from terminal.links import parse_server
from wire.errors import ChatError, LocalError
from wire.file_names import check_file_name, check_path, is_file_id, safe_name, safe_path
from wire.frames import Entry, HelpText, Line, Offer, Topic, parts_of
from wire.json_text import escaped
from wire.jsonlines import JsonLines
from wire.limits import Limits
from wire.mqtt import (
    V5,
    V311,
    Connect,
    MqttPackets,
    Subscription,
    encode,
    matches,
    split_share,
    valid_filter,
    valid_topic,
)
from wire.names import check_name, one_line, printable, shorten
from wire.other_protocols import begins_text, check_first_line
from wire.proxy_protocol import SIGNATURE_2, ProxyHeaderError, parse_proxy_header
from wire.ranges import clip, missing, reach, total, union
from wire.text import TextLines, channel_word, parse, post_for, topic_refusal, without_secret
from wire.topics import Topics

# With the limits out of the way, a parser shows how its time grows.
_UNLIMITED = Limits(line=1 << 30, payload=1 << 30)
_TOPICS = Topics()


@dataclass(frozen=True, slots=True)
class Parser:
    """One parser. `memory` is the most bytes that it may take for a byte of its input, at its peak."""

    name: str
    parse: Callable[[bytes], object]
    fragments: Sequence[bytes]
    errors: tuple[type[Exception], ...] = ()
    memory: int = 64

    def feed(self, data: bytes) -> None:
        """Parse; any other error than those of the row is raised."""
        with suppress(*self.errors):
            self.parse(data)


def _dripping(make: Callable[[], Any]) -> Callable[[bytes], None]:
    """Return a parser of the same bytes, one at a time."""

    def parse_each(data: bytes) -> None:
        receive = make().receive
        for at in range(len(data)):
            receive(data[at : at + 1])

    return parse_each


def _connected(version: int) -> MqttPackets:
    packets = MqttPackets(1 << 28, topic_alias_maximum=9)
    packets.receive(encode(Connect(version=version, client_id="x"), version))
    return packets


def _packet(first: int) -> Callable[[bytes], None]:
    """Return a parser of the body of one packet, for which it makes the length."""

    def parse_body(data: bytes) -> None:
        size = len(data)
        length = bytes((size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14 & 0x7F | 0x80, size >> 21))
        _connected(V311).receive(bytes((first,)) + length + data)

    return parse_body


def _properties(data: bytes) -> None:
    """Parse the properties of a PUBLISH."""
    size = len(data)
    head = b"\x00\x01t" + bytes((size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14 & 0x7F | 0x80, size >> 21))
    rest = len(head) + size
    length = bytes((rest & 0x7F | 0x80, rest >> 7 & 0x7F | 0x80, rest >> 14 & 0x7F | 0x80, rest >> 21))
    _connected(V5).receive(b"\x30" + length + head + data)


def _text(of: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda data: of(data.decode(errors="replace"))


def _filters(data: bytes) -> None:
    """Parse a filter, and match it with a topic like it and with itself."""
    text = data.decode(errors="replace")
    if not valid_filter(text):
        return
    split_share(text)
    if text.count("/") > 64 * Limits().topic_levels:  # a server has refused it by now
        return
    _TOPICS.is_forbidden(text, "me")
    _TOPICS.channel_in(text)
    _TOPICS.presence_in(text)
    topic = text.replace("+", "x").replace("#", "y")
    matches(text, topic)
    tree = FilterTree()
    tree.add(Subscription(text))
    tree.matching(topic)
    tree.remove(text)


def _topic(data: bytes) -> None:
    text = data.decode(errors="replace")
    if valid_topic(text):
        _TOPICS.about(text, b"", "me")
        _TOPICS.sender(text)
        _TOPICS.may_be_will(text)
        _TOPICS.read(text, b"{}", "me")
        _TOPICS.request(text, b"x", "me")


def _payload(data: bytes) -> None:
    """Read a payload on topics of each kind."""
    for end in ("say/lab", "topic/lab", "history/lab", "seen/lab", "register", "file/f/init", "join/lab"):
        try:
            _TOPICS.request(f"chat/from/me/{end}", data, "me")
        except ChatError:
            continue
    for topic in ("chat/channels/lab", "chat/to/me/stored", "chat/to/me/error", "chat/presence/bob", "chat/server"):
        _TOPICS.read(topic, data, "me")
        _TOPICS.about(topic, data, "me")


def _command(text: str) -> None:
    """Parse a typed line, and tell what it means to a person who knows no channel, and to one who knows all."""
    without_secret(text)
    found = parse(text)
    for exists in (bool, lambda _: False):
        if isinstance(found, Topic):
            topic_refusal(found, "lab")
        elif found is None:
            post_for(Line(text), exists)
            channel_word(Line(text))


def _shown(text: str) -> None:
    """Show a text to a person, from an entry and from another frame, and as JSON."""
    entry = Entry(1, 0, "bob", text, "lab")
    TextLines.encode_entries([entry])
    TextLines.encode_entries([entry], past=True)
    TextLines.encode(HelpText(lines=[text]))
    shorten(text)
    printable(text)
    one_line(text)
    escaped(text.encode())


def _names(text: str) -> None:
    is_file_id(text)
    for check in (check_file_name, check_path, check_name):
        try:
            check(text)
        except ChatError:
            continue
    safe_name(text)
    safe_path(text)


def _ranges(data: bytes) -> None:
    """Put ranges together as they come in a frame, each byte a start."""
    made = union([(at * 4 + byte % 4, at * 4 + 3) for at, byte in enumerate(data)])
    union([(byte, byte + 9) for byte in data])
    total(clip(made, len(data)))
    missing(made, 0, len(data))
    reach(made, 0)


def _parts(data: bytes) -> None:
    parts_of(Offer(name="x", size=0, payload=data), 10_000)


def _first_line(data: bytes) -> None:
    begins_text(data)
    check_first_line(data, whole=False)
    check_first_line(data)


def _headers_in_pieces(data: bytes) -> None:
    """Parse as a connection does whose bytes come one at a time."""
    for size in range(len(data) + 1):
        if parse_proxy_header(data[:size]) is not None:
            return


def _addresses(text: str) -> None:
    parse_broker(BrokerConfig(f"mqtt://{text}"))
    parse_server(f"mqtt://{text}")
    parse_server(text)


def _config(data: bytes) -> None:
    with tempfile.NamedTemporaryFile(prefix="partyline-config-") as file:
        file.write(data)
        file.flush()
        load(file.name)


_JSON = (
    b'{"op":"say","text":"', b'"}\n', b'{"op":"ping","bytes":3}\nabc', b"[", b"{", b'{"a":', b'"', b"\\u0041", b"\\",
    b'{"op":"join","channel":"lab"}\n', b"1", b"0.1e5", b"\n", b" ", b"\x00", b"\xff", b'{"op":"x"}\n',
)  # fmt: skip
_LINES = (
    b"hello\n", b"/join lab\n", b"/regster x\n", b"/topic a b\n", b"lab: x\n", b"\n", b"\r", b"\xff\xfa", b"\xff\xf0",
    b"\xff\xfd\x01", b"\xff", b"\xff\xff", b"x", b" ", "é".encode(), b"\xc3", b"\x1b[2J", b"GET / HTTP/1.1\r\n",
)  # fmt: skip
_TEXTS = (
    b"x", b" ", b":", b"a:", b"/", b"/help ", b"#", b"@", b"\n", b"\r\n", b"\x1b", "\u202e".encode(),
    "a\u0316\u0301".encode(), "\u0316\u0301".encode(), "\u200b".encode(), b".", b"..", b"con.", b"\\", b"|",
    "\U0001f600".encode(), b"\t", b"-", "\x9b".encode(),
)  # fmt: skip
_LEVELS = (
    b"a", b"/", b"+", b"#", b"+/", b"a/", b"/#", b"$share/g/", b"chat/", b"from/me/", b"say/", b"channels/", b"to/me/",
    b"direct/", b"presence/", b"file/", b"msg/", b"topic/", b"\x00", "é".encode(),
)  # fmt: skip
_PACKETS = (
    b"\xc0\x00", b"\x40\x02\x00\x01", b"\x40\x03\x00\x01\x10", b"\x30\x03\x00\x01t", b"\x32\x06\x00\x01t\x00\x01x",
    b"\x30\x04\x00\x01tx", b"\x62\x02\x00\x01", b"\x82\x06\x00\x01\x00\x01a\x00", b"\x82\x06\x00\x01\x00\x01#\x00",
    b"\xa2\x05\x00\x01\x00\x01a", b"\x30\xff\xff\x7f", b"\x00", b"\x00\x04MQTT", b"\x30\x80\x01", b"\xe0\x00",
)  # fmt: skip
_FILTERS = (b"\x00\x01", b"\x00\x01a\x00", b"\x00\x03a/#\x01", b"\x00\x01a", b"\xff\xff", b"/", b"a")
_PROPERTIES = (
    b"\x26\x00\x00\x00\x00", b"\x26\x00\x01a\x00\x01b", b"\x01\x00", b"\x0b\x01", b"\x09\x00\x01x", b"\x80", b"\xff",
)  # fmt: skip
_ADDRESSES = (b"a", b":", b"@", b",", b"b:1,", b"/", b"%41", b"[", b"]", b"1", b".", b"?", b"#")
_REQUEST_LINES = (b"GET ", b" HTTP/1.1", b"/", b" ", b"x", b"\n", b"\xff", b"HTTP/", b"1.")
_YAML = (
    b"host: x\n", b"limits:\n", b"  line: 1\n", b"[", b"{", b"a: ", b"- ", b"\n", b" ", b"#", b"'", b'"', b"&a ",
    b"*a ", b"? ", b"|\n", b"\t", b"\xff", b"x",
)  # fmt: skip

_PROXY = (
    b"PROXY ", b"TCP4 ", b"TCP6 ", b"UNKNOWN", b"1.2.3.4 ", b"::1 ", b"80 ", b"\r\n", b"\r", b"0", b" ", SIGNATURE_2,
    b"\x21\x11\x00\x0c", b"\x20\x00\x0f\xf0", b"\x21\x21\x00\x24", b"\x21\x00", b"\xff",
)  # fmt: skip

PARSERS: tuple[Parser, ...] = (
    Parser("text dialect", lambda data: TextLines(_UNLIMITED).receive(data), _LINES, (ChatError,), memory=128),
    Parser("text dialect, byte by byte", _dripping(lambda: TextLines(_UNLIMITED)), _LINES, (ChatError,), memory=128),
    Parser("commands", _text(_command), _TEXTS, (ChatError,)),
    Parser("JSON lines of clients", lambda data: JsonLines(_UNLIMITED).receive(data), _JSON, memory=128),
    Parser("JSON lines of servers", lambda data: JsonLines(_UNLIMITED, client=True).receive(data), _JSON, memory=128),
    Parser("JSON lines, byte by byte", _dripping(lambda: JsonLines(_UNLIMITED)), _JSON),
    Parser("MQTT 3.1.1", lambda data: _connected(V311).receive(data), _PACKETS),
    Parser("MQTT 5", lambda data: _connected(V5).receive(data), _PACKETS),
    Parser("MQTT 5, byte by byte", _dripping(lambda: _connected(V5)), _PACKETS),
    Parser("MQTT of a server", lambda data: MqttPackets(1 << 28, version=V5, skips=True, unheard=True).receive(data),
           _PACKETS),
    Parser("MQTT before CONNECT", lambda data: MqttPackets().receive(data), (*_PACKETS, b"\x10\x20\x00\x04MQTT\x05")),
    Parser("SUBSCRIBE", _packet(0x82), _FILTERS, memory=128),
    Parser("UNSUBSCRIBE", _packet(0xA2), _FILTERS, memory=128),
    Parser("PUBLISH", _packet(0x30), (b"\x00\x01", b"a", b"/", b"\xff\xff", b"\x00", b"\xc3")),
    Parser("MQTT properties", _properties, _PROPERTIES),
    Parser("topic filters", _filters, _LEVELS, memory=700),
    Parser("topics", _topic, _LEVELS, (ChatError,)),
    Parser("payloads", _payload, (*_JSON, b'{"text":"', b'"id":"x",')),
    Parser("names", _text(_names), _TEXTS),
    Parser("what a person sees", _text(_shown), _TEXTS),
    Parser("ranges", _ranges, (b"\x00", b"\x01", b"\x02", b"\x03", b"\xff"), memory=700),
    Parser("parts of an offer", _parts, (b"]", b'{"name":"a","size":1},', *_JSON), (ChatError,)),
    Parser("other protocols", _first_line, _REQUEST_LINES, (ChatError,)),
    Parser("headers of a proxy", parse_proxy_header, _PROXY, (ProxyHeaderError,)),
    Parser("headers of a proxy, byte by byte", _headers_in_pieces, _PROXY, (ProxyHeaderError,)),
    Parser("addresses", _text(_addresses), _ADDRESSES, (LocalError,), memory=256),
    Parser("config", _config, _YAML, (LocalError,), memory=4_000),
)  # fmt: skip
